"""The shim file: what the shim of one launch has said, in lines, for as long as the launch is of interest.

It is made anew by the very spawn of the shim, so its presence says that the launch was started, and its absence,
to whoever has the agent's lock (`agent.home`), that it was not and never will be.
"""

import re
import signal
from dataclasses import dataclass

from harpoon.core.restart import describe_exit

#: Signals whose deed a shell does not tell.
_UNTOLD = (signal.SIGINT, signal.SIGPIPE)
#: A shim file has a few lines; what a stray program may have added is not read.
_BYTES_MAX = 64 << 10
_TOLD = re.compile(r"(shim|task|exit) ([0-9]{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the process of a task ended."""

    #: Negative: the signal that killed it. None: nobody knows.
    code: int | None
    detail: str
    #: Whether the kernel killed it, or a process of it, for want of memory.
    is_for_memory: bool = False
    #: Whether nothing ran, because its agent ended before; it is begun once more, and that is no restart.
    is_void: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a shim said so far."""

    shim: int | None = None
    #: The task's first process, which is about to run the task's command.
    task: int | None = None
    #: What the shell calls the exit status.
    status: int | None = None
    #: All other lines, such as ``Killed``: the shell's own words.
    words: str = ""

    def exit(self) -> Exit | None:
        """Return how the launch ended, if the shim told."""
        if self.status is None:
            return None
        if self.task is None:
            return Exit(code=None, detail=f"could not be started: {self.words or 'its shell ended early'}")
        code = self.status
        # A shell makes 128 + n of signal n. Whether it was one, or the program's own number, its words tell.
        if code > 128 and (self.words or code - 128 in _UNTOLD):
            return Exit(code=128 - code, detail=describe_exit(128 - code))
        return Exit(code=code, detail=f"{describe_exit(code)} ({self.words})" if self.words else describe_exit(code))


def read(path: str) -> Said | None:
    """Read a shim file; None when there is none. Lines that are not whole yet do not count."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 a hot path
            text = file.read(_BYTES_MAX).decode(errors="replace")
    except OSError:
        return None
    return parse(text)


def parse(text: str) -> Said:
    """Read the lines of a shim file."""
    shim = task = status = None
    words = []
    for line in text.split("\n")[:-1]:
        match = _TOLD.fullmatch(line)
        if match is None:
            if line:
                words.append(line)
        elif match[1] == "shim":
            shim = int(match[2])
        elif match[1] == "task":
            task = int(match[2])
        else:
            status = int(match[2])
    return Said(shim=shim, task=task, status=status, words=" ".join(words)[:200])
