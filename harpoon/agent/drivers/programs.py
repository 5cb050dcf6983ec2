"""Programs that run beside a task for a moment, such as its checks do: awaited, and gone whole when their time is over.

Such a program has no shim, for unlike a task it is not to outlive the agent. It leads a session and process group of
its own; when it has ended, or its time has, what is left of the group is killed. Its end comes through a pidfd, what it
prints through a pipe, of which only the end is kept.

A daemon that is killed cannot end them any more. They bear a mark, by which the next daemon finds them.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from harpoon.agent import processes
from harpoon.agent.census import Census
from harpoon.agent.drivers.handle import DEFAULT_SIGNALS, SHELL, Program

#: The variable by which such a program is told from the task it runs beside: the directory of that task.
MARK: Final = "HARPOON_CHECK"
#: Directory, limit of open files, then the program.
_SCRIPT: Final = 'cd -- "$1" || exit 126; ulimit -S -n "$2"; shift 2; unset PWD OLDPWD; exec "$@"'
_PREFACE: Final = (SHELL, "-c", _SCRIPT, "harpoon-check")
#: The last line is looked for in so much of what was printed last.
KEPT: Final = 4096
#: A pipe holds so much. One that was full is read again only after a rest, so that it cannot keep this daemon busy.
_CHUNK: Final = 64 << 10
_REST_S: Final = 0.01
#: What was killed and is not gone by then sleeps in the kernel.
_GONE_WITHIN_S: Final = 1.0
#: Looks for strays: one may have been forking while it was found.
_LOOKS_MAX: Final = 5
_COLOURS: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a program."""

    #: Negative: the signal that killed it. None: it did not end in time.
    code: int | None
    #: The last line it printed, whichever way; bounded, and fit to be shown.
    last_line: str
    #: Set once the process is gone; not yet where even KILL did not end it.
    gone: asyncio.Event


#: Runs a program, no longer than so.
Runs = Callable[[Program, timedelta], Awaitable[Outcome]]


class _Running:
    """One program that runs."""

    def __init__(self, pid: int, watch: int, output: int) -> None:
        #: It leads its session and process group, so this is their number too.
        self.pid = pid
        self.watch = watch
        self.output = output
        self.printed = b""
        self.code: int | None = None
        self.gone = asyncio.Event()


class Programs:
    """Runs programs for one daemon. How many at a time is for those to bound who have them run."""

    def __init__(self, census: Census, children: set[int], soft_limit: str) -> None:
        """Make one, in a running event loop.

        Args:
            census: Waits for the end of what was killed, and kills what left the group, but not the session.
            children: All processes that only this daemon collects.
            soft_limit: How many open files a program may have.
        """
        self._loop = asyncio.get_running_loop()
        self._census = census
        self._children = children
        self._soft_limit = soft_limit
        self._running: set[_Running] = set()

    def close(self) -> None:
        """Kill what still runs, and let go of it."""
        for running in self._running:
            processes.signal_group(running.pid, signal.SIGKILL)
            self._let_go(running)
        self._running.clear()

    async def run(self, program: Program, within: timedelta) -> Outcome:
        """Run a program until it ends, but no longer than ``within``; if cancelled, until then.

        Raises:
            OSError: It could not be started.
        """
        running = self._start(program)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within.total_seconds()):
                    await running.gone.wait()
            code = running.code
        finally:
            if running.code is None:
                processes.signal_group(running.pid, signal.SIGKILL)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GONE_WITHIN_S):
                        await running.gone.wait()
                        # The rest of the group dies a little later; and some may have left it, but not the session.
                        await self._census.clear({running.pid})
        return Outcome(code=code, last_line=last_line(running.printed), gone=running.gone)

    def _start(self, program: Program) -> _Running:
        output, printing = os.pipe2(os.O_CLOEXEC)
        try:
            pid = self._spawn(program, printing)
            self._children.add(pid)
            try:
                watch = os.pidfd_open(pid)
            except OSError:
                processes.signal_group(pid, signal.SIGKILL)
                self._collect(pid)
                raise
        except OSError:
            os.close(output)
            raise
        finally:
            os.close(printing)
        # Only this end: the program shares the other one, and would find that it cannot wait.
        os.set_blocking(output, False)
        running = _Running(pid, watch, output)
        self._running.add(running)
        self._loop.add_reader(watch, self._ended, running)
        self._loop.add_reader(output, self._hear, running)
        return running

    def _spawn(self, program: Program, printing: int) -> int:
        return os.posix_spawn(
            SHELL,
            (*_PREFACE, program.directory, self._soft_limit, *program.arguments),
            program.environment,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, printing, 1),
                (os.POSIX_SPAWN_DUP2, printing, 2),
            ),
            setsid=True,
            setsigmask=(),
            setsigdef=DEFAULT_SIGNALS,
        )

    def _hear(self, running: _Running) -> None:
        """Take in what was printed, and drop all but its end."""
        size = self._read(running)
        if size in (0, _CHUNK):
            self._loop.remove_reader(running.output)
        if size == _CHUNK:
            self._loop.call_later(_REST_S, self._hear_again, running)

    def _hear_again(self, running: _Running) -> None:
        if running in self._running:
            self._loop.add_reader(running.output, self._hear, running)

    def _read(self, running: _Running) -> int | None:
        """Read once; 0: nothing more will come, None: nothing is there now."""
        try:
            chunk = os.read(running.output, _CHUNK)
        except BlockingIOError:
            return None
        running.printed = (running.printed + chunk)[-KEPT:]
        return len(chunk)

    def _ended(self, running: _Running) -> None:
        """Take notice of a program's end, and end what is left of its group."""
        self._read(running)
        # As long as it is not collected, its number, and so that of the group, can be nobody else's.
        processes.signal_group(running.pid, signal.SIGKILL)
        running.code = self._collect(running.pid)
        self._running.discard(running)
        self._let_go(running)
        running.gone.set()

    def _collect(self, pid: int) -> int:
        self._children.discard(pid)
        ended = os.waitid(os.P_PID, pid, os.WEXITED)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def _let_go(self, running: _Running) -> None:
        for descriptor in (running.watch, running.output):
            self._loop.remove_reader(descriptor)
            os.close(descriptor)


def kill_strays(marks: Collection[str]) -> None:
    """Kill the programs with these marks that an earlier daemon left. To be called before any is started."""
    for _ in range(_LOOKS_MAX if marks else 0):
        found = [
            pid
            for pid in processes.pids()
            if any(mark in marks for mark in processes.variables_of(pid, MARK)) and processes.is_running(pid)
        ]
        if not found:
            return
        processes.kill(found)


def last_line(printed: bytes) -> str:
    """Return the last line that says something, without what would act on a terminal."""
    for line in reversed(_COLOURS.sub("", printed.decode(errors="replace")).splitlines()):
        text = "".join(letter if letter.isprintable() else " " if letter == "\t" else "" for letter in line).strip()
        if text:
            return text
    return ""
