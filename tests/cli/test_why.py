"""Why something is as it is: what decides comes first, with both values, and the nearest fix."""

import json
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told
from tests.cli.terminal_rig import Terminal

WEB = "/v1/namespaces/default/jobs/web"


def an_answer(**fields: Any) -> Told:
    answer = {"revision": "1.9", "subject": "job/web", "state": "ready", "summary": "3/3 ready", "is_fine": True}
    return Told(body={**answer, "reasons": [], "slots": [], "tasks": [], "dependencies": [], **fields})


def test_what_is_fine_is_one_line(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}/why", an_answer())
    done = terminal.run("why", "web", server=server.url)
    assert (done.code, done.out, done.err) == (0, "job/web   ready, 3/3 ready\n", "")


def test_what_is_not_fine_is_0_too_and_told_whole(terminal: Terminal, server: FakeServer) -> None:
    memory = {"predicate": "memory", "wanted": "900Gi", "found": "8Gi free"}
    zone = {"predicate": "tag zone", "wanted": "a", "found": "b"}
    slot = {
        "slots": [0, 1],
        "reason": "no agent has the memory",
        "groups": [
            {"agents": ["a1"], "agents_count": 1, "failed": [memory]},
            {"agents": ["a2", "a3"], "agents_count": 9, "failed": [memory, zone]},
        ],
        "agents_left": 4,
        "fix": {"agent": "a1", "sentence": "ask for at most 8Gi of memory", "steps": ["edit it", "migrate it"]},
    }
    check = {"name": "http /", "is_passing": False, "detail": "connection refused"}
    task = {
        "id": "default.web.2.1-7",
        "agent": "a1",
        "state": "running",
        "ready": False,
        "restarts": 2,
        "reason": "not ready yet",
    }
    dependency = {"job": "db", "wanted": "ready", "found": "waiting", "is_met": False}
    fine = {"id": "default.web.3.1-7", "agent": "a1", "state": "running", "ready": True, "reason": "", "checks": []}
    answer = an_answer(
        state="waiting",
        summary="0/3 ready",
        is_fine=False,
        reasons=["no agent has the memory", "it waits for db"],
        slots=[slot],
        tasks=[{**task, "since_ms": 0, "checks": [check]}, {**fine, "since_ms": 0}],
        dependencies=[dependency],
    )
    server.tell(f"GET {WEB}/why", answer)
    done = terminal.run("why", "job/web", server=server.url)
    assert done.code == 0
    assert done.out.splitlines() == [
        "job/web   waiting, 0/3 ready",
        "  no agent has the memory",
        "  it waits for db",
        "",
        "Slots 0, 1:",
        "  a1:",
        "    - memory: wants 900Gi, finds 8Gi free",
        "  a2, a3 and 7 more:",
        "    - memory: wants 900Gi, finds 8Gi free",
        "    - tag zone: wants a, finds b",
        "  and 4 more agents, each for other reasons",
        "  Nearest fix: ask for at most 8Gi of memory",
        "    1. edit it",
        "    2. migrate it",
        "",
        "Tasks that are not ready:",
        "  default.web.2.1-7 on a1, running, restarted 2 times: not ready yet",
        "    - http / failing: connection refused",
        "",
        "Depends on:",
        "  db: wants ready, finds waiting (not met)",
    ]
    wide = terminal.run("why", "job/web", "-o", "wide", server=server.url).out
    assert "  default.web.3.1-7 on a1, running\n" in wide


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("web", f"{WEB}/why"),
        ("jobs/web", f"{WEB}/why"),
        ("job/shop/web", "/v1/namespaces/shop/jobs/web/why"),
        ("shop.web.0.1-7", "/v1/namespaces/shop/tasks/shop.web.0.1-7/why"),
        ("task/shop.web.0.1-7", "/v1/namespaces/shop/tasks/shop.web.0.1-7/why"),
        ("agent/a1", "/v1/agents/a1/why"),
    ],
)
def test_the_subject_may_be_written_in_many_ways(terminal: Terminal, server: FakeServer, what: str, path: str) -> None:
    server.tell(f"GET {path}", an_answer())
    done = terminal.run("why", what, "-o", "json", server=server.url)
    assert json.loads(done.out)["is_fine"] is True


@pytest.mark.parametrize("what", ["endpoints/web", "job/", "job/a/b/c", "agent/a/b", "jbo/web", "job//web"])
def test_what_is_no_subject_is_refused_unasked(terminal: Terminal, server: FakeServer, what: str) -> None:
    assert terminal.run("why", what, server=server.url).code == 2
    assert server.asked == []


def test_a_reason_that_is_not_told_yet_stands_with_its_slots(terminal: Terminal, server: FakeServer) -> None:
    slot = {"slots": [4], "reason": "its agent is drained", "groups": [], "fix": None}
    server.tell("GET /v1/agents/a1/why", an_answer(subject="agent/a1", summary="ready, 2 placed", slots=[slot]))
    assert terminal.run("why", "agent/a1", server=server.url).out.splitlines() == [
        "agent/a1   ready, 2 placed",
        "",
        "Slot 4: its agent is drained",
    ]


def test_what_a_task_wrote_cannot_steer_the_terminal(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}/why", an_answer(reasons=["it said \x1b[2J"], summary="\x1b[1m"))
    assert "\x1b" not in terminal.run("why", "web", server=server.url).out
