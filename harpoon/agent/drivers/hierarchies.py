"""Where on this host an agent may make control groups: found out at its start by trying, not by what should be so.

*Unified (v2)*: below the agent's own group. That must hold no process itself once its controllers are given to groups
below, so the agent moves into a leaf first (``harpoon-agent``). It leaves a group alone that holds others' processes,
for they would have to be moved as well; and one of a systemd service, since systemd could not start a service again
whose group is not a leaf (``DelegateSubgroup=harpoon-agent`` has it start the agent in the leaf). Root has a second
choice then: the top of the hierarchy.

*Older ones (v1)*: below the agent's own group in each, for the controllers that the unified one does not have.

In each there is one group of the agent, ``harpoon-<uid>``, and in that one for each launch. The agent's has a share of
the processors as large as the host, so that it is between tasks that their shares decide.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from harpoon.agent.drivers.cgroup import FREEZER, PROCESSES, UNIFIED, remove_tree, write
from harpoon.agent.drivers.handle import SHELL
from harpoon.agent.drivers.limits import WANTED, share

#: Where the agent is in a unified hierarchy that it makes groups in.
LEAF: Final = "harpoon-agent"
_OLD: Final = (*WANTED, FREEZER)
#: A process that joins a group takes milliseconds; the kernel may be busy.
_TRY_S: Final = 10.0
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A hierarchy as it is mounted here."""

    #: The group that is seen at the top of the mount.
    root: str
    point: str
    is_unified: bool
    #: Of an older one.
    controllers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """A group of the agent, in which its tasks' groups are made."""

    directory: str
    is_unified: bool
    controllers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an agent may make groups in."""

    hierarchies: tuple[Hierarchy, ...]
    #: Controller → why there is none.
    missing: dict[str, str]


def find(name: str, proc: str = "/proc/self", *, is_root: bool) -> Found:
    """Find all hierarchies that groups can be made in, make one of this name in each, and try it. It blocks.

    Args:
        name: Of the agent's group.
        proc: What the kernel tells of the agent.
        is_root: Whether the agent may do everything.
    """
    mounts, own = list(mounts_of(proc)), dict(groups_of(proc))
    made: list[Hierarchy] = []
    reasons: dict[str, str] = {}
    for mount in sorted(mounts, key=lambda mount: not mount.is_unified):
        had = {controller for hierarchy in made for controller in hierarchy.controllers}
        useful = [one for one in mount.controllers if one in _OLD and one not in had]
        if not mount.is_unified and not useful:
            continue
        try:
            made.append(
                _make_unified(mount, own, name, is_root=is_root) if mount.is_unified else _make_old(mount, own, name)
            )
        except OSError as error:
            why = f"{error.filename or mount.point}: {str(error.strerror).lower()}"
            reasons |= dict.fromkeys((*WANTED, UNIFIED) if mount.is_unified else useful, why)
    had = {controller for hierarchy in made for controller in hierarchy.controllers}
    missing = {one: _why(one, mounts, reasons) for one in WANTED if one not in had}
    return Found(hierarchies=tuple(made), missing=missing)


def mounts_of(proc: str) -> Iterator[Mount]:
    """Yield the hierarchies that are mounted, as ``mountinfo`` tells them."""
    for line in _lines(f"{proc}/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) >= 5 and len(kinds) >= 3 and kinds[0] in ("cgroup", "cgroup2"):
            options = tuple(kinds[2].split(","))
            yield Mount(_plain(fields[3]), _plain(fields[4]), kinds[0] == "cgroup2", options)


def groups_of(proc: str) -> Iterator[tuple[str, str]]:
    """Yield controller → the group that the agent is in; of the unified hierarchy as `UNIFIED`."""
    for line in _lines(f"{proc}/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(",") if controllers else [UNIFIED] * (number == "0"):
            yield controller, path


def own_directory(mount: Mount, path: str) -> str:
    """Return where the group of this path is below a mount; for what cannot be seen there, its top."""
    root = mount.root.rstrip("/")
    if not path.startswith(f"{root}/") or ".." in path.split("/"):
        return mount.point
    directory = f"{mount.point}/{path.removeprefix(f'{root}/')}".rstrip("/")
    return directory if os.path.isdir(directory) else mount.point  # noqa: PTH112 paths are text here


def _make_old(mount: Mount, own: dict[str, str], name: str) -> Hierarchy:
    controllers = tuple(one for one in mount.controllers if one in _OLD)
    directory = f"{own_directory(mount, own.get(controllers[0], '/'))}/{name}"
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103
    return _tried(Hierarchy(directory=directory, is_unified=False, controllers=controllers))


def _make_unified(mount: Mount, own: dict[str, str], name: str, *, is_root: bool) -> Hierarchy:
    directory = own_directory(mount, own.get(UNIFIED, "/"))
    if directory.endswith(f"/{LEAF}"):
        directory = os.path.dirname(directory)  # noqa: PTH120
    given: tuple[str, ...] = ()
    if _is_top(directory) or _move_into_leaf(directory):
        given = _give(directory)
    if not given and is_root and _is_top(mount.point):
        directory, given = mount.point, _give(mount.point)
    directory = f"{directory}/{name}"
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103
    return _tried(Hierarchy(directory=directory, is_unified=True, controllers=_give(directory, given)))


def _is_top(directory: str) -> bool:
    """Whether it is the top of the whole hierarchy, which may hold processes and have controllers as well."""
    return not os.path.exists(f"{directory}/cgroup.type")  # noqa: PTH110


def _move_into_leaf(directory: str) -> bool:
    """Move the agent out of its group, if it is alone in it or out of it already; return whether it is empty now."""
    if directory.endswith(".service"):
        return not _words(f"{directory}/{PROCESSES}")
    try:
        if set(_words(f"{directory}/{PROCESSES}")) - {str(os.getpid())}:
            return False
        os.makedirs(f"{directory}/{LEAF}", exist_ok=True)  # noqa: PTH103
        write(f"{directory}/{LEAF}/{PROCESSES}", str(os.getpid()))
    except OSError:
        return False
    return True


def _give(directory: str, among: tuple[str, ...] = WANTED) -> tuple[str, ...]:
    """Give a group's controllers to the groups below it; return those that they have now."""
    there = [one for one in among if one in _words(f"{directory}/cgroup.controllers")]
    for controller in there:
        if controller not in _words(f"{directory}/cgroup.subtree_control"):
            try:
                write(f"{directory}/cgroup.subtree_control", f"+{controller}")
            except OSError:
                continue
    given = _words(f"{directory}/cgroup.subtree_control")
    return tuple(one for one in there if one in given)


def _tried(hierarchy: Hierarchy) -> Hierarchy:
    """Return it if a process can join a group there.

    Raises:
        OSError: It cannot.
    """
    trial = f"{hierarchy.directory}/trial"
    os.makedirs(trial, exist_ok=True)  # noqa: PTH103
    try:
        if "cpu" in hierarchy.controllers:
            setting = share(1000 * (os.cpu_count() or 1), is_unified=hierarchy.is_unified)
            write(f"{hierarchy.directory}/{setting.file}", setting.value)
        order = ('echo 0 > "$1"', "harpoon-trial", f"{trial}/{PROCESSES}")
        ended = subprocess.run((SHELL, "-c", *order), capture_output=True, timeout=_TRY_S, check=False)
        if ended.returncode:
            raise OSError(0, "a process cannot join a group there", hierarchy.directory)
    except subprocess.TimeoutExpired:
        raise OSError(0, "a process that joins a group there hangs", hierarchy.directory) from None
    finally:
        remove_tree(trial)
    return hierarchy


def _why(controller: str, mounts: list[Mount], reasons: dict[str, str]) -> str:
    if controller in reasons:
        return f"no control group: {reasons[controller]}"
    if any(mount.is_unified for mount in mounts):
        return f"no control group: the agent's own is not given {controller}"
    return f"no control group: {controller} is not mounted"


def _plain(path: str) -> str:
    """Undo how blanks and the like are told in ``mountinfo``."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)


def _words(path: str) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
