"""The process driver: a task is a process on this host, run by a shim (``shim.sh``) that outlives the agent.

The shim leads a session and process group of its own, in which the task is alone with it. To end a task is to
signal the group, which the shim survives, and if need be to kill the task's process; once the shim has told the end,
whatever is left of the group and session is killed. Nothing here polls: the shim's notice comes through a pipe, its end
through a pidfd, which also works for a shim that an earlier daemon started.

*Why no* ``setsid`` *between shim and task*: that is a third program to load for each task. Measured on two cores,
1,000 tasks took 1.05 s with it and 0.78 s without.
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from harpoon.agent import processes
from harpoon.agent.drivers import runfile
from harpoon.agent.drivers.runfile import Exit, Said
from harpoon.agent.processes import Stat

SHELL: Final = "/bin/sh"
_SHIM: Final = "\n".join(
    line
    for line in (Path(__file__).parent / "shim.sh").read_text(encoding="ascii").splitlines()
    if not line.startswith("#")
)
_NAME: Final = "harpoon-shim"
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
#: Python ignores some signals; a task is to find all as a fresh process does.
_DEFAULTS: Final = tuple(n for n in range(1, 32) if n not in (signal.SIGKILL, signal.SIGSTOP))
#: Waits for killed processes to be gone.
_GONE_WAITS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: How soon to look again into the run file of a shim that was just starting when its agent was killed.
_LATE_S: Final = 0.05
_UNKNOWN: Final = Exit(code=None, detail="ended, and its exit code is not known, because its shim was killed")
_KILLED: Final = Exit(code=-signal.SIGKILL, detail="was killed by KILL, and its whole group with it")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is to be run."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    #: Where it starts.
    directory: Path
    stdout: Path
    stderr: Path
    #: Of this very attempt; must not exist.
    run: Path


class Process:
    """One attempt at a task. It tells of a change by calling what it was given; then its attributes are to be read."""

    def __init__(self, run: Path, shim: int, changed: Callable[[], None]) -> None:
        self.run = run
        #: It leads the task's session and process group, so this is their number too.
        self.shim = shim
        #: The task's own first process; None until the shim has told.
        self.task: Stat | None = None
        #: How it ended; None while it runs.
        self.exit: Exit | None = None
        #: Whether its shim was killed, so that its exit code will not be known.
        self.is_orphan = False
        #: Whether its shim was gone when it was taken up, so that the session's number may be another's by now.
        self.is_old = False
        self.changed = changed
        self._sessions = {shim}

    @property
    def pid(self) -> int | None:
        """The number of the task's process, once it is known."""
        return None if self.task is None else self.task.pid

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

    async def sweep(self) -> bool:
        """Kill what an ended task left behind, and wait until it is gone.

        Returns:
            Whether all of it is gone; what sleeps in the kernel cannot be killed, and is not waited for long.
        """
        for wait in _GONE_WAITS_S:
            rest = processes.members(self._sessions)
            if self.is_old:
                rest = [pid for pid in rest if processes.has_variable(pid, "HARPOON_TASK", self.run.parent.name)]
            if not rest:
                return True
            processes.kill(rest)
            await asyncio.sleep(wait)
        return False


class ProcessDriver:
    """Starts tasks, and finds those that an earlier daemon started."""

    def __init__(self) -> None:
        """Open what shims tell through. To be made in a running event loop, and closed."""
        self._loop = asyncio.get_running_loop()
        #: Shims that are children of this daemon: only they can be collected.
        self._children: set[int] = set()
        #: What tells by this number who it is.
        self._starting: dict[int, Process] = {}
        self._started = 0
        self._watched: dict[int, Process] = {}
        self._soft_limit = str(_raise_file_limit())
        _keep_from_children()
        self._notices, self._telling = _notice_pipe()
        self._partial = b""
        self._loop.add_reader(self._notices, self._hear)
        if os.getpid() == 1:
            self._loop.add_signal_handler(signal.SIGCHLD, lambda: processes.reap_orphans(self._children))

    def close(self) -> None:
        """Let go of all processes; they run on."""
        for descriptor in (*self._watched, self._notices):
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()
        os.close(self._telling)

    def start(self, launch: Launch, changed: Callable[[], None]) -> Process:
        """Spawn a shim for this attempt. When this returns there is a process; which one is the task's comes later.

        Raises:
            OSError: It could not be spawned; nothing runs.
        """
        self._started += 1
        shim = os.posix_spawn(
            SHELL,
            (SHELL, "-c", _SHIM, _NAME, str(launch.run), str(launch.directory), self._soft_limit, str(self._started))
            + launch.arguments,
            launch.environment,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(launch.stdout), _APPEND, 0o600),
                (os.POSIX_SPAWN_OPEN, 2, str(launch.run), _APPEND | os.O_EXCL, 0o600),
                (os.POSIX_SPAWN_DUP2, self._telling, 3),
                (os.POSIX_SPAWN_OPEN, 4, str(launch.stderr), _APPEND, 0o600),
            ),
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )
        process = Process(launch.run, shim, changed)
        self._children.add(shim)
        try:
            self._watch(process, os.pidfd_open(shim))
        except OSError:
            processes.signal_group(shim, signal.SIGKILL)
            self._collect(shim)
            raise
        self._starting[self._started] = process
        return process

    def find(self, run: Path, changed: Callable[[], None]) -> Process | None:
        """Take up an attempt that an earlier daemon began in this boot, be it over or not.

        Returns:
            None when the attempt never began.
        """
        said = runfile.read(run)
        if said is None:
            return None
        shim = said.shim if said.shim is not None else _shim_of(run)
        process = Process(run, -1 if shim is None else shim, changed)
        if shim is None or not self._take_up(process):
            process.is_old = True
            self._settle(process)
        return process

    def _take_up(self, process: Process) -> bool:
        """Watch the shim of an earlier daemon if it is still there."""
        try:
            descriptor = os.pidfd_open(process.shim)
        except OSError:
            return False
        # The descriptor stands for one process, whatever becomes of its number; so it is opened first.
        if str(process.run) not in processes.arguments_of(process.shim):
            os.close(descriptor)
            return False
        self._watch(process, descriptor)
        self._hear_late(process)
        return True

    def _hear_late(self, process: Process) -> None:
        """Read who the task is; its shim may still be about to tell, to a pipe that nobody reads any more."""
        if process.task is not None or process.exit is not None:
            return
        process.task = (runfile.read(process.run) or Said()).task
        if process.task is None:
            self._loop.call_later(_LATE_S, self._hear_late, process)
        else:
            process.changed()

    def _hear(self) -> None:
        """Read which processes are the tasks'."""
        with contextlib.suppress(BlockingIOError):
            *lines, self._partial = (self._partial + os.read(self._notices, 1 << 16)).split(b"\n")
            for line in lines:
                number, _, rest = line.decode(errors="replace").partition(" ")
                process = self._starting.pop(int(number), None) if number.isdigit() else None
                if process is not None:
                    process.task = processes.parse_stat(rest)
                    process.changed()

    def _watch(self, process: Process, descriptor: int) -> None:
        self._watched[descriptor] = process
        self._loop.add_reader(descriptor, self._ended, process, descriptor)

    def _ended(self, process: Process, descriptor: int) -> None:
        """Take notice of the end of a shim, or of a task whose shim was killed."""
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        del self._watched[descriptor]
        self._settle(process)
        process.changed()

    def _settle(self, process: Process) -> None:
        """Find out how an attempt ended whose shim is gone; or that it has not, and watch the task itself."""
        status = self._collect(process.shim)
        said = runfile.read(process.run) or Said()
        process.task = process.task or said.task
        # When the disk was full, what the shim itself ended with says the same as its last line.
        process.exit = replace(said, task=process.task, status=status if said.status is None else said.status).exit()
        if process.exit is not None:
            return
        if process.is_orphan or process.task is None:
            process.exit = _UNKNOWN
            return
        try:
            descriptor = os.pidfd_open(process.task.pid)
        except OSError:
            process.exit = _KILLED
            return
        if processes.is_there(process.task):
            process.is_orphan = True
            self._watch(process, descriptor)
            _log.warning("shim_lost", task=process.run.parent.name, pid=process.pid)
        else:
            os.close(descriptor)
            process.exit = _KILLED

    def _collect(self, shim: int) -> int | None:
        """Collect an ended shim if it is a child of this daemon, and return its exit status if it had one."""
        if shim not in self._children:
            return None
        self._children.discard(shim)
        ended = os.waitid(os.P_PID, shim, os.WEXITED)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else None


def _shim_of(run: Path) -> int | None:
    """Find a shim that has not said its number yet: by its arguments."""
    return next((pid for pid in processes.pids() if str(run) in processes.arguments_of(pid)[:6]), None)


def _notice_pipe() -> tuple[int, int]:
    """Make a pipe to hear shims through; its far end reads as well as writes, so that writing never fails."""
    notices, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    both = os.open(f"/proc/self/fd/{writing}", os.O_RDWR | os.O_CLOEXEC)
    # Out of the way of the numbers that a shim knows.
    telling: int = fcntl.fcntl(both, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(both)
    os.close(writing)
    return notices, telling


def _keep_from_children() -> None:
    """Have no task inherit what this daemon was started with."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 numbers, no paths
        with contextlib.suppress(OSError):
            if int(name) > 2:
                os.set_inheritable(int(name), False)


def _raise_file_limit() -> int:
    """Let this daemon have as many open files as it may; tasks keep the limit it was started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft
