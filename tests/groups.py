"""Clearing away the control groups that agents of a test left behind, since they were killed or their tasks were."""

import time
from pathlib import Path

from harpoon.agent import processes
from harpoon.agent.drivers import cgroup

#: How deep below a test's directory the state of an agent may be.
_DEPTHS = ("groups", "*/groups", "*/*/groups", "*/*/*/groups")


def clear_groups(directory: Path) -> None:
    """Kill what is in groups of agents whose state is in this directory, and remove them."""
    for pattern in _DEPTHS:
        for file in directory.glob(pattern):
            if file.is_file():
                for group in file.read_text(encoding="utf-8").splitlines():
                    _clear(group)


def _clear(group: str) -> None:
    deadline = time.monotonic() + 5
    while not cgroup.remove_tree(group) and time.monotonic() < deadline:
        processes.kill(list(cgroup.pids_below(group)))
        time.sleep(0.005)
