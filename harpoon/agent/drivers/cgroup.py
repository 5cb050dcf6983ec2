"""The control groups of one launch: made before its shim, joined by the task before it becomes its program.

The shim stays outside, so that it tells the end of a task of which nothing else is left. All that the task starts is
within, whatever session it makes for itself; so what is left of it can be killed whole.

A launch has one directory in the unified hierarchy (v2), and one in each older one (v1) that it needs a controller
of. Where they are is kept in a file beside the shim file, for a later daemon; with what was counted when it ended,
since the groups are gone by then.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from harpoon.agent import processes
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.task import Limit

#: Stands for the unified hierarchy itself, whether it has controllers or not; no controller is called so.
UNIFIED: Final = "unified"
FREEZER: Final = "freezer"
PROCESSES: Final = "cgroup.procs"
#: What is kept of a launch is small.
_BYTES_MAX: Final = 64 << 10
#: What is asked for at once may be a huge page, and each processor takes some in advance: so near is at the limit.
_LAST_BYTES: Final = 4 << 20
#: Waits for what was killed to be gone: 2 s in all.
_WAITS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a later daemon must know of a launch's limits."""

    #: Controller → directory. Those of the unified hierarchy have its directory.
    directories: dict[str, str] = field(default_factory=dict)
    #: Bytes of memory that it is held to; 0: it is not.
    memory: int = 0
    limits: tuple[Limit, ...] = ()
    #: How many of its processes were killed for memory, once it has ended; None: that was not looked up.
    killed: int | None = None
    #: Whether it had then come to what it was held to.
    is_limit_reached: bool = False
    v: int = 1


class Group:
    """The groups of one launch, and the file that tells of them."""

    def __init__(self, file: str, kept: Kept) -> None:
        self._file = file
        self.kept = kept

    @property
    def directories(self) -> list[str]:
        """All directories, each once."""
        return list(dict.fromkeys(self.kept.directories.values()))

    @property
    def doors(self) -> list[str]:
        """The files that a process writes ``0`` to so as to be in this group."""
        return [f"{directory}/{PROCESSES}" for directory in self.directories]

    def save(self) -> None:
        """Have a later daemon find it.

        Raises:
            OSError: The disk cannot take it.
        """
        fresh = f"{self._file}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
            file.write(codec.dump(self.kept))
        os.rename(fresh, self._file)  # noqa: PTH104 a hot path

    def count(self) -> None:
        """Find out how many of its processes were killed for memory, and keep it; of a launch that has ended."""
        directory = self.kept.directories.get("memory")
        if directory is None or self.kept.killed is not None:
            return
        killed, is_reached = memory_kills(directory, is_unified=directory == self.kept.directories.get(UNIFIED))
        if killed:
            self.kept = replace(self.kept, killed=killed, is_limit_reached=bool(self.kept.memory) and is_reached)
            # The reason of an end that a disk cannot take is lost only if the daemon is killed now.
            with contextlib.suppress(OSError):
                self.save()

    def kill(self) -> bool:
        """Kill all that is in it, and return whether anything was."""
        found = list(self.pids())
        unified, freezer = self.kept.directories.get(UNIFIED), self.kept.directories.get(FREEZER)
        if not found:
            return False
        if unified is not None and _write(f"{unified}/cgroup.kill", "1"):
            return True
        # While they are frozen none can make another; nor can they die, with v1.
        is_frozen = freezer is not None and _write(f"{freezer}/freezer.state", "FROZEN")
        processes.kill(list(self.pids()))
        if is_frozen:
            _write(f"{freezer}/freezer.state", "THAWED")
        return True

    async def clear(self) -> bool:
        """Kill all that is in it, wait for that, though not for ever, and remove it.

        Returns:
            Whether it is gone; False, too, where there was none that could hold all of a task.
        """
        for wait in _WAITS_S if self.kept.directories else ():
            if not self.kill() and self.remove():
                return True
            await asyncio.sleep(wait)
        return False

    def pids(self) -> Iterator[int]:
        """Yield the processes in it, and in what groups it made for itself."""
        # All that is in one of them is in the others, but for what root moved.
        for directory in self.directories:
            yield from pids_below(directory)

    def remove(self) -> bool:
        """Remove its directories, in which nothing is left; return whether they are gone."""
        return not [one for one in self.directories if not remove_tree(one)]


def group_file(shim_file: str) -> str:
    """Return the file that tells of the groups of a launch, by its shim file."""
    path = Path(shim_file)
    return str(path.with_name(f"group{path.suffix}"))


def load(file: str) -> Group | None:
    """Return the groups of a launch by their file; None: it had none, nor limits."""
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 a hot path
            return Group(file, codec.load(Kept, opened.read(_BYTES_MAX)))
    except (OSError, Invalid):
        return None


def memory_kills(directory: str, *, is_unified: bool) -> tuple[int, bool]:
    """Return how many processes of a group the kernel killed for memory, and whether it had come to its limit."""
    if is_unified:
        events = _counts(f"{directory}/memory.events")
        return events.get("oom_kill", 0), bool(events.get("oom"))
    killed = _counts(f"{directory}/memory.oom_control").get("oom_kill", 0)
    most, limit = (_number(f"{directory}/memory.{name}_in_bytes") for name in ("max_usage", "limit"))
    return killed, limit - most <= _LAST_BYTES


def pids_below(directory: str) -> Iterator[int]:
    """Yield the processes in a group and in all below it."""
    for path, _, _ in os.walk(directory):
        yield from (int(line) for line in _read(f"{path}/{PROCESSES}").split() if line.isdigit())


def remove_directory(directory: str) -> None:
    """Remove a group, if nothing is in it."""
    with contextlib.suppress(OSError):
        os.rmdir(directory)  # noqa: PTH106 a hot path


def remove_tree(directory: str) -> bool:
    """Remove a group and all below it; return whether it is gone."""
    for path, _, _ in os.walk(directory, topdown=False):
        remove_directory(path)
    return not os.path.isdir(directory)  # noqa: PTH112


def write(path: str, value: str) -> None:
    """Write to a file of a group.

    Raises:
        OSError: It is not there, or the kernel does not take it.
    """
    # Not to be made where it is missing; and in one call, which is what such files ask for.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _write(path: str, value: str) -> bool:
    try:
        write(path, value)
    except OSError:
        return False
    return True


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace")
    return ""


def _number(path: str) -> int:
    text = _read(path).strip()
    return int(text) if text.isdigit() else 0


def _counts(path: str) -> dict[str, int]:
    pairs = (line.split() for line in _read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
