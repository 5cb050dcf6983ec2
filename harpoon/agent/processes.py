"""What the kernel says about processes: which are there, when they started, which belong together.

A number alone identifies no process, since numbers are used again. A number, the start time and the boot do.
"""

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

_PROC = "/proc"


class Stat(NamedTuple):
    """The line of ``/proc/<pid>/stat``, as far as it matters here."""

    pid: int
    #: ``Z``: ended, and not yet collected by its parent.
    state: str
    parent: int
    group: int
    session: int
    #: Clock ticks since boot.
    started: int


def boot_id() -> str:
    """Return what tells one boot of this machine from another."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def parse_stat(line: str) -> Stat | None:
    """Read such a line; None when it is not one."""
    # The name may hold anything, blanks and brackets too; what follows its last bracket does not.
    before, _, rest = line.rpartition(")")
    fields = rest.split()
    try:
        return Stat(int(before.split()[0]), fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))
    except (IndexError, ValueError):
        return None


def stat_of(pid: int) -> Stat | None:
    """Return what a process is; None when there is none of that number."""
    try:
        with open(f"{_PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 a hot path
            return parse_stat(file.read())
    except OSError:
        return None


def is_there(known: Stat) -> bool:
    """Whether a process runs (is not just uncollected) that is the very one ``known`` was read of."""
    stat = stat_of(known.pid)
    return stat is not None and stat.started == known.started and stat.state not in "ZX"


def arguments_of(pid: int) -> list[str]:
    """Return the arguments a process was started with; none when there is no such process."""
    try:
        return Path(f"{_PROC}/{pid}/cmdline").read_bytes().decode(errors="surrogateescape").split("\x00")
    except OSError:
        return []


def has_variable(pid: int, name: str, value: str) -> bool:
    """Whether a process was started with this variable in its environment."""
    return value in variables_of(pid, name)


def variables_of(pid: int, name: str) -> list[str]:
    """Return what a process was started with as this variable: one value, as a rule, or none."""
    start = f"{name}=".encode()
    try:
        lines = Path(f"{_PROC}/{pid}/environ").read_bytes().split(b"\x00")
    except OSError:
        return []
    return [line.removeprefix(start).decode(errors="surrogateescape") for line in lines if line.startswith(start)]


def pids() -> list[int]:
    """Return the numbers of all processes."""
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 a hot path


def signal_group(group: int, number: int) -> None:
    """Signal a process group, if it is there."""
    # Numbers below 2 mean other things to the kernel than a group of ours.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group > 1:
            os.killpg(group, number)


def is_running(pid: int) -> bool:
    """Whether a process runs, and is not just uncollected."""
    stat = stat_of(pid)
    return stat is not None and stat.state not in "ZX"


def kill(targets: Collection[int]) -> None:
    """Kill processes, as far as they are there."""
    for pid in targets:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def reap_orphans(own: Collection[int]) -> None:
    """Collect ended children of this process that it did not start: as process 1 of a container it inherits them."""
    with contextlib.suppress(OSError, ValueError):
        text = Path(f"{_PROC}/self/task/{os.getpid()}/children").read_text(encoding="ascii")
        for pid in map(int, text.split()):
            if pid not in own:
                os.waitpid(pid, os.WNOHANG)
