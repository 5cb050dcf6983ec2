"""Ports for what tests start: free ones, and no two the same, in whichever processes tests run at this time.

Whoever is given a port listens there only a moment later, and again after each restart: that nobody listens now is not
enough. So all processes take turns: each is given the ports that come next in one range, which is gone through from the
lowest to the highest before any is given again. It lies below what agents give to tasks by default, and below what the
kernel gives to outgoing connections. The few after each port stay free, as `harpoon dev` has its agents listen there.
"""

import fcntl
import os
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import socket

from harpoon.model.agent import PortRange

_LOW, _STEP, _COUNT = 11_000, 4, 2000
#: Ranges for tasks, of 100 each: above the one that agents have by default.
_TASKS, _TASKS_RANGES = 30_000, 27


def free_port() -> int:
    """Return a port of this machine's."""
    return free_ports("127.0.0.1", 1)[0]


def free_ports(address: str, count: int) -> list[int]:
    """Return as many ports of an address."""
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(_COUNT):
            port = _LOW + _STEP * (_turn("ports") % _COUNT)
            probe = held.enter_context(socket())
            with suppress(OSError):
                probe.bind((address, port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError("no free port")


def task_ports(size: int = 100) -> PortRange:
    """Return a range of ports that an agent may give to tasks, which no other agent hands out meanwhile."""
    low = _TASKS + 100 * (_turn("ranges") % _TASKS_RANGES)
    return PortRange(low=low, high=low + size - 1)


def _turn(of: str) -> int:
    """Return a number that no other process is given, one more each time."""
    path = Path(tempfile.gettempdir(), f"harpoon-{of}-{os.getuid()}")
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        # Who begins a file begins anywhere: others may have one elsewhere.
        turn = int(file.read() or os.getpid() * 37) + 1
        file.truncate(0)
        file.write(str(turn))
    return turn
