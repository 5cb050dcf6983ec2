"""The control groups of one agent: makes one for each launch, and clears away those that belong to nothing."""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

import structlog

from harpoon.agent import processes
from harpoon.agent.drivers import cgroup, hierarchies, limits
from harpoon.agent.drivers.cgroup import FREEZER, UNIFIED, Group, Kept
from harpoon.agent.drivers.handle import Launch
from harpoon.agent.drivers.hierarchies import Found, Hierarchy
from harpoon.agent.home import Home, write_durably
from harpoon.model.template import Resources

#: Comes before a task's id, so that no group is called as the kernel's own files are.
_PREFIX: Final = "task-"
#: What was killed takes a moment to be gone.
_WAITS_S: Final = (0.0, 0.005, 0.02, 0.1, 0.3)

_log = structlog.get_logger(__name__)


class Groups:
    """Makes groups where they were found possible, or none."""

    def __init__(self, found: Found, file: Path) -> None:
        """Make one; `open_groups` finds out what is possible.

        Args:
            found: Where groups may be made.
            file: Tells a later daemon where they were, which may find others.
        """
        self._found = found
        self._file = file
        self._former = [path for path in _lines(file) if path not in self._own]
        #: Those that can hold a task's group, most wanted first.
        self._by_controller = {controller: one for one in reversed(found.hierarchies) for controller in one.controllers}
        if unified := next((one for one in found.hierarchies if one.is_unified), None):
            self._by_controller[UNIFIED] = unified

    @property
    def _own(self) -> list[str]:
        return [one.directory for one in self._found.hierarchies]

    def make(self, launch: Launch) -> Group:
        """Make the group of a launch, with its limits set; it may be one without any directory.

        Raises:
            OSError: It cannot be made; there is none.
        """
        chosen = self._chosen(launch.resources)
        name = group_name(launch.shim_file)
        group = Group(
            cgroup.group_file(launch.shim_file),
            Kept(
                directories={controller: f"{one.directory}/{name}" for controller, one in chosen.items()},
                memory=launch.resources.memory if "memory" in chosen else 0,
                limits=limits.told(launch.resources, self._found.missing),
            ),
        )
        try:
            for directory in group.directories:
                os.makedirs(directory, exist_ok=True)  # noqa: PTH103 a hot path
            self._set(group, launch.resources)
            if group.directories or group.kept.limits:
                group.save()
        except OSError:
            group.remove()
            raise
        return group

    def data_limit(self, resources: Resources) -> int | None:
        """Return how many bytes of data each process of such a task may map; None: as many as it likes."""
        return limits.data_limit(resources, self._found.missing)

    def clear_strays(self, known: Collection[str]) -> None:
        """Kill what is in this agent's groups, and remove them, but for those of these launches (shim files).

        It blocks, and not for long.

        Raises:
            OSError: The disk cannot take where the groups are now.
        """
        kept = {group_name(file) for file in known}
        # Written first: what is not cleared now, the next daemon finds.
        write_durably(self._file, "".join(f"{path}\n" for path in (*self._own, *self._former)).encode())
        parents = (*self._own, *self._former)
        strays = [f"{parent}/{name}" for parent in parents for name in _children(parent) if name not in kept]
        if strays:
            _log.info("groups_cleared", groups=len(strays), left=_clear(strays))
        for parent in self._former:
            cgroup.remove_directory(parent)

    def close(self) -> None:
        """Remove what is empty of the agent's groups; those of tasks that run on stay."""
        for directory in self._own:
            cgroup.remove_directory(directory)

    def _chosen(self, resources: Resources) -> dict[str, Hierarchy]:
        """Return the hierarchies that a task needs to be in: for its limits, and to be killed whole."""
        wanted = (*limits.needed(resources), UNIFIED if UNIFIED in self._by_controller else FREEZER)
        return {
            controller: self._by_controller[controller] for controller in wanted if controller in self._by_controller
        }

    def _set(self, group: Group, resources: Resources) -> None:
        directories = group.kept.directories
        unified = {name: path == directories.get(UNIFIED) for name, path in directories.items()}
        for setting in limits.settings(resources, unified):
            path = f"{directories[setting.controller]}/{setting.file}"
            try:
                cgroup.write(path, setting.value)
            except OSError as error:
                if not setting.is_optional:
                    raise OSError(error.errno, f"{path} was not set to {setting.value}: {error.strerror}") from error


def open_groups(uid: str, file: Path) -> Groups:
    """Find out where the agent of this uid may make groups. It blocks, and may move the agent into a group."""
    found = hierarchies.find(f"harpoon-{uid}", is_root=os.geteuid() == 0)
    where = [f"{one.directory} ({', '.join(one.controllers) or 'no controllers'})" for one in found.hierarchies]
    _log.info("groups_found", groups=where, missing=found.missing)
    return Groups(found, file)


def clear_groups(state_dir: Path) -> None:
    """Kill all that runs in the groups of an agent that has ended, and remove them. It blocks."""
    parents = _lines(Home(path=state_dir, uid="").groups)
    _clear([f"{parent}/{name}" for parent in parents for name in _children(parent)])
    for parent in parents:
        cgroup.remove_directory(parent)


def group_name(shim_file: str) -> str:
    """Return what the group of a launch is called."""
    path = Path(shim_file)
    return f"{_PREFIX}{path.parent.name}{path.suffix}"


def _clear(directories: list[str]) -> list[str]:
    """Kill what is in these groups, and remove them; return those that are not gone in time."""
    for wait in _WAITS_S:
        time.sleep(wait)
        directories = [one for one in directories if not cgroup.remove_tree(one)]
        if not directories:
            break
        processes.kill([pid for one in directories for pid in cgroup.pids_below(one)])
    return directories


def _children(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.name.startswith(_PREFIX) and entry.is_dir()]
    except OSError:
        return []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
