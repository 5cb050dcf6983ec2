"""Child processes that are kept running: started again when they end by themselves, stopped when told."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from harpoon.cli import terminal
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import HarpoonError

#: A child that lives for less than this has failed to start.
SETTLED: Final = timedelta(seconds=3)
#: Failures to start, one after another, after which it is no use.
FAILURES_MAX: Final = 3
#: Pause before a child is started again, so that one that cannot run does not fill the log.
AGAIN_AFTER: Final = timedelta(milliseconds=500)
#: A child gets so long to end by itself.
STOP_WITHIN: Final = timedelta(seconds=10)


@dataclass(slots=True)
class Child:
    """One process: in a session of its own, so that Ctrl-C at the terminal is left to the parent."""

    name: str
    #: Program and arguments.
    command: Sequence[str]
    log: Path
    _process: "subprocess.Popen[bytes] | None" = None
    _started: timedelta = timedelta()
    _failures: int = 0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, if it did; negative: the signal that killed it."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; what it says goes to the end of its log."""
        self._started = SystemClock().now().elapsed
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_again(self) -> None:
        """Start it after it has ended.

        Raises:
            HarpoonError: It has failed too often.
        """
        lived = SystemClock().now().elapsed - self._started
        self._failures = self._failures + 1 if lived < SETTLED else 0
        told = f"{self.name} ended ({ending(self.returncode)})"
        if self._failures >= FAILURES_MAX:
            raise HarpoonError(f"{told}, soon after its start and {self._failures} times in a row. {self.last_words()}")
        terminal.say(f"{told}; starting it again")
        time.sleep(AGAIN_AFTER.total_seconds())
        self.start()

    def stop(self) -> None:
        """End it: ask, wait, then kill."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN.total_seconds())
        except subprocess.TimeoutExpired:
            terminal.say(f"{self.name} does not end, killing it")
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """Return the end of its log, for a person."""
        with suppress(OSError):
            lines = self.log.read_bytes()[-4096:].decode("utf-8", "replace").splitlines()[-5:]
            return f"The end of {self.log}:\n" + "\n".join(f"  {terminal.plain(line)}" for line in lines)
        return f"Its log is {self.log}"


def harpoon(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs this very Harpoon."""
    return (sys.executable, "-m", "harpoon", *arguments)


def wait_for_end(children: Sequence[Child]) -> list[Child]:
    """Return the children that have ended, once there are any; Ctrl-C interrupts it."""
    with ExitStack() as opened:
        descriptors = []
        for pid in (child.pid for child in children):
            if pid is not None:
                descriptor = os.pidfd_open(pid)
                opened.callback(os.close, descriptor)
                descriptors.append(descriptor)
        if len(descriptors) == len(children):
            select.select(descriptors, (), ())
    return [child for child in children if child.pid is None]


def ending(returncode: int | None) -> str:
    """Say how a process ended."""
    if returncode is None:
        return "still running"
    return f"exit {returncode}" if returncode >= 0 else f"killed by {signal.Signals(-returncode).name}"


def stop_groups(groups: Sequence[int], *, within: timedelta = STOP_WITHIN) -> int:
    """End process groups: TERM, then KILL to those that do not heed it in time; return how many there were."""
    left = [group for group in groups if _signal(group, signal.SIGTERM)]
    count = len(left)
    deadline = SystemClock().now().elapsed + within
    while left and SystemClock().now().elapsed < deadline:
        time.sleep(0.05)
        left = [group for group in left if _signal(group, 0)]
    for group in left:
        _signal(group, signal.SIGKILL)
    return count


def _signal(group: int, number: int) -> bool:
    """Signal a process group; return whether it is there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
