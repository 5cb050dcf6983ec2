"""Verbs that follow something: watch, wait, logs."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

ROOT = Path(__file__).parents[2]
WATCH = "GET /v1/watch"
STATUS = "GET /v1/namespaces/default/jobs/web/status"
CHANGE = "default.web.1-7"


def a_status(state: str, **fields: Any) -> Told:
    status = {"state": state, "summary": "1/3 ready", "change": CHANGE, "waiting": [], "pending": None, "tasks": []}
    return Told(body={**status, **fields})


def agents(*states: str) -> Told:
    shown = [{"name": f"a{number}", "link": {"state": state}} for number, state in enumerate(states, 1)]
    return Told(body={"revision": "1.1", "items": shown})


@contextmanager
def a_process(server: FakeServer, *arguments: str, **how: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run a verb that does not end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harpoon", *arguments],
        env={**os.environ, "HARPOON_SERVER": server.url, "TERM": "xterm"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        **how,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_watch_in_json_is_the_apis_messages_one_a_line(server: FakeServer) -> None:
    snapshot = {"type": "snapshot", "revision": "1.3", "items": []}
    change = {"type": "change", "revision": "1.4", "changes": [{"kind": "job", "key": "default/web", "type": "delete"}]}
    server.tell(WATCH, Told(lines=[snapshot, change], hangs=True))
    with a_process(server, "watch", "jobs", "-o", "json", "--after", "1.2", "-l", "team=shop") as process:
        assert [json.loads(process.stdout.readline()) for _ in range(2)] == [snapshot, change]
    assert server.asked[0].query == {
        "kinds": ["jobs"],
        "namespace": ["default"],
        "tag": ["team=shop"],
        "after": ["1.2"],
    }


def test_a_watch_tells_each_object_on_a_line(server: FakeServer) -> None:
    item = {
        "kind": "task",
        "key": "a1/default.web.0.1-7",
        "object": {"state": "running", "ready": True, "reason": "runs"},
    }
    gone = {"kind": "job", "key": "default/web", "type": "delete"}
    server.tell(
        WATCH,
        Told(
            lines=[
                {"type": "snapshot", "revision": "1.3", "items": [item]},
                {"type": "synced", "revision": "1.3"},
                {"type": "bookmark", "revision": "1.3"},
                {"type": "change", "revision": "1.4", "changes": [gone]},
            ],
            hangs=True,
        ),
    )
    with a_process(server, "watch", "-A", stderr=subprocess.DEVNULL) as process:
        lines = [process.stdout.readline().split() for _ in range(2)]
    assert lines == [
        ["1.3", "is", "task", "a1/default.web.0.1-7", "running,", "ready,", "runs"],
        ["1.4", "delete", "job", "default/web"],
    ]


def test_a_watch_whose_history_is_gone_says_what_is_kept(terminal: Terminal, server: FakeServer) -> None:
    server.tell(WATCH, problem(410, "compacted", oldest="1.90"))
    done = terminal.run("watch", "--after", "1.2", server=server.url)
    assert done.code == 1
    assert "1.90" in done.err


def test_waiting_for_a_job_reads_it_anew_whenever_something_changes(terminal: Terminal, server: FakeServer) -> None:
    server.tell(WATCH, Told(lines=[{"type": "change", "revision": "1.4", "changes": []}], hangs=True))
    server.tell(STATUS, a_status("progressing", waiting=["task 0 starts"]), a_status("ready"))
    done = terminal.run("wait", "job/web", server=server.url)
    assert done.code == 0
    assert "task 0 starts" in done.err
    assert done.err.endswith("job/web ready: 1/3 ready\n")


def test_waiting_for_a_job_that_is_not_there_is_3(terminal: Terminal, server: FakeServer) -> None:
    server.tell(STATUS, problem(404, "there is no job web"))
    assert terminal.run("wait", "job/web", server=server.url).code == 3


def test_waiting_until_a_job_is_gone_ends_when_it_is_not_found(terminal: Terminal, server: FakeServer) -> None:
    server.tell(WATCH, Told(lines=[{"type": "change", "revision": "1.4", "changes": []}], hangs=True))
    server.tell(STATUS, a_status("terminating"), problem(404, "there is no job web"))
    done = terminal.run("wait", "job/web", "--for", "gone", server=server.url)
    assert done.code == 0
    assert done.err.endswith("job/web gone\n")


@pytest.mark.parametrize("what", ["run/o-17", "change/default.web.1-7", "agents"])
def test_a_goal_is_of_jobs(terminal: Terminal, server: FakeServer, what: str) -> None:
    done = terminal.run("wait", what, "--for", "gone", server=server.url)
    assert (done.code, server.asked) == (2, [])
    assert f"--for says what a job is to be, and {what} is none; leave it out" in done.err


def test_waiting_for_agents_counts_those_connected(terminal: Terminal, server: FakeServer) -> None:
    server.tell(WATCH, Told(lines=[{"type": "change", "revision": "1.4", "changes": []}], hangs=True))
    server.tell("GET /v1/agents", agents("connected", "lost"), agents("connected", "connected"))
    done = terminal.run("wait", "agents", "--count", "2", server=server.url)
    assert done.code == 0
    assert "a2 is lost" in done.err


def test_at_a_terminal_progress_is_rewritten_in_place_and_leaves_no_trace(server: FakeServer) -> None:
    told = {"id": CHANGE, "namespace": "default", "job": "web", "summary": "1/3 ready", "waiting": ["task 0 starts"]}
    going, gone = {**told, "state": "progressing", "is_done": False}, {**told, "state": "done", "is_done": True}
    server.tell(f"GET /v1/changes/{CHANGE}", *[Told(body=going)] * 3, Told(body=gone))
    screen, end = pty.openpty()
    with a_process(server, "wait", f"change/{CHANGE}", stderr=end, stdin=end) as process:
        assert process.wait(10) == 0
        os.close(end)
        shown = os.read(screen, 1 << 16).decode()
    os.close(screen)
    assert "waits: task 0 starts" in shown
    assert "\x1b[2K" in shown, "the lines are erased"
    assert shown.rstrip().endswith(f"change/{CHANGE} done: 1/3 ready")


def test_logs_of_a_job_are_those_of_its_first_ready_task(terminal: Terminal, server: FakeServer) -> None:
    tasks = [
        {"id": "default.web.0.1-9", "state": "starting", "ready": False},
        {"id": "default.web.1.1-7", "state": "running", "ready": True},
        {"id": "default.web.2", "state": "pending", "ready": False},
    ]
    server.tell(STATUS, a_status("progressing", tasks=tasks))
    server.tell("GET /v1/tasks/default.web.1.1-7/logs", Told(text=b"hello\n"))
    done = terminal.run("logs", "web", "--tail", "2", "--stream", "stderr", server=server.url)
    assert done.out == "hello\n"
    assert "--slot picks another" in done.err
    assert server.asked[-1].query == {"stream": ["stderr"], "tail": ["2"]}


def test_logs_of_a_slot_and_of_a_task_ask_for_just_that(terminal: Terminal, server: FakeServer) -> None:
    tasks = [{"id": f"default.web.{slot}.1-7", "state": "running", "ready": True} for slot in range(3)]
    server.tell(STATUS, a_status("ready", tasks=tasks))
    for slot in (1, 2):
        server.tell(f"GET /v1/tasks/default.web.{slot}.1-7/logs", Told(text=b"%d\n" % slot))
    assert terminal.run("logs", "web", "--slot", "2", server=server.url).out == "2\n"
    assert terminal.run("logs", "default.web.1.1-7", "-f", server=server.url).out == "1\n"
    assert server.asked[-1].query == {"stream": ["stdout"], "follow": ["true"]}


@pytest.mark.parametrize("arguments", [("web",), ("web", "--slot", "7")])
def test_logs_of_what_was_never_started_are_3(
    terminal: Terminal, server: FakeServer, arguments: tuple[str, ...]
) -> None:
    server.tell(STATUS, a_status("waiting", tasks=[{"id": "default.web.0", "state": "pending"}]))
    done = terminal.run("logs", *arguments, server=server.url)
    assert done.code == 3
    assert "1/3 ready" in done.err
