"""What differs between drivers when they are held to one contract: how a task asks for its driver, and little else.

Programs of the contract are scripts for ``/bin/sh`` that also run in an image with no more than busybox. What runs of a
task is found by its environment, which a host shows of containers as well.
"""

import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harpoon.agent import processes
from harpoon.agent.drivers.hierarchies import find
from harpoon.model.name import TaskId

#: Grows until it is killed or refused.
EATS_MEMORY = 'x=0123456789abcdef; while :; do x="$x$x"; done'
#: Says so once it can be signalled; ends itself with 7 when it is asked to.
STAYS = "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.02; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.02; done"


@dataclass(frozen=True)
class Kind:
    """A driver under the contract."""

    name: str
    #: What templates for it set besides.
    template: Mapping[str, Any] = field(default_factory=dict)
    #: What the agent is started with besides.
    told: Mapping[str, Any] = field(default_factory=dict)
    #: The limits that it enforces on this host.
    enforced: frozenset[str] = frozenset()

    def command(self, script: str) -> tuple[str, ...]:
        """Return the command that runs a script."""
        return ("/bin/sh", "-c", script.replace("$", "$$"))


def kinds() -> list[Kind]:
    """Return the drivers that can run here."""
    return [Kind("process", enforced=_enforced())]


def _enforced() -> frozenset[str]:
    """What the process driver can enforce on this host; a group of this name is made, and removed again."""
    found = find(f"harpoon-trial-{os.getpid()}", is_root=os.geteuid() == 0)
    for hierarchy in found.hierarchies:
        with contextlib.suppress(OSError):
            Path(hierarchy.directory).rmdir()
    return frozenset(controller for hierarchy in found.hierarchies for controller in hierarchy.controllers)


def a_job() -> str:
    """Return the name of a job that no other test has, whoever runs tests here."""
    return f"job-{uuid.uuid4().hex}"


def processes_of(task: TaskId) -> list[int]:
    """Return all that runs of a task, wherever it has gone."""
    return [
        pid
        for pid in processes.pids()
        if processes.has_variable(pid, "HARPOON_TASK", task) and processes.is_running(pid)
    ]
