"""What is given to be run, and what a driver gives back: a handle on a task's process."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harpoon.agent import processes
from harpoon.agent.drivers.box import Box
from harpoon.agent.drivers.cgroup import Group
from harpoon.agent.drivers.shimfile import Exit
from harpoon.agent.processes import Stat
from harpoon.model.task import Limit
from harpoon.model.template import Resources

#: Stands for a process that was never known.
NOBODY: Final = -1
#: The variable by which a process is known for a certain task's.
OWNER: Final = "HARPOON_TASK"
#: What programs are started through: the calls that spawn cannot change the directory.
SHELL: Final = "/bin/sh"
#: Python ignores some signals; a program is to find all as a fresh process does.
DEFAULT_SIGNALS: Final = tuple(n for n in range(1, 32) if n not in (signal.SIGKILL, signal.SIGSTOP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is to be run."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    #: Where it starts.
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch(Program):
    """A task's program, and its files."""

    stdout: str
    stderr: str
    #: Where the shim of this very launch writes what it has to say; must not exist.
    shim_file: str
    #: What its container is made of; None: it has none.
    container: Box | None = None
    #: What it is held to.
    resources: Resources = field(default_factory=Resources)


class Process:
    """One launch of a task. It tells of a change by calling what it was given; then its attributes are to be read."""

    #: See `driver.Handle`.
    note = ""
    beside = None

    def __init__(self, file: str, changed: Callable[[], None], shim: int = NOBODY) -> None:
        #: What its shim says.
        self.file = file
        #: It leads the task's session and process group, so this is their number too.
        self.shim = shim
        #: The task's own first process; None until the shim has told.
        self.task: Stat | None = None
        #: How it ended; None while it runs.
        self.exit: Exit | None = None
        #: When its shim was found killed, by the event loop's clock: its exit code will not be known. None: it was not.
        self.orphaned_s: float | None = None
        #: Whether its shim was gone when it was taken up, so that the session's number may be another's by now.
        self.is_old = False
        #: What it is held to; None: nothing, and nobody looked.
        self.group: Group | None = None
        self.changed = changed
        #: Other sessions that the task's process was seen in.
        self._sessions: set[int] = set()

    @property
    def name(self) -> str:
        """The task's id, which names the shim file's directory."""
        return Path(self.file).parent.name

    @property
    def pid(self) -> int | None:
        """The number of the task's process, once it is known."""
        return None if self.task is None else self.task.pid

    @property
    def began_ms(self) -> int:
        """When its shim was spawned, UTC milliseconds.

        Raises:
            OSError: The host does not let it be found out.
        """
        return os.stat(self.file).st_mtime_ns // 1_000_000  # noqa: PTH116

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Which of its limits are enforced."""
        return () if self.group is None else self.group.kept.limits

    def hear(self, pid: int) -> None:
        """Take note of which process is the task's, if it is: the shim's child, or known by its environment."""
        stat = processes.stat_of(pid)
        if stat is not None and (stat.parent == self.shim or processes.has_variable(pid, OWNER, self.name)):
            self.task = stat
            self.changed()

    def signal(self, number: int) -> None:
        """Signal the task's group; and the task's process with its new group, should it have left the first."""
        if self.exit is not None:
            return
        processes.signal_group(self.shim, number)
        if self.task is None or not processes.is_there(self.task):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._sessions.add(os.getsid(self.task.pid))
            group = os.getpgid(self.task.pid)
            if group != self.shim:
                processes.signal_group(group, number)

    def kill(self) -> None:
        """Kill the task's process. The shim tells its end; the rest of the group goes with `Process.sweep`."""
        if self.task is None:
            processes.signal_group(self.shim, signal.SIGKILL)
            return
        self.signal(signal.SIGCONT)
        if self.exit is None and processes.is_there(self.task):
            processes.kill((self.task.pid,))

    @property
    def sessions(self) -> set[int]:
        """All sessions that the task was seen in."""
        return {self.shim, *self._sessions}

    def has_group(self) -> bool:
        """Kill what is left of the group, and return whether anything was."""
        try:
            os.killpg(self.shim, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True
