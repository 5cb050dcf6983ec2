"""Verbs that show how things are."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from tests.cli.fake_server import FakeServer, Told, problem
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


def test_a_wide_table_of_tasks_tells_which_limits_are_enforced(terminal: Terminal, server: FakeServer) -> None:
    limits = [{"name": "memory", "is_enforced": True}, {"name": "pids", "is_enforced": False, "detail": "no group"}]
    server.tell(TASKS, items(a_task(limits=limits)))
    assert "memory=yes,pids=no" in terminal.run("get", "tasks", "-o", "wide", server=server.url).out
    assert "memory" not in terminal.run("get", "tasks", server=server.url).out


def test_agents_show_what_is_reserved_of_what_they_have(terminal: Terminal, server: FakeServer) -> None:
    agent = {
        "name": "a1",
        "tags": {"zone": "a"},
        "link": {"state": "connected", "since_ms": 1, "reason": ""},
        "tasks": 2,
    }
    agent |= {"reserved": {"cpu": "200m", "memory": "128Mi"}, "capacity": {"cpu": "2000m", "memory": "24684084Ki"}}
    agent["capacity"]["named"], agent["reserved"]["named"] = {"gpu": 2}, {"gpu": 1}
    server.tell("GET /v1/agents", items(agent, {**agent, "name": "a2", "tags": {}}))
    out = terminal.run("get", "agents", "-l", "zone=a", server=server.url).out
    assert "200m/2000m" in out
    assert "128Mi/23.5Gi" in out
    assert "gpu" not in out
    assert server.asked[0].query == {"tag": ["zone=a"]}
    assert "gpu=1/2" in terminal.run("get", "agents", "-o", "wide", server=server.url).out


def test_endpoints_are_those_of_one_job(terminal: Terminal, server: FakeServer) -> None:
    endpoint = {"task": "default.web.0.1-7", "slot": 0, "agent": "a1", "address": "::1", "ports": {"http": 8000}}
    server.tell(f"{JOBS}/web/endpoints", Told(body={"revision": "1.9", "endpoints": [endpoint]}))
    assert "http=[::1]:8000" in terminal.run("get", "endpoints", "web", server=server.url).out
    assert terminal.run("get", "endpoints", server=server.url).code == 2


def test_what_waits_is_grouped_by_its_reason(terminal: Terminal, server: FakeServer) -> None:
    subjects = [f"job/default/web{number}" for number in range(3)]
    group = {"kind": "job", "reason": "no agent has 900Gi of memory", "count": 3, "since_ms": 0, "subjects": subjects}
    server.tell("GET /v1/waiting", items(group))
    assert terminal.run("get", "waiting", server=server.url).out.splitlines() == [
        "COUNT   KIND   SINCE   REASON                         WHO",
        "3       job    -       no agent has 900Gi of memory   job/default/web0, job/default/web1, job/default/web2",
    ]
    assert terminal.run("get", "waiting", "-A", "-o", "name", server=server.url).out.splitlines() == subjects
    assert [asked.query for asked in server.asked] == [{"namespace": ["default"]}, {}]


def test_nothing_that_waits_is_said_so(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/waiting", items())
    done = terminal.run("get", "waiting", server=server.url)
    assert (done.code, done.out, done.err) == (0, "", "nothing waits\n")


def test_a_list_in_pages_is_one_list(terminal: Terminal, server: FakeServer) -> None:
    page = {"revision": "1.9", "items": [a_task(0)], "continue": "there", "remaining": 1}
    server.tell(TASKS, Told(body=page), items(a_task(1)))
    assert len(terminal.run("get", "tasks", "-l", "team=shop", "-o", "name", server=server.url).out.splitlines()) == 2
    assert server.asked[1].query == {"tag": ["team=shop"], "continue": ["there"]}


@pytest.mark.parametrize(
    "line", ["waiting web", "waiting -l a=b", "job/web -l a=b", "endpoints web -l a=b", "job/web -A", "jobs -l =b"]
)
def test_what_would_be_ignored_is_refused(terminal: Terminal, server: FakeServer, line: str) -> None:
    done = terminal.run("get", *line.split(), server=server.url)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert server.asked == []


def test_status_is_a_line_for_each_fact(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/status", Told(body={"instance": "s1", "agents": {"connected": 2, "lost": 0}}))
    assert terminal.run("status", server=server.url).out.splitlines() == [
        "Instance:  s1",
        "Agents:    connected 2, lost 0",
    ]


@pytest.mark.parametrize("form", ["table", "json", "yaml", "name"])
def test_following_shows_all_then_each_that_changes_then_what_is_gone(server: FakeServer, form: str) -> None:
    starting = a_task(1, state="starting", ready=False)
    server.tell(TASKS, items(a_task(0), starting), items(a_task(0), a_task(1)), items(a_task(1)))
    server.tell(
        "GET /v1/watch", *(Told(lines=[{"type": "bookmark", "revision": "1.1"}]),) * 6, Told(lines=[], hangs=True)
    )
    following = subprocess.Popen(
        [sys.executable, "-m", "harpoon", "get", "tasks", "-w", "-o", form],
        env={**os.environ, "HARPOON_SERVER": server.url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    name = f"task/{a_task(1)['id']}"
    lines = {"table": 5, "json": 4, "yaml": None, "name": 3}[form]
    shown = (
        [following.stdout.readline() for _ in range(lines)]
        if lines
        else _until(following.stdout, "name: default.web.0.1-7")
    )
    following.kill()
    following.communicate()
    if form == "table":
        assert [line.split()[0] for line in shown] == ["TASK", *(a_task(slot)["id"] for slot in (0, 1, 1, 0))]
        assert shown[4].split()[1] == "gone"
        return
    if form == "name":
        assert [line.strip() for line in shown[1:]] == [name, name]
        return
    told = [json.loads(line) for line in shown] if form == "json" else list(yaml.safe_load_all("".join(shown)))
    assert [one["type"] for one in told] == ["put", "put", "put", "delete"]
    assert told[2]["object"] == a_task(1)


def _until(stream: IO[str], last: str) -> list[str]:
    """Read lines up to this one."""
    shown: list[str] = []
    while not shown or shown[-1].strip() != last:
        shown.append(stream.readline())
        assert shown[-1], shown
    return shown


def test_following_waits_for_a_server_that_is_away(server: FakeServer) -> None:
    server.tell(TASKS, items(a_task(0)), problem(503, "not now"), items(a_task(0), a_task(1)))
    server.tell("GET /v1/watch", Told(lines=[{"type": "bookmark", "revision": "1.1"}]), Told(lines=[], hangs=True))
    following = subprocess.Popen(
        [sys.executable, "-m", "harpoon", "get", "tasks", "-w", "-o", "name"],
        env={**os.environ, "HARPOON_SERVER": server.url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    shown = [following.stdout.readline().strip() for _ in range(2)]
    following.kill()
    assert shown == [f"task/{a_task(slot)['id']}" for slot in (0, 1)]
    assert "interrupted, resuming: not now" in following.communicate()[1]


def test_version_is_the_packages(terminal: Terminal) -> None:
    from harpoon import __version__

    assert terminal.run("version").out == f"harpoon {__version__}\n"
    assert json.loads(terminal.run("version", "-o", "json").out) == {"version": __version__}
    alone = subprocess.run(
        [sys.executable, "-m", "harpoon", "version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert alone.stdout == f"harpoon {__version__}\n"
