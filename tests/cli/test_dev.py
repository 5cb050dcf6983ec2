"""``harpoon dev``: real processes, started, started again, and gone in the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.cli.children import Child, ending, harpoon, stop_groups, wait_for_end
from harpoon.cli.etcd_child import lay_etcd
from harpoon.cli.session import Session
from harpoon.config import Listen
from tests.cli.fake_server import FakeServer
from tests.cli.terminal_rig import Terminal
from tests.ports import free_port

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
    lives = Child("lives", ("sleep", "1000"), tmp_path / "lives.log")
    ends = Child("ends", harpoon("version"), tmp_path / "ends.log")
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


def test_a_path_that_no_task_could_have_is_2_and_nothing_is_started(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal.run("dev", "--allow-host-path", "srv", "--data", str(tmp_path / "data"))
    assert done.code == 2
    assert "a host path" in done.err
    assert not (tmp_path / "data").exists()


def test_without_etcd_one_is_told_how_to_get_it_and_nothing_is_started(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    listen = f"127.0.0.1:{free_port()}"
    done = terminal.run("dev", "--store", "etcd", "--listen", listen, "--data", str(tmp_path / "data"))
    assert done.code == 2
    assert "apt-get install etcd-server" in done.err
    assert "https://github.com/etcd-io/etcd/releases" in done.err
    assert "without --store" in done.err
    assert not (tmp_path / "data").exists()


def test_a_store_that_there_is_not_is_2(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal.run("dev", "--store", "zookeeper", "--data", str(tmp_path / "data"))
    assert done.code == 2
    assert not (tmp_path / "data").exists()


def test_etcd_listens_on_loopback_at_two_free_ports_below_the_outgoing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "etcd"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    laid = lay_etcd(tmp_path / "data", is_free=lambda where: where.port not in (4460, 4462))
    assert laid.where == Listen("127.0.0.1", 4461)
    assert laid.store == "etcd://127.0.0.1:4461"
    assert not laid.is_well()
    urls = [word for word in laid.child.command if "://" in word]
    assert {url.rpartition("/")[2] for url in urls} == {"127.0.0.1:4461", "127.0.0.1:4463"}
    assert not (tmp_path / "data").exists()


@pytest.mark.system
def test_an_etcd_that_cannot_start_is_told_by_its_last_words(terminal: Terminal, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "etcd" / "member").mkdir(parents=True)
    (data / "etcd" / "member" / "snap").write_text("no directory")
    done = terminal.run("dev", "--store", "etcd", "--listen", f"127.0.0.1:{free_port()}", "--data", str(data))
    assert done.code == 1
    assert "etcd did not start (exit 1)" in done.err
    assert f"The end of {data}/etcd.log:" in done.err
    assert not (data / "server.log").exists(), "nothing is started without its store"


@contextmanager
def dev(port: int, data: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    where = ["--listen", f"127.0.0.1:{port}", "--data", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "harpoon", "dev", "--agents", "1", *where, *options],
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


@pytest.mark.system
def test_dev_on_etcd_starts_it_again_where_it_was_and_keeps_what_was_declared(
    terminal: Terminal, tmp_path: Path
) -> None:
    port, data = free_port(), tmp_path / "data"
    url = f"http://127.0.0.1:{port}"
    manifest = tmp_path / "clock.yaml"
    manifest.write_text(
        "{apiVersion: harpoon/v1, kind: Job, metadata: {name: clock}, spec: {task: {command: [sleep, '1000']}}}"
    )
    with dev(port, data, "--store", "etcd") as process:
        told = read_until(process, "Ctrl-C stops everything")
        where, _, etcd = told.partition("etcd http://")[2].partition(" (pid ")
        assert terminal.run("apply", "-f", str(manifest), server=url).code == 0
        os.kill(int(etcd.partition(")")[0]), signal.SIGKILL)
        read_until(process, "etcd ended (killed by SIGKILL); starting it again")
        began = time.monotonic()
        while terminal.run("scale", "clock", "2", server=url).code != 0:
            assert time.monotonic() - began < 30, (data / "server.log").read_text()[-4000:]
        process.send_signal(signal.SIGINT)
        assert "stopped 2 tasks" in process.stderr.read()
        assert process.wait(20) == 0
    assert where.startswith("127.0.0.1:")
    assert (data / "etcd" / "member").is_dir()
    assert (
        "gracefully stopped" in (data / "etcd.log").read_text()
        or "closed etcd server" in (data / "etcd.log").read_text()
    )
    with dev(port, data, "--store", "etcd") as process:
        read_until(process, "Ctrl-C stops everything")
        assert terminal.run("wait", "job/clock", server=url).code == 0
        assert "2/2" in terminal.run("get", "jobs", server=url).out


@pytest.mark.system
def test_dev_stops_everything_though_nobody_reads_what_it_says(tmp_path: Path) -> None:
    port = free_port()
    with dev(port, tmp_path / "data") as process:
        told = read_until(process, "Ctrl-C stops everything")
        pids = [int(part.partition(")")[0]) for part in told.split("(pid ")[1:]]
        assert len(pids) == 2
        process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not any(map(alive, pids))
