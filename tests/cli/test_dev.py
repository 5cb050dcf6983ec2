"""``harpoon dev``: real processes, started, started again, and gone in the end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.cli.children import Child, ending, stop_groups, wait_for_end
from harpoon.cli.session import Session
from tests.cli.fake_server import FakeServer, free_port
from tests.cli.terminal_rig import Terminal

ROOT = Path(__file__).parents[2]


def test_an_ending_is_told_in_words() -> None:
    assert ending(0) == "exit 0"
    assert ending(-9) == "killed by SIGKILL"
    assert ending(None) == "still running"


def test_a_process_group_that_does_not_heed_term_is_killed() -> None:
    deaf = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 5; done"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with deaf:
        deaf.stdout.readline()
        assert stop_groups([deaf.pid], within=timedelta(milliseconds=100)) == 1
        assert deaf.wait(10) == -signal.SIGKILL


def test_a_group_that_is_gone_is_not_counted() -> None:
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    assert stop_groups([gone.pid]) == 0


def test_children_are_waited_for_and_the_one_that_ended_is_told(tmp_path: Path) -> None:
    lives = Child("lives", ("wait", "agents", "--server", "http://127.0.0.1:1"), tmp_path / "lives.log")
    ends = Child("ends", ("version",), tmp_path / "ends.log")
    lives.start()
    ends.start()
    assert wait_for_end([lives, ends]) == [ends]
    assert ends.returncode == 0
    assert "harpoon " in ends.last_words()
    lives.stop()
    assert lives.pid is None


def test_an_address_that_is_taken_is_4_and_nothing_is_started(
    terminal: Terminal, server: FakeServer, tmp_path: Path
) -> None:
    done = terminal.run("dev", "--listen", f"127.0.0.1:{server.port}", "--data", str(tmp_path / "data"))
    assert done.code == 4
    assert "--listen" in done.err
    assert not (tmp_path / "data").exists()


@contextmanager
def dev(port: int, data: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "harpoon", "dev", "--agents", "1", "--listen", f"127.0.0.1:{port}", "--data", str(data)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    told = ""
    while words not in told:
        line = process.stderr.readline()
        assert line, f"it ended before it said {words!r}: {told}"
        told += line
    return told


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.system
def test_dev_runs_a_job_starts_again_what_is_killed_and_leaves_nothing_behind(
    terminal: Terminal, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with dev(port, tmp_path / "data") as process:
        told = read_until(process, "Ctrl-C stops everything")
        assert "harpoon schedule FILE" in told
        manifest = tmp_path / "clock.yaml"
        manifest.write_text(
            "{apiVersion: harpoon/v1, kind: Job, metadata: {name: clock}, spec: {task: {command: [sleep, '1000']}}}"
        )
        assert terminal.run("apply", "-f", str(manifest), server=url).code == 0
        with Session(url) as session:
            (task,) = session.get("tasks").body["items"]
        agent = int(told.partition("agent-1 (pid ")[2].partition(")")[0])
        os.kill(agent, signal.SIGKILL)
        read_until(process, "agent-1 ended (killed by SIGKILL); starting it again")
        assert terminal.run("wait", "agents", server=url).code == 0
        assert alive(task["pid"]), "a task outlives its agent"
        process.send_signal(signal.SIGINT)
        assert "stopped 1 task" in process.stderr.read()
        assert process.wait(20) == 0
        assert not alive(task["pid"])
    assert terminal.run("status", server=url).code == 9
