"""The process driver: a task is a process on this host, run by a shim (``shim.sh``) that outlives the agent.

The shim leads a session and process group of its own, in which the task is alone with it. To end a task is to
signal the group, which the shim survives, and if need be to kill the task's process; once the shim has told the end,
whatever is left of the group and session is killed, and of its control group (`drivers.cgroup`) where it has one.
Nothing here polls: the shim's notice comes through a pipe, its end through a pidfd, which also works for a shim that
an earlier daemon started.

*Why no* ``setsid`` *between shim and task*: that is a third program to load for each task. Measured on two cores,
spawning 1,000 shims with their tasks took 1.05 s with it and 0.78 s without. *Why a subshell around the command*: a
shell could vfork a plain one sooner (0.7 s), but then it tells of ``Killed`` in the task's stderr, not in the shim
file, and a program that ends with 137 looks like one that was killed.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from harpoon.agent import descriptors, processes
from harpoon.agent.census import Census
from harpoon.agent.drivers import cgroup, shimfile
from harpoon.agent.drivers.driver import Handle
from harpoon.agent.drivers.groups import Groups
from harpoon.agent.drivers.handle import DEFAULT_SIGNALS, NOBODY, OWNER, SHELL, Launch, Process
from harpoon.agent.drivers.notices import Notices
from harpoon.agent.drivers.programs import Programs
from harpoon.agent.drivers.shimfile import Exit, Said
from harpoon.agent.processes import Stat
from harpoon.core.restart import describe_memory_kill

_SHIM: Final = "\n".join(
    line
    for line in (Path(__file__).parent / "shim.sh").read_text(encoding="ascii").splitlines()
    if not line.startswith("#")
)
_NAME: Final = "harpoon-shim"
#: What the shim's shell is started with before what is particular to a task.
_PREFACE: Final = (SHELL, "-c", _SHIM, _NAME)
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
#: How soon to look again into the shim file of a shim that was just starting when its agent was killed.
_LATE_S: Final = 0.05
_RETRY_S: Final = 1.0
#: A shim and its task that end no further apart were killed together; the kernel takes them one after the other.
_TOGETHER_S: Final = 0.5
_UNKNOWN: Final = Exit(code=None, detail="ended, and its exit code is not known, because its shim was killed")
_KILLED: Final = Exit(code=-signal.SIGKILL, detail="was killed by KILL, and its whole group with it")

_log = structlog.get_logger(__name__)


class ProcessDriver:
    """Starts tasks, and finds those that an earlier daemon started."""

    def __init__(self, groups: Groups) -> None:
        """Open what shims tell through. To be made in a running event loop, and closed.

        Args:
            groups: Hold tasks to their limits.
        """
        self._groups = groups
        #: The launches that were found, by their shim files.
        self._found: set[str] = set()
        self._loop = asyncio.get_running_loop()
        #: Shims and programs that are children of this daemon: only they can be collected.
        self._children: set[int] = set()
        self._watched: dict[int, Process] = {}
        self._soft_limit = str(descriptors.raise_limit())
        descriptors.keep_from_children()
        self._notices = Notices()
        self._census = Census()
        #: Runs what is not a task, but runs beside one.
        self.programs = Programs(self._census, self._children, self._soft_limit)
        #: Whether it is the first process of a container, which inherits whatever is left by its parent there.
        self._is_first = os.getpid() == 1
        if self._is_first:
            # Not by the loop: uvloop keeps this signal for itself, though it has no children here.
            signal.signal(
                signal.SIGCHLD, lambda *_: self._loop.call_soon_threadsafe(processes.reap_orphans, self._children)
            )

    def close(self) -> None:
        """Let go of all tasks' processes, which run on, and kill all others."""
        if self._is_first:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.programs.close()
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()
        self._notices.close()
        self._groups.close()

    def start(self, launch: Launch, changed: Callable[[], None]) -> Process:
        """Spawn a shim for this launch. When this returns there is a process; which one is the task's comes later.

        Raises:
            OSError: It could not be spawned; nothing runs.
            ValueError: It holds text that no program can be given; nothing runs.
        """
        process = Process(launch.shim_file, changed)
        group = process.group = self._groups.make(launch)
        number = self._notices.expect(process.hear)
        data = self._groups.data_limit(launch.resources)
        particulars = (launch.directory, self._soft_limit, "-" if data is None else str(data >> 10), str(number))
        try:
            process.shim = os.posix_spawn(
                SHELL,
                (*_PREFACE, launch.shim_file, *group.doors, "--", *particulars, *launch.arguments),
                launch.environment,
                file_actions=self._descriptors(launch),
                setsid=True,
                setsigmask=(),
                setsigdef=DEFAULT_SIGNALS,
            )
            self._children.add(process.shim)
            self._watch(process, os.pidfd_open(process.shim))
        except (OSError, ValueError):
            self._notices.forget(number)
            if process.shim in self._children:
                processes.signal_group(process.shim, signal.SIGKILL)
                self._collect(process)
            group.kill()
            group.remove()
            raise
        return process

    def _descriptors(self, launch: Launch) -> tuple[tuple[Any, ...], ...]:
        """Return what the shim has open from its start; see there."""
        return (
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, launch.stdout, _APPEND, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, launch.shim_file, _APPEND | os.O_EXCL, 0o600),
            (os.POSIX_SPAWN_DUP2, self._notices.telling, 3),
            (os.POSIX_SPAWN_OPEN, 4, launch.stderr, _APPEND, 0o600),
        )

    def find(self, file: str, changed: Callable[[], None]) -> Process | None:
        """Take up a launch that an earlier daemon began in this boot, be it over or not.

        Returns:
            None when the launch never began.

        Raises:
            OSError: What became of it cannot be found out now. It must not be taken for dead.
        """
        said = shimfile.read(file)
        if said is None:
            return None
        # One that has not said its number yet is found by its arguments.
        shim = said.shim or next((pid for pid in processes.pids() if _is_shim(pid, file)), None)
        process = Process(file, changed, NOBODY if shim is None else shim)
        process.group = cgroup.load(cgroup.group_file(file))
        self._found.add(file)
        if shim is None or not self._take_up(process):
            process.is_old = True
            self._settle(process)
        return process

    def clear_strays(self) -> None:
        """Kill what is in groups of this agent's tasks that nobody has found. To be called once, after all were."""
        self._groups.clear_strays(self._found)
        self._found.clear()

    async def sweep(self, handle: Handle, *, is_thorough: bool) -> None:
        """Kill what an ended launch left behind.

        Args:
            handle: The launch.
            is_thorough: Wait also for what left the group but not the session. Otherwise that is killed in time.
        """
        assert isinstance(handle, Process), "it is one that this driver gave"
        if not await self._clear(handle, is_thorough=is_thorough):
            _log.warning("processes_left", task=handle.name, session=handle.shim)

    async def _clear(self, process: Process, *, is_thorough: bool) -> bool:
        """Do so, and return whether what was waited for is gone."""
        is_gone = process.group is not None and await process.group.clear()
        # Who was root may have left the group, yet not the session.
        if is_gone and not is_thorough:
            return True
        if process.is_old:
            return await self._census.clear(
                process.sessions, lambda pid: processes.has_variable(pid, OWNER, process.name)
            )
        if process.has_group() or is_thorough:
            return await self._census.clear(process.sessions)
        self._census.clear_later(process.sessions)
        return True

    def _take_up(self, process: Process) -> bool:
        """Watch the shim of an earlier daemon if it is still there."""
        try:
            descriptor = os.pidfd_open(process.shim)
        except ProcessLookupError:
            return False
        # The descriptor stands for one process, whatever becomes of its number; so it is opened first.
        if not _is_shim(process.shim, process.file):
            os.close(descriptor)
            return False
        self._watch(process, descriptor)
        self._hear_late(process)
        return True

    def _hear_late(self, process: Process) -> None:
        """Read who the task is; its shim may still be about to tell, to a pipe that nobody reads any more."""
        if process.task is not None or process.exit is not None:
            return
        pid = (shimfile.read(process.file) or Said()).task
        if pid is not None:
            process.hear(pid)
        else:
            self._loop.call_later(_LATE_S, self._hear_late, process)

    def _watch(self, process: Process, descriptor: int) -> None:
        self._watched[descriptor] = process
        self._loop.add_reader(descriptor, self._ended, process, descriptor)

    def _ended(self, process: Process, descriptor: int) -> None:
        """Take notice of the end of a shim, or of a task whose shim was killed."""
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        del self._watched[descriptor]
        self._settle_or_retry(process)

    def _settle_or_retry(self, process: Process) -> None:
        try:
            self._settle(process)
        except OSError as error:
            # Such as too many open files. A process that cannot be watched must not be taken for dead.
            _log.warning("process_not_watched", task=process.name, reason=str(error))
            self._loop.call_later(_RETRY_S, self._settle_or_retry, process)
        else:
            process.changed()

    def _settle(self, process: Process) -> None:
        """Find out how a launch ended whose shim is gone; or that it has not, and watch the task itself."""
        status = self._collect(process)
        said = shimfile.read(process.file) or Said()
        # When the disk was full, what the shim itself ended with says the same as its last line.
        status = status if said.status is None else said.status
        exit_ = replace(said, task=said.task or process.pid, status=status).exit()
        if exit_ is not None:
            process.exit = _with_cause(process, exit_)
            return
        if process.task is None and said.task is not None:
            process.hear(said.task)
        if process.task is None or not self._watch_orphan(process, process.task):
            # Only KILL can have taken the shim; what went with it, was killed with it.
            is_alone = process.orphaned_s is not None and self._loop.time() - process.orphaned_s > _TOGETHER_S
            process.exit = _with_cause(process, _UNKNOWN if is_alone or said.task is None else _KILLED)

    def _watch_orphan(self, process: Process, task: Stat) -> bool:
        """Watch a task whose shim was killed, if it is still there."""
        try:
            descriptor = os.pidfd_open(task.pid)
        except ProcessLookupError:
            return False
        if not processes.is_there(task):
            os.close(descriptor)
            return False
        if process.orphaned_s is None:
            process.orphaned_s = self._loop.time()
            _log.warning("shim_lost", task=process.name, pid=task.pid)
        self._watch(process, descriptor)
        return True

    def _collect(self, process: Process) -> int | None:
        """Collect an ended shim if it is a child of this daemon, and return its exit status if it had one."""
        if process.orphaned_s is not None or process.is_old or process.shim not in self._children:
            return None
        self._children.discard(process.shim)
        ended = os.waitid(os.P_PID, process.shim, os.WEXITED)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else None


def _is_shim(pid: int, file: str) -> bool:
    """Whether a process is the shim that writes this shim file."""
    return processes.arguments_of(pid)[len(_PREFACE) - 1 : len(_PREFACE) + 1] == [_NAME, file]


def _with_cause(process: Process, exit_: Exit) -> Exit:
    """Add to how a launch ended that the kernel killed processes of it for memory, if so."""
    group = process.group
    if group is None or exit_.code == 0:
        return exit_
    group.count()
    if not group.kept.killed:
        return exit_
    limit = group.kept.memory if group.kept.is_limit_reached else None
    return replace(exit_, detail=describe_memory_kill(limit, exit_.code), is_for_memory=True)
