"""What the terminal shows of a batch job, and how its end is told to scripts."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Told
from tests.cli.terminal_rig import Terminal

JOB = "/v1/namespaces/default/jobs/sum"
MANIFEST = """\
apiVersion: harpoon/v1
kind: Job
metadata: {name: sum}
spec:
  type: batch
  parameters:
    day: {type: string}
    count: {type: integer, default: 1}
    rate: {type: number, default: 1}
    dry: {type: boolean, default: false}
  task: {command: [work, "${parameters.day}"]}
"""
WITNESS = {"task": "default.sum.0.1-7", "agent": "a1", "state": "failed", "exit_code": 3, "log": ["disk full", "bye"]}


def a_batch(**fields: Any) -> dict[str, Any]:
    batch = {"completions": 2, "complete": 1, "failures": 1, "since_ms": 1, "deadline_ms": None, "outcome": None}
    batch |= {"ended_ms": None, "removed_ms": None, "reason": "", "witness": None, "results": []}
    return {**batch, **fields}


def a_status(state: str, **batch: Any) -> Told:
    told = {"state": state, "summary": "1/2 complete", "waiting": [], "is_done": state == "succeeded"}
    return Told(body={**told, "batch": a_batch(**batch)})


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "sum.yaml"
    path.write_text(MANIFEST)
    return str(path)


def test_values_of_parameters_are_read_as_their_types_say(
    terminal: Terminal, server: FakeServer, manifest: str
) -> None:
    server.tell(f"PUT {JOB}", Told(status=202, body={"change": "default.sum.1-2"}))
    given = ("--set", "day=2026=x", "--set", "count=-3", "--set", "rate=0.5", "--set", "dry=true")
    done = terminal.run("schedule", manifest, "--no-wait", *given, server=server.url)
    assert done.code == 0, done.err
    assert server.asked[0].body["spec"]["arguments"] == {"day": "2026=x", "count": -3, "rate": 0.5, "dry": True}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("day", "write a parameter as NAME=VALUE; got --set 'day'"),
        ("hour=1", "the job in {} has no such parameter; it has day, count, rate, dry"),
        ("count=1.5", "--set count: write a whole number; got '1.5'"),
        ("rate=nan", "--set rate: write a number, such as 0.5; got 'nan'"),
        ("dry=yes", "--set dry: write true or false; got 'yes'"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_asked(
    terminal: Terminal, server: FakeServer, manifest: str, given: str, message: str
) -> None:
    done = terminal.run("schedule", manifest, "--set", given, server=server.url)
    assert done.code == 2
    assert message.format(manifest) in done.err
    assert not server.asked


def test_a_job_that_fails_ends_the_wait_with_7_and_the_last_words_of_its_task(
    terminal: Terminal, server: FakeServer
) -> None:
    server.tell(f"GET {JOB}/status", a_status("failed", outcome="failed", reason="no attempts left", witness=WITNESS))
    done = terminal.run("wait", "job/sum", server=server.url)
    assert done.code == 7
    assert "error: job/sum failed: no attempts left" in done.err
    assert "Last lines of default.sum.0.1-7:\n  disk full\n  bye\n" in done.err


def test_a_change_that_fails_tells_the_last_words_too(terminal: Terminal, server: FakeServer, manifest: str) -> None:
    server.tell(f"PUT {JOB}", Told(status=202, body={"change": "default.sum.1-2"}))
    change = {"state": "failed", "is_done": False, "summary": "no attempts left", "waiting": []}
    server.tell("GET /v1/changes/default.sum.1-2", Told(body=change))
    server.tell(f"GET {JOB}/status", a_status("failed", outcome="failed", reason="no attempts left", witness=WITNESS))
    done = terminal.run("schedule", manifest, "--set", "day=x", server=server.url)
    assert done.code == 7
    assert "  disk full\n" in done.err


def test_success_is_waited_for_of_batch_jobs_only(terminal: Terminal, server: FakeServer) -> None:
    server.tell(f"GET {JOB}/status", a_status("succeeded", outcome="succeeded"))
    for goal in ((), ("--for", "succeeded")):
        done = terminal.run("wait", "job/sum", *goal, server=server.url)
        assert (done.code, done.err) == (0, "job/sum succeeded: 1/2 complete\n")
    server.tell(f"GET {JOB}/status", Told(body={"state": "ready", "summary": "1/1 ready", "batch": None}))
    done = terminal.run("wait", "job/sum", "--for", "succeeded", server=server.url)
    assert (done.code, "is no batch job" in done.err) == (2, True)
