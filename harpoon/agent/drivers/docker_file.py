"""The launch file of a container: what its agent must not forget of it, in lines, for as long as it is of interest.

It is written before the engine is told anything. A second name of the same file (a hard link), among those of all
containers of the agent, outlives the task's directory: what stands there and belongs to no task is removed, and
nothing else is. Labels decide nothing, for anybody can write them.
"""

import contextlib
import os
import re
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from harpoon.agent.drivers.shimfile import Exit
from harpoon.model.template import PIDS_MAX, Resources

_BYTES_MAX: Final = 64 << 10
_NAMED: Final = re.compile(r"named ([A-Za-z0-9][A-Za-z0-9_.-]{1,300}) ([0-9a-f]{32})", re.ASCII)
_MADE: Final = re.compile(r"made ([0-9a-f]{64})", re.ASCII)
_HELD: Final = re.compile(r"held ([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,10})", re.ASCII)
_RUNNING: Final = re.compile(r"running ([0-9]{1,10}) ([0-9]{1,15})", re.ASCII)
_OVER: Final = re.compile(r"over (-?[0-9]{1,10}|unknown) (.{0,400})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one container."""

    #: What the engine calls it.
    name: str
    #: Known to nobody else before the container is made; it wears it as a label.
    nonce: str
    #: None: the engine has not confirmed that it made it.
    id: str | None = None
    #: What it is held to.
    resources: Resources = field(default_factory=Resources)
    #: The host's number of its first process.
    pid: int | None = None
    began_ms: int | None = None
    exit: Exit | None = None


def new(task: str, launch: int, resources: Resources) -> Known:
    """Return what one is to be called."""
    nonce = secrets.token_hex(16)
    return Known(name=f"harpoon.{task}.{launch}.{nonce[:8]}", nonce=nonce, resources=resources)


def parse(text: str) -> Known | None:
    """Read the lines; None: they name none. Lines that are not whole, or say nothing, do not count."""
    known: Known | None = None
    for line in text.split("\n")[:-1]:
        if (match := _NAMED.fullmatch(line)) is not None:
            known = Known(name=match[1], nonce=match[2])
        elif known is None:
            continue
        elif (match := _MADE.fullmatch(line)) is not None:
            known = replace(known, id=match[1])
        elif (match := _HELD.fullmatch(line)) is not None:
            held = Resources(memory=int(match[1]), cpu=int(match[2]), pids=min(int(match[3]), PIDS_MAX))
            known = replace(known, resources=held)
        elif (match := _RUNNING.fullmatch(line)) is not None:
            known = replace(known, pid=int(match[1]), began_ms=int(match[2]))
        elif (match := _OVER.fullmatch(line)) is not None:
            code = None if match[1] == "unknown" else int(match[1])
            known = replace(known, exit=Exit(code=code, detail=match[2]))
    return known


class Files:
    """The launch files of one agent's containers. They block, for a moment."""

    def __init__(self, directory: Path) -> None:
        """Make one; ``directory``: where each has its second name."""
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)

    def begin(self, path: str, known: Known) -> None:
        """Write down that a container is about to be made.

        Raises:
            OSError: It is not written down, or the launch was begun already.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as file:
            held = known.resources
            file.write(f"named {known.name} {known.nonce}\nheld {held.memory} {held.cpu} {held.pids}\n".encode())
        try:
            os.link(path, self._directory / known.name)
        except OSError:
            Path(path).unlink()
            raise

    def note(self, known: Known, line: str) -> None:
        """Write down one thing more. What a full disk does not take, the engine is asked again."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self._directory / known.name, flags), "wb", buffering=0) as file:
                file.write(f"{line}\n".encode(errors="replace"))

    def read(self, path: str) -> Known | None:
        """Read one; None: no container was begun.

        Raises:
            OSError: There is one, and it cannot be read.
        """
        try:
            with open(path, "rb") as file:  # noqa: PTH123 a hot path
                return parse(file.read(_BYTES_MAX).decode(errors="replace"))
        except FileNotFoundError:
            return None

    def all(self) -> list[Known]:
        """Return all containers that were begun and are not known to be removed."""
        found = []
        for path in sorted(self._directory.iterdir()):
            with contextlib.suppress(OSError):
                known = self.read(str(path))
                # One of another name, or of none, was not written here.
                if known is not None and known.name == path.name:
                    found.append(known)
        return found

    def undo(self, path: str, known: Known) -> None:
        """Take note that a container was not made after all, so that its launch never began."""
        self.forget(known)
        with contextlib.suppress(OSError):
            Path(path).unlink(missing_ok=True)

    def forget(self, known: Known) -> None:
        """Take note that a container is removed. Its task may still read what became of it."""
        with contextlib.suppress(OSError):
            (self._directory / known.name).unlink(missing_ok=True)


def made(container: str) -> str:
    """Return the line that says what the engine has made."""
    return f"made {container}"


def running(pid: int, began_ms: int) -> str:
    """Return the line that says which process it is."""
    return f"running {pid} {began_ms}"


def over(ended: Exit) -> str:
    """Return the line that says how it ended."""
    detail = " ".join(ended.detail.split())[:400]
    return f"over {'unknown' if ended.code is None else ended.code} {detail}"
