"""One object on one screen: its state first, then what explains it, what happened to it and what it wrote last."""

from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

WEB = "/v1/namespaces/default/jobs/web"
CHECK = {"name": "http /", "is_passing": False, "detail": "connection refused"}


def a_job() -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "default", "tags": {"team": "shop"}, "version": 2, "generation": "abc"}
    task = {"command": ["serve", "-v"], "ports": {"http": 0}, "resources": {"cpu": "100m", "memory": "64Mi"}}
    rule = {"tag": "zone", "equals": "a", "in": None, "not_in": None, "exists": None}
    spec = {"scale": 2, "task": task, "placement": {"require": [rule], "prefer": [], "distinct": "agent"}}
    spec |= {"update": {"surge": 1, "unavailable": 0}, "depends_on": [{"job": "db", "is": "ready"}]}
    return {"kind": "Job", "metadata": metadata, "spec": spec}


def a_status(**fields: Any) -> dict[str, Any]:
    status = {"state": "waiting", "summary": "1/2 ready", "scale": 2, "placed": 1, "running": 1, "ready": 1}
    status |= {"current": 1, "outdated": 0, "failed": 1, "change": "default.web.1-7", "waiting": ["it lacks an agent"]}
    return {**status, "pending": None, "tasks": [], **fields}


def a_task(slot: int = 0, **fields: Any) -> dict[str, Any]:
    told = {"id": f"default.web.{slot}.1-7", "agent": "a1", "state": "running", "ready": True, "restarts": 0}
    told |= {"address": "127.0.0.1", "ports": {"http": 8000 + slot}, "namespace": "default", "job": "web", "slot": slot}
    return {**told, "reason": "", "checks": [{**CHECK, "is_passing": True, "detail": ""}], **fields}


def log_of(task: str) -> str:
    return f"GET /v1/tasks/{task}/logs"


def tell(server: FakeServer, status: dict[str, Any], *events: dict[str, Any]) -> None:
    server.tell(f"GET {WEB}", Told(body=a_job()))
    server.tell(f"GET {WEB}/status", Told(body=status))
    server.tell(f"GET {WEB}/events", Told(body={"revision": "1.9", "items": list(events)}))


@pytest.mark.parametrize(("unavailable", "slots"), [(0, "1 slot"), (3, "3 slots")])
def test_of_an_exclusive_job_it_is_told_how_it_is_replaced(
    terminal: Terminal, server: FakeServer, unavailable: int, slots: str
) -> None:
    tell(server, a_status())
    job = a_job()
    job["spec"] |= {"exclusive": True, "update": {"surge": 1, "unavailable": unavailable}}
    server.tell(f"GET {WEB}", Told(body=job))
    out = terminal.run("describe", "job/web", server=server.url).out
    assert f"  Update      exclusive: a task is gone before its successor is placed, in {slots} at a time" in out


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"priority": 50, "preempt": False}, ""),
        ({"priority": 10}, "  Priority    10"),
        ({"priority": 50, "preempt": True}, "  Priority    50, and tasks of lower priority make room"),
    ],
)
def test_a_priority_is_told_that_is_not_the_usual_one(
    terminal: Terminal, server: FakeServer, spec: dict[str, Any], told: str
) -> None:
    tell(server, a_status())
    job = a_job()
    job["spec"] |= spec
    server.tell(f"GET {WEB}", Told(body=job))
    out = terminal.run("describe", "job/web", server=server.url).out
    assert [line for line in out.splitlines() if "Priority" in line] == ([told] if told else [])


def test_a_job_is_told_on_one_screen(terminal: Terminal, server: FakeServer) -> None:
    blocker = {"predicate": "memory", "wanted": "900Gi", "found": "8Gi free", "agents": ["a1"], "agents_count": 3}
    pending = {"slots": [1], "reason": "no agent has the memory", "since_ms": 0, "blockers": [blocker]}
    failing = a_task(state="running", ready=False, reason="not ready yet", checks=[CHECK], since_ms=0)
    tell(
        server,
        a_status(pending=pending, tasks=[failing, a_task(2)]),
        {"revision": "1.8", "at_ms": 0, "subject": "job/web", "event": "scheduled", "detail": "version 1"},
    )
    server.tell(log_of(failing["id"]), Told(text=b"one\n\x1b[2Jtwo\n"))
    done = terminal.run("describe", "job/web", server=server.url)
    assert done.out.splitlines() == [
        "job/web   waiting, 1/2 ready",
        "  Namespace   default",
        "  Tags        team=shop",
        "  Version     2, generation abc",
        "  Changed     - ago by default.web.1-7; created - ago",
        "  Wanted      2 tasks, each with cpu 100m, memory 64Mi",
        "  Actual      1 placed, 1 running, 1 ready, 1 failed",
        "  Command     serve -v",
        "  Ports       http=0",
        "  Placement   require tag zone, equals a",
        "              distinct agent",
        "  Update      surge 1, unavailable 0",
        "  Depends on  job db, is ready",
        "",
        "Waits for:",
        "  - it lacks an agent",
        "Not placed: slots 1, for a moment",
        "  - memory: wants 900Gi, finds 8Gi free on a1 and 2 more",
        "",
        "TASK                STATE     READY   AGENT   ADDRESS               RESTARTS   SINCE   WHY",
        "default.web.0.1-7   running   no      a1      http=127.0.0.1:8000   0          -       not ready yet",
        "default.web.2.1-7   running   yes     a1      http=127.0.0.1:8002   0          -       -",
        "",
        "Checks:",
        "  http / failing: connection refused   (default.web.0.1-7)",
        "",
        "Events:",
        "  AGE   WHAT      EVENT       DETAIL",
        "  -     job/web   scheduled   version 1",
        "",
        "Log of default.web.0.1-7, stderr:",
        "  one",
        "  \ufffd[2Jtwo",
    ]
    assert server.of(f"GET {WEB}/events")[0].query == {"limit": ["10"]}
    assert server.of(log_of(failing["id"]))[0].query == {"stream": ["stderr"], "tail": ["10"]}


def test_wide_shows_the_checks_of_ready_tasks_too(terminal: Terminal, server: FakeServer) -> None:
    tell(server, a_status(tasks=[a_task()]))
    assert (
        "  http / passing   (default.web.0.1-7)" in terminal.run("describe", "web", "-o", "wide", server=server.url).out
    )
    assert "passing" not in terminal.run("describe", "web", server=server.url).out


def test_the_log_is_that_of_the_newest_task_that_is_not_ready(terminal: Terminal, server: FakeServer) -> None:
    old, new = (a_task(slot, ready=False, state="failed", since_ms=slot) for slot in (1, 2))
    placed = a_task(3, ready=False, state="placed", since_ms=9)
    tell(server, a_status(tasks=[a_task(0, since_ms=5), old, new, placed]))
    server.tell(log_of(new["id"]), Told(text=b""), Told(text=b"said\n" * 12))
    out = terminal.run("describe", "web", server=server.url).out
    assert out.endswith(f"\nLog of {new['id']}, stdout:\n" + "  said\n" * 10)


def test_of_ready_tasks_it_is_the_newest_and_a_log_that_is_not_there_is_left_out(
    terminal: Terminal, server: FakeServer
) -> None:
    tell(server, a_status(tasks=[a_task(0, since_ms=5), a_task(1, since_ms=6)]))
    server.tell(log_of("default.web.1.1-7"), problem(409, "no log yet"))
    done = terminal.run("describe", "web", server=server.url)
    assert done.code == 0
    assert "Log of" not in done.out
    asked = server.of(log_of("default.web.1.1-7"))
    assert [one.query["stream"] for one in asked] == [["stdout"], ["stderr"]]


def test_events_that_cannot_be_read_do_not_hide_the_rest(terminal: Terminal, server: FakeServer) -> None:
    tell(server, a_status())
    server.tell(f"GET {WEB}/events", problem(503, "not now"))
    done = terminal.run("describe", "web", server=server.url)
    assert done.code == 0
    assert done.out.endswith("\nEvents cannot be read: not now\n")


def test_a_task_is_told_with_its_checks_its_exit_code_and_its_log(terminal: Terminal, server: FakeServer) -> None:
    task = a_task(state="failed", ready=False, reason="it ended", restarts=5, exit_code=-9, checks=[CHECK], pid=None)
    task |= {"placement_reason": "it had the fewest tasks", "version": 2, "generation": "abc"}
    task["limits"] = [
        {"name": "memory", "is_enforced": True, "detail": "64Mi, then it is killed"},
        {"name": "pids", "is_enforced": False, "detail": "no control group"},
    ]
    server.tell("GET /v1/namespaces/default/tasks/default.web.0.1-7", Told(body=task))
    event = {"revision": "1.8", "at_ms": 0, "subject": "task/x", "event": "failed", "detail": "it ended"}
    path = "/v1/namespaces/default/tasks/default.web.0.1-7/events"
    server.tell(f"GET {path}", Told(body={"revision": "1.9", "items": [event]}))
    server.tell(log_of("default.web.0.1-7"), Told(text=b"oh\n"))
    assert terminal.run("describe", "task/default.web.0.1-7", server=server.url).out.splitlines() == [
        "task/default.web.0.1-7   failed, not ready: it ended",
        "  Job         default/web, slot 0",
        "  Version     2, generation abc",
        "  Agent       a1",
        "  Placed      it had the fewest tasks",
        "  Address     http=127.0.0.1:8000",
        "  Restarts    5",
        "  Last exit   killed by signal 9",
        "  Limits      memory enforced: 64Mi, then it is killed",
        "              pids not enforced: no control group",
        "",
        "Checks:",
        "  http / failing: connection refused   (default.web.0.1-7)",
        "",
        "Events:",
        "  AGE   WHAT     EVENT    DETAIL",
        "  -     task/x   failed   it ended",
        "",
        "Log of default.web.0.1-7, stderr:",
        "  oh",
    ]


def test_a_task_is_asked_for_in_its_own_namespace(terminal: Terminal, server: FakeServer) -> None:
    server.tell("GET /v1/namespaces/shop/tasks/shop.web.0.1-7", Told(body=a_task(id="shop.web.0.1-7", exit_code=3)))
    out = terminal.run("describe", "task/shop.web.0.1-7", server=server.url).out
    assert "  Last exit   exit code 3" in out


def test_an_agent_is_told_with_what_it_has_and_what_runs_there(terminal: Terminal, server: FakeServer) -> None:
    agent = {
        "name": "a1",
        "endpoint": "http://127.0.0.1:4451",
        "tags": {"zone": "a"},
        "facts": {"os": "linux"},
        "capacity": {"cpu": "4000m", "memory": "24684084Ki", "named": {"gpu": 2}},
        "reserved": {"cpu": "100m", "memory": "64Mi"},
        "ports": {"low": 20000, "high": 20999},
        "host_paths": [{"path": "/srv"}, {"path": "/etc/ssl", "read_only": True}],
        "mounts": True,
        "link": {"state": "lost", "since_ms": 0, "reason": "not reached for 30s"},
        "tasks": 1,
    }
    server.tell("GET /v1/agents/a1", Told(body=agent))
    server.tell("GET /v1/agents/a1/events", Told(body={"revision": "1.9", "items": []}))
    server.tell("GET /v1/tasks", Told(body={"revision": "1.9", "items": [a_task(), a_task(1, agent="a2")]}))
    assert terminal.run("describe", "agent/a1", server=server.url).out.splitlines() == [
        "agent/a1   lost, not reached for 30s",
        "  Endpoint    http://127.0.0.1:4451",
        "  Tags        zone=a",
        "  Facts       os=linux",
        "  Cpu         100m reserved of 4000m",
        "  Memory      64Mi reserved of 23.5Gi",
        "  Resources   gpu=0/2",
        "  Task ports  20000-20999",
        "  Host paths  /srv, /etc/ssl (read only)",
        "  Scheduling  yes",
        "  Tasks       1",
        "",
        "TASK                STATE     READY   AGENT   ADDRESS               RESTARTS   SINCE   WHY",
        "default.web.0.1-7   running   yes     a1      http=127.0.0.1:8000   0          -       -",
    ]


def test_an_agent_that_allows_what_it_cannot_mount_says_so(terminal: Terminal, server: FakeServer) -> None:
    link = {"state": "connected", "since_ms": 0}
    server.tell("GET /v1/agents/a1", Told(body={"name": "a1", "link": link, "host_paths": [{"path": "/srv"}]}))
    server.tell("GET /v1/agents/a1/events", Told(body={"revision": "1.9", "items": []}))
    server.tell("GET /v1/tasks", Told(body={"revision": "1.9", "items": []}))
    out = terminal.run("describe", "agent/a1", server=server.url).out
    assert "  Host paths  /srv; it cannot mount them\n" in out


def test_a_task_is_told_with_its_volumes_and_whether_it_is_held_to_them(terminal: Terminal, server: FakeServer) -> None:
    volumes = [{"at": "/data", "is_enforced": True, "detail": "/srv/db: a mount that only this task sees"}]
    server.tell("GET /v1/namespaces/default/tasks/default.web.0.1-7", Told(body=a_task(volumes=volumes)))
    out = terminal.run("describe", "task/default.web.0.1-7", server=server.url).out
    assert "\nVolumes:\n  /data   /srv/db: a mount that only this task sees\n" in out


def test_a_slot_without_an_agent_has_no_events_to_ask_for(terminal: Terminal, server: FakeServer) -> None:
    slot = {"id": "default.web.1", "state": "pending", "ready": False, "reason": "no agent", "agent": ""}
    server.tell("GET /v1/namespaces/default/tasks/default.web.1", Told(body=slot))
    done = terminal.run("describe", "task/default.web.1", server=server.url)
    assert done.out.startswith("task/default.web.1   pending, not ready: no agent\n")
    assert "Events" not in done.out
