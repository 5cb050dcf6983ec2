"""Watching runs at the terminal: a line an event, on over lost connections, and an exit code at the end."""

import json
import subprocess
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.runs_told import BEGAN_MS, RUNS, a_detail, a_run
from tests.cli.terminal_rig import Terminal
from tests.cli.test_streams import a_process

ONE, DOOR = f"GET {RUNS}/o-17", "GET /v1/watch"


def an_event(seq: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"namespace": "default", "run": "o-17", "seq": seq, "at_ms": BEGAN_MS + seq, "kind": kind, **more}


def a_change(*events: dict[str, Any]) -> dict[str, Any]:
    return {"type": "change", "seq": events[-1]["seq"], "events": list(events)}


WHICH = {"op": "pay_back", "visit": 1, "attempt": 1}
CLAIMED = an_event(2, "claimed", **WHICH, worker="w1")
RETRIED = an_event(3, "retried", **WHICH, label="fail", error="no\x1b[2Jfunds", retry_ms=BEGAN_MS + 1000)
SIGNALLED = an_event(4, "signalled", signal="d-1", name="decision", key="o-17", label="approved")
CLOSED = an_event(5, "closed", **WHICH, label="done", opened=[{"op": "tell", "visit": 1}])
CALLED = an_event(6, "signalled", signal="ask/1:7d", name=":callback", key="ask/1", label="done")
ENDED = an_event(7, "ended", status="succeeded")
SNAPSHOT = {"type": "snapshot", "seq": 1, "run": a_detail()}
OVER = {"type": "over", "seq": 7, "status": "succeeded", "reason": ""}


def test_each_event_is_a_line_and_a_lost_connection_is_taken_up_after_the_last(
    terminal: Terminal, server: FakeServer
) -> None:
    server.tell(
        ONE,
        Told(lines=[SNAPSHOT, a_change(CLAIMED, RETRIED), {"type": "bookmark", "seq": 3}], cut=True),
        Told(lines=[a_change(SIGNALLED, CLOSED, CALLED, ENDED), OVER]),
    )
    done = terminal.run("run", "watch", "run/o-17", server=server.url)
    assert done.code == 0, done.err
    lines = [line.split(maxsplit=2) for line in done.out.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [
        ("2", "claimed    pay_back (visit 1, attempt 1) by w1"),
        ("3", "retried    pay_back (visit 1, attempt 1) as fail: no\ufffd[2Jfunds"),
        ("4", "signalled  signal decision with key o-17 as approved"),
        ("5", "closed     pay_back (visit 1, attempt 1) as done → tell"),
        ("6", "signalled  callback ask/1 as done"),
        ("7", "ended      as succeeded"),
    ]
    assert "1 events so far" in done.err
    assert "resuming" in done.err
    assert [one.query for one in server.of(ONE)] == [{"watch": ["true"]}, {"watch": ["true"], "after": ["3"]}]


def test_a_run_that_failed_ends_the_watch_with_7(terminal: Terminal, server: FakeServer) -> None:
    server.tell(ONE, Told(lines=[{**OVER, "status": "failed", "reason": "pay_back closed as fail"}]))
    done = terminal.run("run", "watch", "o-17", "--after", "6", "-o", "json", server=server.url)
    assert done.code == 7
    assert "pay_back closed as fail" in done.err
    assert [json.loads(line)["type"] for line in done.out.splitlines()] == ["over"]
    assert server.of(ONE)[0].query == {"watch": ["true"], "after": ["6"]}


def test_a_run_that_is_not_there_is_3(terminal: Terminal, server: FakeServer) -> None:
    server.tell(ONE, problem(404, "there is no run o-17"))
    assert terminal.run("run", "watch", "o-17", server=server.url).code == 3


def an_item(kind: str, key: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "key": key, **more}


def test_workflows_runs_and_attempts_are_watched_by_their_choice(server: FakeServer) -> None:
    workflow = {"metadata": {"version": 2, "generation": "g-2"}}
    items = [an_item("run", "default/o-17", object=a_run()), an_item("workflow", "default/refund", object=workflow)]
    changes = [
        an_item("workflow", "default/refund", type="put", object=workflow),
        an_item("workflow", "default/old", type="delete"),
    ]
    lines = [
        {"type": "snapshot", "revision": "1.8", "items": items},
        {"type": "synced", "revision": "1.8"},
        {"type": "change", "revision": "1.9", "events": [CLAIMED], "changes": changes},
    ]
    server.tell(DOOR, Told(lines=lines, hangs=True))
    asked = ("workflows,runs,attempts", "--after", "1.7", "--workflow", "refund", "--status", "failed", "-l", "a=b")
    with a_process(server, "watch", *asked, stderr=subprocess.DEVNULL) as process:
        told = [process.stdout.readline().split() for _ in range(5)]
    assert told[0][:2] == ["default/o-17", "running,"]
    assert told[1] == ["default/refund", "is", "workflow", "version", "2,", "generation", "g-2"]
    assert told[2][:2] == ["default/refund", "put"]
    assert told[3] == ["default/old", "delete", "workflow"]
    assert told[4][:2] == ["default/o-17", "2"]
    assert server.of(DOOR)[0].query == {
        "kinds": ["workflows,runs,attempts"],
        "namespace": ["default"],
        "tag": ["a=b"],
        "workflow": ["refund"],
        "status": ["failed"],
        "after": ["1.7"],
    }


@pytest.mark.parametrize(
    ("given", "kinds"), [(("run", "o-17"), "runs,attempts"), (("run/o-17",), "runs,attempts"), (("runs/o-17",), "runs")]
)
def test_one_run_is_watched_at_the_door_of_all_watches_until_it_is_over(
    given: tuple[str, ...], kinds: str, terminal: Terminal, server: FakeServer
) -> None:
    server.tell(DOOR, Told(lines=[SNAPSHOT, a_change(ENDED), {**OVER, "status": "failed", "reason": "no funds"}]))
    done = terminal.run("watch", *given, server=server.url)
    assert done.code == 7
    assert "run/o-17 failed: no funds" in done.err
    assert done.out.split()[2:] == ["ended", "as", "succeeded"]
    assert server.of(DOOR)[0].query == {"kinds": [kinds], "namespace": ["default"], "name": ["o-17"]}


def test_a_job_is_watched_by_its_name(terminal: Terminal, server: FakeServer) -> None:
    server.tell(DOOR, problem(503, "later"))
    assert terminal.run("watch", "jobs", "web", server=server.url).code == 9
    assert server.of(DOOR)[0].query == {"kinds": ["jobs"], "namespace": ["default"], "name": ["web"]}


@pytest.mark.parametrize(
    "given",
    [
        ("watch", "runs,jobs"),
        ("watch", "tasks,attempts"),
        ("watch", "run"),
        ("watch", "run/o-17", "o-18"),
        ("watch", "runs", "-o", "yaml"),
        ("run", "watch", "o-17", "-o", "name"),
    ],
)
def test_what_cannot_be_watched_so_is_refused(given: tuple[str, ...], terminal: Terminal, server: FakeServer) -> None:
    done = terminal.run(*given, server=server.url)
    assert done.code not in (0, 130)
    assert not server.asked


def test_what_a_visit_came_to_is_told_with_it_shortened(terminal: Terminal, server: FakeServer) -> None:
    small, large = {**CLOSED, "output": {"kb": 3}}, {**CLOSED, "seq": 6, "output": "x" * 500}
    server.tell(ONE, Told(lines=[a_change(small, large), {**OVER, "seq": 6}]))
    first, second = terminal.run("run", "watch", "o-17", server=server.url).out.splitlines()
    assert first.endswith('as done, {"kb": 3} → tell')
    assert second.endswith('as done, "' + "x" * 79 + "… → tell")
