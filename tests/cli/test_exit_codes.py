"""Exit codes are a contract: each has a way to it, and says on stderr, in a line, what went wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harpoon.cli.outcome import ExitCode
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal
from tests.ports import free_port

JOBS = "GET /v1/namespaces/default/jobs"
CHANGE = "default.web.1-7"


def a_change(state: str = "progressing", *, waiting: tuple[str, ...] = ()) -> Told:
    is_done = state == "done"
    told = {"id": CHANGE, "namespace": "default", "job": "web", "state": state, "is_done": is_done}
    return Told(body={**told, "summary": "1/3 ready", "waiting": list(waiting)})


def a_status(**fields: object) -> Told:
    status = {"state": "progressing", "summary": "1/3 ready", "change": CHANGE, "waiting": [], "pending": None}
    return Told(body={**status, **fields})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(500, "it broke"), 1),
        (problem(400, "namespace is wrong"), 2),
        (problem(404, "there is no such thing"), 3),
        (problem(409, "it is connected"), 4),
        (problem(412, "it was changed"), 4),
        (problem(401, "who are you?"), 5),
        (problem(403, "you may not"), 5),
        (problem(503, "not now"), 9),
    ],
)
def test_an_error_of_the_server_is_told_in_a_line_and_by_its_code(
    terminal: Terminal, server: FakeServer, answer: Told, code: int
) -> None:
    server.tell(JOBS, answer)
    done = terminal.run("get", "jobs", server=server.url)
    assert done.code == code
    assert done.out == ""
    assert done.err.splitlines()[0] == f"error: {answer.body['detail']}"


def test_a_good_answer_is_0(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOBS, Told(body={"revision": "1.1", "items": []}))
    assert terminal.run("get", "jobs", server=server.url).code == 0


@pytest.mark.parametrize(
    "line",
    [
        "frob",
        "get",
        "get frobs",
        "get jobs --frob",
        "scale web many",
        "wait web",
        "delete web",
        "get jobs -l team",
        "wait job/web --timeout soon",
        "apply -f nothing-there.yaml",
        "get jobs --server not-a-url",
        "get jobs --server http://me:secret@localhost",
        "get jobs --token-file nothing-there",
        "server --listen nowhere",
        "server --data d --store memory",
        "server --store postgres://a",
        "server --listen 0.0.0.0:4450",
        "server --agent a1",
        "dev --listen 0.0.0.0:4450",
        "agent --ports many",
    ],
)
def test_a_wrong_command_line_is_2_and_nothing_is_asked(terminal: Terminal, server: FakeServer, line: str) -> None:
    done = terminal.run(*line.split(), server=server.url)
    assert done.code == 2
    assert done.err
    assert "Traceback" not in done.err
    assert server.asked == []


def test_a_token_in_a_url_is_not_repeated(terminal: Terminal) -> None:
    assert "secret" not in terminal.run("get", "jobs", "--server", "http://me:secret@localhost").err


def test_denied_names_the_way_to_give_a_token(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOBS, problem(401, "show a token"))
    assert "--token-file" in terminal.run("get", "jobs", server=server.url).err


def test_no_server_is_9_and_names_the_way_to_one(terminal: Terminal) -> None:
    done = terminal.run("get", "jobs", server=f"http://127.0.0.1:{free_port()}")
    assert done.code == 9
    assert "is it running? try: harpoon dev" in done.err


def test_another_service_at_the_address_is_1_and_said_so(terminal: Terminal, server: FakeServer) -> None:
    server.tell(JOBS, Told(status=200, text=b"<html>"))
    done = terminal.run("get", "jobs", server=server.url)
    assert done.code == 1
    assert "another service" in done.err


def test_a_wait_that_is_over_is_6_and_says_how_to_wait_on(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET /v1/changes/{CHANGE}", a_change(waiting=("task 0 is starting",)))
    server.tell("GET /v1/namespaces/default/jobs/web/status", a_status())
    done = terminal.run("wait", f"change/{CHANGE}", "--timeout", "50ms", server=server.url)
    assert done.code == 6
    assert "task 0 is starting" in done.err
    assert f"harpoon wait change/{CHANGE}" in done.err


def test_a_change_that_failed_is_7(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET /v1/changes/{CHANGE}", a_change("failed"))
    assert terminal.run("wait", f"change/{CHANGE}", server=server.url).code == 7


def test_a_superseded_change_is_4(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET /v1/changes/{CHANGE}", a_change("superseded"))
    assert terminal.run("wait", f"change/{CHANGE}", server=server.url).code == 4


def test_a_wait_for_what_cannot_be_placed_is_8_and_says_why(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET /v1/changes/{CHANGE}", a_change())
    pending = {"reason": "no agent has 900Gi of memory", "slots": [0], "since_ms": 1}
    server.tell("GET /v1/namespaces/default/jobs/web/status", a_status(state="waiting", pending=pending))
    done = terminal.run("wait", f"change/{CHANGE}", "--timeout", "50ms", server=server.url)
    assert done.code == 8
    assert "no agent has 900Gi of memory" in done.err


def test_ctrl_c_in_a_wait_is_130_and_names_the_command_that_waits_on(server: FakeServer) -> None:
    server.tell(f"GET /v1/changes/{CHANGE}", a_change())
    waiting = subprocess.Popen(
        [sys.executable, "-m", "harpoon", "wait", f"change/{CHANGE}"],
        env={**os.environ, "HARPOON_SERVER": server.url},
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    server.wait_for(f"GET /v1/changes/{CHANGE}", 2)
    waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=10)
    assert waiting.returncode == 130
    assert f"harpoon wait change/{CHANGE}" in told
    assert "Traceback" not in told


def test_ctrl_c_is_heeded_though_it_does_not_interrupt_the_wait() -> None:
    script = """
import signal, threading, time
from harpoon.cli.wakeup import Wakeups
class Silent:
    def another(self): return self
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def watch(self, *_, **__):
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # the system may give it to any thread
        time.sleep(60)
        yield
Wakeups(Silent(), None).wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, timeout=20, check=False
    )
    assert b"KeyboardInterrupt" in done.stderr


def test_a_full_disk_behind_stdout_is_1_without_a_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harpoon", "get", "--help"],
            cwd=Path(__file__).parents[2],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"


def test_the_documentation_lists_every_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for code in ExitCode:
        assert f"| {code} |" in text
