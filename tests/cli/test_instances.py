"""Several processes behind one port: kept running, started again with a pause, and ended with their parent."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from harpoon.cli import instances
from harpoon.cli.instances import Instances, reserve
from harpoon.config import Listen
from harpoon.kit.errors import HarpoonError
from tests.ports import free_port

LIVES = ("sleep", "1000")
PATIENCE_S = 10


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "PAUSE_S", (0.05, 0.2))


async def told_to_stop(kept: Instances, logs: list, ready: int) -> int:
    """Run until so many processes were started, then send SIGTERM; return the exit code."""
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        running = group.create_task(kept.run())
        while sum(line["event"] == "instance_started" for line in logs) < ready:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        return await running


async def test_one_that_ends_is_started_again_and_the_others_are_left_alone(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    ends_once = ("sh", "-c", f"test -e {mark} && exec sleep 1000; touch {mark}; kill -9 $$")
    with capture_logs() as logs:
        # Whoever is told to stop by a signal that it does not handle has not ended in peace.
        assert await told_to_stop(Instances({"s-1": LIVES, "s-2": ends_once}), logs, ready=3) == 1
    assert [line["name"] for line in logs if line["event"] == "instance_started"] == ["s-1", "s-2", "s-2"]
    [ended] = [line for line in logs if line["event"] == "instance_ended"]
    assert (ended["name"], ended["how"], ended["again_after_s"]) == ("s-2", "killed by SIGKILL", 0.05)


async def test_told_to_stop_all_are_told_and_the_code_is_that_of_a_peaceful_end() -> None:
    heeds = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done")
    with capture_logs() as logs:
        assert await told_to_stop(Instances({"s-1": heeds, "s-2": heeds}), logs, ready=2) == 0
    assert [line["event"] for line in logs if "stop" in line["event"]] == ["instances_stopping", "instances_stopped"]


async def test_one_that_does_not_heed_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "STOP_WITHIN_S", 0.3)
    deaf = ("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    with capture_logs() as logs:
        assert await told_to_stop(Instances({"s-1": deaf, "s-2": LIVES}), logs, ready=2) == 1
    assert [line["name"] for line in logs if line["event"] == "instance_killed"] == ["s-1"]


async def test_when_none_stays_up_it_ends_and_says_so() -> None:
    with capture_logs() as logs:
        async with asyncio.timeout(PATIENCE_S):
            assert await Instances({"s-1": ("false",), "s-2": ("false",)}).run() == 1
    pauses = [line["again_after_s"] for line in logs if line.get("name") == "s-1" and "again_after_s" in line]
    assert pauses[:3] == [0.05, 0.1, 0.2]
    assert next(line["reason"] for line in logs if line["event"] == "stopped").startswith("none of the instances stays")


async def test_while_one_stays_up_the_others_are_tried_for_ever() -> None:
    with capture_logs() as logs:
        await told_to_stop(Instances({"s-1": ("false",), "s-2": LIVES}), logs, ready=8)
    pauses = [line["again_after_s"] for line in logs if "again_after_s" in line]
    assert pauses[2:] == [0.2] * len(pauses[2:])
    assert not [line for line in logs if line["event"] == "stopped"]


def test_a_port_that_somebody_has_is_refused_shared_or_not() -> None:
    where = Listen("127.0.0.1", free_port())
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
            other.bind(where)
            other.listen()
            with pytest.raises(HarpoonError, match=str(where.port)):
                reserve(where)


def test_a_reserved_port_is_for_those_that_share_it() -> None:
    with reserve(Listen("127.0.0.1", free_port())) as held, socket.socket() as shares:
        shares.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shares.bind(held.getsockname())
        shares.listen()
        with pytest.raises(HarpoonError, match="in use"):
            reserve(Listen(*held.getsockname()))
        # Nothing arrives at the one that only holds the port.
        for _ in range(20):
            with socket.create_connection(held.getsockname(), timeout=1):
                shares.accept()[0].close()


def test_a_port_whose_last_connections_linger_can_be_reserved() -> None:
    where = Listen("127.0.0.1", free_port())
    with socket.socket() as before:
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        before.bind(where)
        before.listen()
        client = socket.create_connection(where)
        before.accept()[0].close()
        client.recv(1)
        client.close()
    reserve(where).close()


def test_a_server_that_is_tied_ends_in_peace_when_whoever_started_it_is_gone(tmp_path: Path) -> None:
    where = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "harpoon", "server", "--store", "memory", "--listen", where, "--tied"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stderr is not None
        lines = iter(server.stderr.readline, b"")
        assert any(b"server_ready" in line for line in lines)
        began = time.monotonic()
        server.stdin.close()
        assert server.wait(PATIENCE_S) == 0
        assert time.monotonic() - began < 5
