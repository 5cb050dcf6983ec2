"""The verbs of rollout."""

from typing import Any

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

WEB = "/v1/namespaces/default/jobs/web"
CHANGE = "default.web.1-9"
FAILURE = {
    "version": 4,
    "revision": 9,
    "at_ms": 0,
    "reason": "no further slot became healthy for 5m",
    "reverted_by": None,
    "witness": {
        "task": "default.web.0.1-9",
        "agent": "a1",
        "state": "failed",
        "reason": "exited 2",
        "exit_code": 2,
        "checks": [{"name": "http", "is_passing": False, "detail": "connection refused"}],
        "log": ["cannot bind\x1b[31m", "bye"],
    },
}


def a_rollout(**fields: Any) -> Told:
    told = {
        "revision": "1.9",
        "namespace": "default",
        "job": "web",
        "phase": "progressing",
        "summary": "version 4 is under way: 1 of 3 slots healthy",
        "version": 4,
        "generation": "gen4",
        "stable": 3,
        "healthy": 1,
        "wanted": 3,
        "canary": 0,
        "is_promoted": True,
        "paused_by": None,
        "deadline_ms": 0,
        "waiting": [],
        "failure": None,
    }
    return Told(body={**told, **fields})


def accepted() -> Told:
    return Told(status=202, body={"revision": "1.9", "change": CHANGE, "job": {}})


def test_status_says_how_far_it_is(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}/rollout", a_rollout(canary=1, is_promoted=False, waiting=["it is on trial"]))
    shown = terminal.run("rollout", "status", "web", server=server.url)
    assert shown.code == 0
    assert shown.out.splitlines() == [
        "rollout of job/web   progressing, version 4 is under way: 1 of 3 slots healthy",
        "  Version     4, generation gen4",
        "  Before it   version 3",
        "  Healthy     1 of 3",
        "  Canaries    1, not promoted",
        "  Fails       1970-01-01T00:00:00Z",
        "",
        "Waits for:",
        "  - it is on trial",
    ]


def test_status_of_a_failure_shows_the_evidence_and_is_7(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}/rollout", a_rollout(phase="failed", deadline_ms=None, failure=FAILURE))
    shown = terminal.run("rollout", "status", "web", server=server.url)
    assert shown.code == 7
    assert shown.out.splitlines()[-9:] == [
        "Version 4 failed at 1970-01-01T00:00:00Z:",
        "  no further slot became healthy for 5m",
        "",
        "Checks:",
        "  http failing: connection refused   (default.web.0.1-9)",
        "",
        "Last lines of default.web.0.1-9:",
        "  cannot bind\ufffd[31m",
        "  bye",
    ]
    assert "the rollout of job/web has failed: no further slot became healthy for 5m" in shown.err


def test_one_that_was_taken_back_says_by_what_and_is_0(terminal: Terminal, server: FakeServer) -> None:
    gone = {**FAILURE, "witness": None, "reverted_by": 5}
    server.tell(f"GET {WEB}/rollout", a_rollout(phase="complete", version=5, failure=gone))
    shown = terminal.run("rollout", "status", "web", server=server.url)
    assert shown.code == 0
    assert "Version 4 failed at 1970-01-01T00:00:00Z; version 5 took it back:" in shown.out
    assert terminal.run("rollout", "status", "web", "-o", "json", server=server.url).code == 0
    assert terminal.run("rollout", "status", "web", "-o", "name", server=server.url).code == 2


def test_orders_are_given_and_waited_for(terminal: Terminal, server: FakeServer) -> None:
    done = {"id": CHANGE, "namespace": "default", "job": "web", "state": "done", "is_done": True, "waiting": []}
    server.tell(f"GET /v1/changes/{CHANGE}", Told(body={**done, "summary": "3/3 ready"}))
    for order, said in (("resume", "resumed"), ("promote", "promoted")):
        server.tell(f"POST {WEB}/{order}", accepted())
        shown = terminal.run("rollout", order, "web", server=server.url)
        assert (shown.code, shown.out) == (0, f"job/web {said}\n")
        assert "job/web is done after" in shown.err
        assert terminal.run("rollout", order, "web", "--no-wait", server=server.url).err == ""
    server.tell(f"POST {WEB}/pause", accepted())
    paused = terminal.run("rollout", "pause", "web", server=server.url)
    assert paused.out == "job/web paused; to go on: harpoon rollout resume web\n"


def test_promoting_what_does_not_wait_for_it_is_4(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"POST {WEB}/promote", problem(409, "it goes on by itself"))
    assert terminal.run("rollout", "promote", "web", server=server.url).code == 4


def test_undo_is_a_rollback(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {WEB}", Told(body={}, headers={"ETag": '"1.5"'}))
    server.tell(f"POST {WEB}/rollback", accepted())
    shown = terminal.run("rollout", "undo", "web", "--to", "3", "--no-wait", server=server.url)
    assert (shown.code, shown.out) == (0, "job/web rolled back\n")
    assert server.of(f"POST {WEB}/rollback")[0].body == {"version": 3}
