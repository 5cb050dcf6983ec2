"""``harpoon batch``: which agents take part, what is declared, what is shown of each, and how it ends."""

import json
import signal
import threading
from typing import Any

import pytest

from harpoon.cli import gathering
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Terminal

JOB = "/v1/namespaces/default/jobs/check"
PUT, STATUS, DELETE = f"PUT {JOB}", f"GET {JOB}/status", f"DELETE {JOB}"
REVISION = "1.7"


def an_agent(name: str, link: str = "connected", **fields: Any) -> dict[str, Any]:
    return {"name": name, "link": {"state": link, "reason": ""}, "cordon": None, **fields}


def a_result(slot: int, code: int = 0, **fields: Any) -> dict[str, Any]:
    told = {"slot": slot, "is_complete": code == 0, "attempts": 1, "exit_code": code, "placed_ms": 1000, "at_ms": 2500}
    told |= {
        "task": f"default.check.{slot}.1-9",
        "agent": f"a{slot + 1}",
        "reason": "" if code == 0 else f"exited {code}",
    }
    return {**told, **fields}


def a_status(*results: dict[str, Any], outcome: str | None = None, **fields: Any) -> Told:
    batch = {"outcome": outcome, "results": list(results), "reason": "so it is" if outcome == "failed" else ""}
    return Told(body={"state": outcome or "running", "pending": None, "tasks": [], "batch": batch, **fields})


def log(slot: int) -> str:
    return f"GET /v1/tasks/default.check.{slot}.1-9/logs"


@pytest.fixture
def fleet(server: FakeServer) -> FakeServer:
    """Three agents, of which one is cordoned, and a job that succeeds on both others."""
    cordoned = an_agent("a3", cordon={"is_draining": False, "reason": "new disk"})
    server.tell(
        "GET /v1/agents", Told(body={"revision": REVISION, "items": [an_agent("a2"), an_agent("a1"), cordoned]})
    )
    server.tell(PUT, Told(status=202, body={"change": "default.check.1-8"}))
    server.tell("GET /v1/watch", Told(lines=[{"type": "synced", "revision": REVISION}], hangs=True))
    server.tell(STATUS, a_status(a_result(0)), a_status(a_result(0), a_result(1), outcome="succeeded"))
    for slot in (0, 1):
        # Each stream is asked for in turn: what it wrote, then its errors.
        server.tell(log(slot), Told(text=f"up\tof {slot}\n".encode()), Told(text=b"oh\x1b[2J\n" if slot else b""))
    return server


def test_it_runs_on_the_agents_that_can_and_shows_what_came_of_it_on_each(
    terminal: Terminal, fleet: FakeServer
) -> None:
    done = terminal.run("batch", "--name", "check", "--skip-unavailable", "--", "echo", "$HOME", server=fleet.url)
    assert done.code == 0, done.err
    (put,) = fleet.of(PUT)
    assert put.headers["if-none-match"] == "*"
    assert put.body["spec"] == {
        "type": "batch",
        "placement": {"agents": ["a1", "a2"]},
        "on_failure": "finish",
        "deadline": "10m",
        "keep": "1h",
        "task": {"command": ["echo", "$$HOME"]},
    }
    assert done.out.splitlines()[:2] == ["a1 | up      of 0", "a2 | up      of 1"]
    assert [line.split() for line in done.out.splitlines()[2:]] == [
        ["AGENT", "RESULT", "EXIT", "SECONDS", "REASON"],
        ["a1", "succeeded", "0", "1.5", "-"],
        ["a2", "succeeded", "0", "1.5", "-"],
        ["a3", "left", "out", "-", "-", "it", "is", "cordoned:", "new", "disk"],
    ]
    assert "a2 | oh\ufffd[2J" in done.err, "what a task writes does not steer the terminal"
    assert "a3 is left out: it is cordoned: new disk" in done.err


def test_an_agent_that_is_left_out_makes_the_exit_code_7(terminal: Terminal, fleet: FakeServer) -> None:
    done = terminal.run("batch", "--name", "check", "--", "uptime", server=fleet.url)
    assert done.code == 7
    assert "error: left out, unless --skip-unavailable, are a3" in done.err


def test_all_options_come_to_be_in_the_job(terminal: Terminal, fleet: FakeServer) -> None:
    options = ["--name", "check", "--parallel", "1", "--timeout", "90s", "--keep", "2h", "--skip-unavailable"]
    options += ["--user", "nobody", "--image", "alpine:3", "--env", "A=b=c", "--cpu", "100m", "--memory", "64Mi"]
    done = terminal.run("batch", *options, "-l", "zone=a", "--agents", "a2,a1,a2", "--", "id", "-u", server=fleet.url)
    assert done.code == 0, done.err
    assert fleet.of("GET /v1/agents")[0].query["tag"] == ["zone=a"]
    spec = fleet.of(PUT)[0].body["spec"]
    assert (spec["parallel"], spec["deadline"], spec["keep"]) == (1, "90s", "2h")
    assert spec["placement"] == {"agents": ["a1", "a2"]}
    assert spec["task"] == {
        "command": ["id", "-u"],
        "driver": "docker",
        "image": "alpine:3",
        "user": "nobody",
        "env": {"A": "b=c"},
        "resources": {"cpu": "100m", "memory": "64Mi"},
    }


def test_as_json_it_is_one_document_and_nothing_else(terminal: Terminal, fleet: FakeServer) -> None:
    fleet.tell(STATUS, a_status(a_result(0, 3), a_result(1), outcome="failed"))
    done = terminal.run("batch", "--name", "check", "--skip-unavailable", "-o", "json", "--", "x", server=fleet.url)
    assert done.code == 7
    told = json.loads(done.out)
    assert (told["job"], told["state"], told["reason"]) == ("check", "failed", "so it is")
    assert [(one["agent"], one["state"], one["exit_code"], one["output"]) for one in told["agents"]] == [
        ("a1", "failed", 3, "up\tof 0\n"),
        ("a2", "succeeded", 0, "up\tof 1\n"),
        ("a3", "left out", None, ""),
    ]
    assert (told["agents"][0]["reason"], told["agents"][1]["errors"]) == ("exited 3", "oh\x1b[2J\n")
    assert "error: it failed on a1" in done.err


def test_what_had_not_ended_with_the_job_is_unfinished_with_what_is_still_known_of_it(
    terminal: Terminal, fleet: FakeServer
) -> None:
    agents = [an_agent(f"a{number}") for number in (1, 2, 3, 4)]
    fleet.tell("GET /v1/agents", Told(body={"revision": REVISION, "items": agents}))
    tasks = [{"id": f"default.check.{slot}.1-9", "state": "running"} for slot in (1, 2, 3)]
    tasks.append({"id": "default.check.0", "state": "pending"})
    witness = {"task": "default.check.2.1-9", "log": ["last", "words"]}
    ended = {"outcome": "failed", "reason": "its deadline has passed", "results": [], "witness": witness}
    last = Told(body={"state": "failed", "pending": None, "tasks": [], "batch": ended})
    fleet.tell(STATUS, a_status(tasks=tasks), last)
    for slot in (2, 3):
        fleet.tell(log(slot), problem(404, "there is no such task"))
    done = terminal.run("batch", "--name", "check", "-o", "wide", "--", "sleep", "999", server=fleet.url)
    assert done.code == 7
    assert "error: it did not end on a1, a2, a3, a4" in done.err
    assert done.out.splitlines()[:3] == ["a2 | up      of 1", "a3 | last", "a3 | words"]
    rows = {line.split()[0]: line for line in done.out.splitlines() if "unfinished" in line}
    assert rows["a1"].endswith("it was not started in time")
    assert rows["a2"].endswith("it had not ended in time, and was stopped")
    assert rows["a3"].endswith("it had not ended in time, and was stopped; only its last lines were kept")
    assert rows["a4"].endswith("it had not ended in time, and was stopped; what it wrote is gone with it")


def test_output_that_cannot_be_read_is_no_failure_of_the_command(terminal: Terminal, fleet: FakeServer) -> None:
    fleet.tell(log(0), problem(502, "agent a1 cannot be reached"))
    done = terminal.run("batch", "--name", "check", "--skip-unavailable", "-o", "wide", "--", "x", server=fleet.url)
    assert done.code == 0, done.err
    assert "what it wrote cannot be read: agent a1 cannot be reached" in done.out


def test_long_output_is_cut_off_at_its_beginning_and_says_so(
    terminal: Terminal, fleet: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "LINES_MAX", 2)
    monkeypatch.setattr(gathering, "OUTPUT_MAX", 8)
    fleet.tell(log(0), Told(text=b"1\n2\n3\n"), Told(text=b""))
    fleet.tell(log(1), Told(text=b"abcdefghijk"), Told(text=b""))
    done = terminal.run("batch", "--name", "check", "--skip-unavailable", "--", "x", server=fleet.url)
    assert done.out.splitlines()[:3] == ["a1 | 2", "a1 | 3", "a2 | defghijk"]
    assert fleet.of(log(0))[0].query["tail"] == ["3"]
    assert "a1 | [only the last 2 lines" in done.err
    assert "harpoon logs default.check.1.1-9" in done.err


def test_what_waits_is_said_once(terminal: Terminal, fleet: FakeServer) -> None:
    pending = {"reason": "a2 needs cpu 1 free", "slots": [1]}
    ended = a_status(a_result(0), a_result(1), outcome="succeeded")
    fleet.tell(STATUS, a_status(pending=pending), a_status(pending=pending), problem(503, "no store"), ended)
    done = terminal.run("batch", "--name", "check", "--skip-unavailable", "--", "x", server=fleet.url)
    assert done.code == 0, done.err
    assert done.err.count("job/check waits: a2 needs cpu 1 free") == 1
    assert "the server cannot be asked, trying again" in done.err


@pytest.mark.parametrize("answer", [problem(404, "no job"), a_status(state="terminating")])
def test_a_job_that_somebody_else_unschedules_is_7(terminal: Terminal, fleet: FakeServer, answer: Told) -> None:
    fleet.tell(STATUS, answer)
    done = terminal.run("batch", "--name", "check", "--", "x", server=fleet.url)
    assert done.code == 7
    assert "job/check was unscheduled meanwhile" in done.err


def test_a_job_that_does_not_end_by_itself_is_not_followed_for_ever(
    terminal: Terminal, fleet: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "PATIENCE", gathering.LOOK_EVERY * 0)
    fleet.tell(STATUS, a_status())
    done = terminal.run("batch", "--name", "check", "--timeout", "1s", "--", "x", server=fleet.url)
    assert done.code == 6
    assert "harpoon describe job/check" in done.err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Told(status=202, body={"change": "default.check.1-9"}), "interrupted; job/check is unscheduled"),
        (problem(404, "no job"), "interrupted; there is no job/check"),
        (problem(503, "no store"), "could not be unscheduled, so it goes on"),
    ],
)
def test_ctrl_c_unschedules_the_job(terminal: Terminal, fleet: FakeServer, answer: Told, said: str) -> None:
    fleet.tell(STATUS, a_status())
    fleet.tell(DELETE, answer)

    def interrupt() -> None:
        fleet.wait_for(STATUS, 2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    done = terminal.run("batch", "--name", "check", "--", "sleep", "999", server=fleet.url)
    assert done.code == 130
    assert len(fleet.of(DELETE)) >= 1
    assert said in done.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--agents", "a1,a9"), 3, "there is no agent a9; see: harpoon get agents"),
        (("--agents", "a9", "-l", "zone=a"), 3, "there is no agent a9 with zone=a"),
        (("--agents", "a3"), 7, "no agent is left to run it on"),
        (("-l", "zone"), 2, "write a tag as key=value"),
        (("--keep", "59s"), 2, "--keep is 1m or more"),
        (("--timeout", "soon"), 2, "'soon'"),
        (("--env", "A"), 2, "--env: write NAME=VALUE"),
        (("-o", "name"), 2, "has no name"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_declared(
    terminal: Terminal, fleet: FakeServer, options: tuple[str, ...], code: int, said: str
) -> None:
    done = terminal.run("batch", "--name", "check", *options, "--", "uptime", server=fleet.url)
    assert (done.code, said in done.err) == (code, True), done.err
    assert fleet.of(PUT) == []


@pytest.mark.parametrize(("options", "said"), [((), "there is no agent"), (("-l", "a=b"), "no agent has these tags")])
def test_where_no_agent_matches_it_is_3(
    terminal: Terminal, fleet: FakeServer, options: tuple[str, ...], said: str
) -> None:
    fleet.tell("GET /v1/agents", Told(body={"revision": REVISION, "items": []}))
    done = terminal.run("batch", *options, "--", "uptime", server=fleet.url)
    assert (done.code, said in done.err) == (3, True)


def test_agents_that_are_not_connected_or_drained_are_left_out_with_why(terminal: Terminal, fleet: FakeServer) -> None:
    lost = an_agent("a4", link="lost")
    lost["link"]["reason"] = "no answer"
    drained = an_agent("a5", cordon={"is_draining": True})
    fleet.tell(
        "GET /v1/agents", Told(body={"revision": REVISION, "items": [an_agent("a1"), an_agent("a2"), lost, drained]})
    )
    done = terminal.run("batch", "--name", "check", "--", "uptime", server=fleet.url)
    assert done.code == 7
    assert "a4 is left out: it is not connected (lost: no answer)" in done.err
    assert "a5 is left out: it is draining" in done.err
    assert "left out, unless --skip-unavailable, are a4, a5" in done.err


def test_more_agents_than_a_job_may_name_are_refused(terminal: Terminal, fleet: FakeServer) -> None:
    many = [an_agent(f"a{number}") for number in range(1001)]
    fleet.tell("GET /v1/agents", Told(body={"revision": REVISION, "items": many}))
    done = terminal.run("batch", "--", "uptime", server=fleet.url)
    assert (done.code, "at most 1000 agents are taken at once, and 1001 match" in done.err) == (2, True)


def test_a_name_is_made_up_unless_one_is_given(terminal: Terminal, fleet: FakeServer) -> None:
    terminal.run("batch", "--", "uptime", server=fleet.url)
    (path,) = [asked.path for asked in fleet.asked if asked.method == "PUT"]
    assert path.rpartition("/")[2].startswith("batch-")
    assert len(path.rpartition("/")[2]) == len("batch-1a2b3c")
