"""Namespaces at the terminal: applied before jobs, planned, shown, taken back; and what their quotas refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

SHOP = "/v1/namespaces/shop"
APPLY, PLAN = "POST /v1/apply", "POST /v1/plan"
NAMESPACE = "apiVersion: harpoon/v1\nkind: Namespace\nmetadata: {name: shop}\nspec:\n  quota: {tasks: 3}\n"
JOB = "apiVersion: harpoon/v1\nkind: Job\nmetadata: {name: web, namespace: shop}\nspec: {task: {command: [serve]}}\n"
REFUSAL = "quota of namespace shop: tasks 4 of 3 (now 1); lower scale to 2 or raise the quota"


def a_namespace(*over: str, created_ms: int | None = 1, **limits: Any) -> dict[str, Any]:
    quota = {"cpu": None, "memory": None, "tasks": None, "jobs": None, **limits}
    used = {"cpu": "1500m", "memory": "2Gi", "tasks": 5, "jobs": 2}
    return {
        "kind": "Namespace",
        "metadata": {"name": "shop", "created_ms": created_ms, "updated_ms": created_ms},
        "spec": {"quota": quota},
        "status": {"used": used, "over": list(over)},
    }


def declared(outcome: str, *over: str) -> Told:
    return Told(body={"revision": "1.2", "outcome": outcome, "namespace": a_namespace(*over)})


@pytest.fixture
def both(tmp_path: Path) -> str:
    (tmp_path / "both.yaml").write_text(f"{JOB}---\n{NAMESPACE}")
    return str(tmp_path / "both.yaml")


def test_namespaces_are_declared_before_the_jobs_and_told(terminal: Terminal, server: FakeServer, both: str) -> None:
    server.tell(f"PUT {SHOP}", declared("created", "tasks 5 of 3"))
    result = {"namespace": "shop", "job": "web", "change": "shop.web.1-3", "outcome": "created"}
    server.tell(APPLY, Told(status=202, body={"revision": "1.3", "results": [result]}))
    done = terminal.run("apply", "-f", both, "--no-wait", server=server.url)
    assert (done.code, done.out) == (0, "namespace/shop created\njob/web created\n")
    assert done.err == "namespace/shop is over its quota: tasks 5 of 3; nothing is stopped for that\n"
    assert [(one.method, one.path) for one in server.asked] == [("PUT", SHOP), ("POST", "/v1/apply")]
    assert server.asked[0].body["spec"] == {"quota": {"tasks": 3}}
    assert len(server.asked[1].body["documents"]) == 1


def test_namespaces_alone_are_no_apply_of_jobs(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(NAMESPACE)
    server.tell(f"PUT {SHOP}", declared("unchanged"))
    done = terminal.run("apply", "-f", str(tmp_path), "-o", "json", server=server.url)
    assert done.code == 0
    told = {"namespaces": [{"namespace": "shop", "outcome": "unchanged", "over": []}], "results": []}
    assert json.loads(done.out) == told
    assert [one.path for one in server.asked] == [SHOP]


def test_a_fault_is_told_with_its_place_in_the_file(terminal: Terminal, server: FakeServer, both: str) -> None:
    fault = {"pointer": "/spec/quota/tasks", "detail": "too many"}
    server.tell(f"PUT {SHOP}", problem(400, "x", errors=[fault]))
    done = terminal.run("apply", "-f", both, server=server.url)
    assert done.code == 2
    assert done.err == f"error: {both}:10:11: spec.quota.tasks: too many\n"


def test_what_a_quota_refuses_is_8(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(JOB)
    server.tell(APPLY, problem(409, REFUSAL, code="quota_exceeded"))
    done = terminal.run("apply", "-f", str(tmp_path), server=server.url)
    assert (done.code, done.err) == (8, f"error: {REFUSAL}\n")


def test_a_plan_tells_of_namespaces_and_what_a_quota_would_refuse(
    terminal: Terminal, server: FakeServer, both: str
) -> None:
    server.tell(f"PUT {SHOP}", declared("changed", "tasks 5 of 3"))
    server.tell(PLAN, Told(body={"revision": "1.2", "has_changes": True, "refusal": REFUSAL, "plans": []}))
    done = terminal.run("plan", both, server=server.url)
    assert done.code == 8
    assert done.out == "namespace/shop: change, over its quota: tasks 5 of 3\n"
    assert done.err.endswith(f"Refused: {REFUSAL}; quotas as they are now\n")
    assert server.asked[0].query == {"dry_run": ["true"]}


def test_a_plan_of_namespaces_alone_differs_or_not(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(NAMESPACE)
    server.tell(f"PUT {SHOP}", declared("created"), declared("unchanged"))
    codes = [terminal.run("plan", str(tmp_path), server=server.url).code for _ in range(2)]
    assert codes == [10, 0]


def test_a_difference_is_that_of_namespaces_too(terminal: Terminal, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(NAMESPACE)
    server.tell(f"PUT {SHOP}", declared("changed"), declared("changed"), declared("unchanged"))
    done = terminal.run("diff", str(path), server=server.url)
    assert (done.code, done.out) == (10, "namespace/shop: change\n"), done.err
    assert terminal.run("diff", str(path), "-o", "name", server=server.url).out == "namespace/shop\n"
    done = terminal.run("diff", str(path), server=server.url)
    assert (done.code, done.out) == (0, "namespace/shop: unchanged\n"), done.err
    assert {asked.method for asked in server.asked} == {"PUT"}


def test_namespaces_are_listed_with_what_is_used_of_each_limit(terminal: Terminal, server: FakeServer) -> None:
    items = [a_namespace(created_ms=None), a_namespace("tasks 5 of 3", tasks=3, memory="16Gi")]
    server.tell("GET /v1/namespaces", Told(body={"revision": "1.2", "items": items}))
    done = terminal.run("get", "namespaces", server=server.url)
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0][:6] == ["NAME", "QUOTA", "JOBS", "TASKS", "CPU", "MEMORY"]
    assert rows[1][:6] == ["shop", "none", "2", "5", "1500m", "2Gi"]
    assert rows[2][:6] == ["shop", "over", "2", "5/3", "1500m", "2Gi/16Gi"]
    assert terminal.run("get", "ns", "-o", "name", server=server.url).out == "namespace/shop\n" * 2


@pytest.mark.parametrize(("flags", "told"), [(("-w",), "are not watched"), (("-l", "a=b"), "have no tags")])
def test_what_a_list_of_namespaces_cannot_do_is_refused(
    terminal: Terminal, server: FakeServer, flags: tuple[str, ...], told: str
) -> None:
    done = terminal.run("get", "namespaces", *flags, server=server.url)
    assert done.code == 2
    assert told in done.err


def test_a_namespace_is_described_with_its_limits_and_jobs(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {SHOP}", Told(body=a_namespace("tasks 5 of 3", tasks=3)))
    job = {"metadata": {"name": "web", "namespace": "shop"}, "status": {"state": "ready", "summary": "5/5 ready"}}
    server.tell(f"GET {SHOP}/jobs", Told(body={"revision": "1.2", "items": [job]}))
    done = terminal.run("describe", "namespace/shop", server=server.url)
    lines = done.out.splitlines()
    assert lines[:5] == [
        "namespace/shop   over its quota, tasks 5 of 3",
        "  Jobs        2, no limit",
        "  Tasks       5 of 3",
        "  Cpu         1500m, no limit",
        "  Memory      2Gi, no limit",
    ]
    assert lines[-1].split()[:2] == ["web", "ready"]


def test_a_namespace_that_nobody_declared_says_so(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {SHOP}", Told(body=a_namespace(created_ms=None)))
    server.tell(f"GET {SHOP}/jobs", Told(body={"revision": "1.2", "items": []}))
    done = terminal.run("describe", "ns/shop", server=server.url)
    assert done.out.splitlines()[0] == ("namespace/shop   not declared, its jobs may reserve as much as they like")


def test_a_namespace_is_deleted_by_its_kind_and_name(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"DELETE {SHOP}", Told(body={"revision": "1.2"}), problem(409, "namespace shop has 1 job (web)"))
    assert terminal.run("delete", "namespace/shop", server=server.url).out == "namespace/shop deleted\n"
    refused = terminal.run("delete", "namespace/shop", server=server.url)
    assert (refused.code, refused.err) == (4, "error: namespace shop has 1 job (web)\n")
