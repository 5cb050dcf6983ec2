"""Verbs that show how things are."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.fake_server import FakeServer, Told
from tests.cli.terminal_rig import Terminal

ROOT = Path(__file__).parents[2]


def a_job(name: str = "web", **status: Any) -> dict[str, Any]:
    standing = {"state": "ready", "summary": "3/3 ready", "outdated": 0, "waiting": [], "change": "default.web.1-7"}
    metadata = {"name": name, "namespace": "default", "tags": {}, "version": 2, "generation": "abc", "created_ms": 1}
    spec = {"scale": 3, "task": {"command": ["serve"], "ports": {"http": 0}}}
    return {"kind": "Job", "metadata": metadata, "spec": spec, "status": {**standing, **status}}


def a_task(slot: int = 0, **fields: Any) -> dict[str, Any]:
    told = {"id": f"default.web.{slot}.1-7", "agent": "a1", "state": "running", "ready": True, "restarts": 0}
    told |= {"address": "127.0.0.1", "ports": {"http": 8000 + slot}, "namespace": "default", "job": "web", "slot": slot}
    return {**told, **fields}


def items(*objects: Any) -> Told:
    return Told(body={"revision": "1.9", "items": list(objects)})


JOBS = "GET /v1/namespaces/default/jobs"
TASKS = "GET /v1/namespaces/default/tasks"


def test_a_table_says_in_words_how_each_stands_and_what_it_waits_for(terminal: Terminal, server: FakeServer) -> None:
    waiting = a_job("api", state="waiting", summary="0/3 ready", waiting=["no agent has 900Gi of memory", "and more"])
    server.tell(JOBS, items(a_job(), waiting))
    lines = terminal.run("get", "jobs", server=server.url).out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SUMMARY", "OLD", "VERSION", "AGE", "WAITING", "FOR"]
    assert lines[1].split()[:4] == ["web", "ready", "3/3", "ready"]
    assert "no agent has 900Gi of memory (and 1 more)" in lines[2]


def test_nothing_is_said_on_stderr_and_leaves_stdout_empty(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOBS, items())
    done = terminal.run("get", "jobs", server=server.url)
    assert (done.code, done.out, done.err) == (0, "", "no jobs\n")


def test_json_and_yaml_are_the_apis_object(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOBS, items(a_job()))
    server.tell(f"{JOBS}/web", Told(body=a_job()))
    assert json.loads(terminal.run("get", "jobs", "-o", "json", server=server.url).out)["items"] == [a_job()]
    assert yaml.safe_load(terminal.run("get", "job/web", "-o", "yaml", server=server.url).out) == a_job()
    assert json.loads(terminal.run("get", "job", "web", "-o", "json", server=server.url).out) == a_job()


def test_names_are_kind_and_name(terminal: Terminal, server: FakeServer) -> None:
    server.tell(TASKS, items(a_task(0), a_task(1)))
    out = terminal.run("get", "tasks", "-o", "name", server=server.url).out
    assert out == "task/default.web.0.1-7\ntask/default.web.1.1-7\n"


def test_all_namespaces_are_another_path_and_another_column(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/tasks", items(a_task()))
    done = terminal.run("get", "tasks", "-A", "-l", "team=shop", "-l", "tier=front", server=server.url)
    assert done.out.startswith("NAMESPACE")
    assert server.asked[0].query == {"tag": ["team=shop", "tier=front"]}


def test_control_characters_do_not_reach_the_terminal(terminal: Terminal, server: FakeServer) -> None:
    server.tell(TASKS, items(a_task(ready=False, reason="said \x1b[31mboo\x07\nand left")))
    out = terminal.run("get", "tasks", server=server.url).out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert len(out.splitlines()) == 2


def test_long_reasons_are_whole_in_a_wide_table_only(terminal: Terminal, server: FakeServer) -> None:
    reason = "because " * 30 + "so"
    server.tell(TASKS, items(a_task(ready=False, reason=reason)))
    assert "…" in terminal.run("get", "tasks", server=server.url).out
    assert reason in terminal.run("get", "tasks", "-o", "wide", server=server.url).out


def test_agents_show_what_is_reserved_of_what_they_have(terminal: Terminal, server: FakeServer) -> None:
    agent = {
        "name": "a1",
        "tags": {"zone": "a"},
        "link": {"state": "connected", "since_ms": 1, "reason": ""},
        "tasks": 2,
    }
    agent |= {"reserved": {"cpu": "200m", "memory": "128Mi"}, "capacity": {"cpu": "2000m", "memory": "24684084Ki"}}
    server.tell("GET /v1/agents", items(agent, {**agent, "name": "a2", "tags": {}}))
    out = terminal.run("get", "agents", "-l", "zone=a", server=server.url).out
    assert "200m/2000m" in out
    assert "128Mi/23.5Gi" in out
    assert "a2" not in out


def test_endpoints_are_those_of_one_job(terminal: Terminal, server: FakeServer) -> None:
    endpoint = {"task": "default.web.0.1-7", "slot": 0, "agent": "a1", "address": "::1", "ports": {"http": 8000}}
    server.tell(f"{JOBS}/web/endpoints", Told(body={"revision": "1.9", "endpoints": [endpoint]}))
    assert "http=[::1]:8000" in terminal.run("get", "endpoints", "web", server=server.url).out
    assert terminal.run("get", "endpoints", server=server.url).code == 2


def test_describe_shows_every_blocker_with_both_values(terminal: Terminal, server: FakeServer) -> None:
    blocker = {"predicate": "memory", "wanted": "900Gi", "found": "8Gi free", "agents": ["a1"], "agents_count": 3}
    pending = {"slots": [0, 1], "reason": "no agent has the memory", "since_ms": 1, "blockers": [blocker]}
    status = a_job(state="waiting", summary="0/3 ready", waiting=["no agent has the memory"], pending=pending)["status"]
    server.tell(f"{JOBS}/web", Told(body=a_job()))
    server.tell(f"{JOBS}/web/status", Told(body={**status, "tasks": [a_task(state="pending", ready=False)]}))
    out = terminal.run("describe", "job/web", server=server.url).out
    assert "waiting, 0/3 ready" in out
    assert "memory: wants 900Gi, finds 8Gi free on a1 and 2 more" in out
    assert "default.web.0.1-7" in out


def test_describe_of_a_task_asks_in_its_own_namespace(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/namespaces/shop/tasks/shop.web.0.1-7", Told(body=a_task(checks=[{"name": "http"}])))
    out = terminal.run("describe", "task/shop.web.0.1-7", server=server.url).out
    assert "name http" in out


def test_status_is_a_line_for_each_fact(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/status", Told(body={"instance": "s1", "agents": {"connected": 2, "lost": 0}}))
    assert terminal.run("status", server=server.url).out.splitlines() == [
        "Instance:  s1",
        "Agents:    connected 2, lost 0",
    ]


@pytest.mark.parametrize("form", ["table", "json"])
def test_following_shows_all_then_each_that_changes_then_what_is_gone(server: FakeServer, form: str) -> None:
    starting = a_task(1, state="starting", ready=False)
    server.tell(TASKS, items(a_task(0), starting), items(a_task(0), a_task(1)), items(a_task(1)))
    server.tell(
        "GET /v1/watch", *(Told(lines=[{"type": "bookmark", "revision": "1.1"}]),) * 2, Told(lines=[], hangs=True)
    )
    following = subprocess.Popen(
        [sys.executable, "-m", "harpoon", "get", "tasks", "-w", "-o", form],
        env={**os.environ, "HARPOON_SERVER": server.url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    shown = [following.stdout.readline() for _ in range(5 if form == "table" else 4)]
    following.kill()
    following.communicate()
    if form == "table":
        assert [line.split()[0] for line in shown] == ["TASK", *(a_task(slot)["id"] for slot in (0, 1, 1, 0))]
        assert shown[4].split()[1] == "gone"
    else:
        told = [json.loads(line) for line in shown]
        assert [one["type"] for one in told] == ["put", "put", "put", "delete"]
        assert told[2]["object"] == a_task(1)


def test_version_is_the_packages(terminal: Terminal) -> None:
    from harpoon import __version__

    assert terminal.run("version").out == f"harpoon {__version__}\n"
    assert json.loads(terminal.run("version", "-o", "json").out) == {"version": __version__}
    alone = subprocess.run(
        [sys.executable, "-m", "harpoon", "version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert alone.stdout == f"harpoon {__version__}\n"
