"""What a task's volumes are on this host: paths that its operator allows, and scratch space.

Scratch space below the task's own directory is just a directory there. All else is mounted where the task is to find
it; how, is for who runs it to know (`agent.mounts` for processes).
"""

import contextlib
import os
from dataclasses import dataclass

from harpoon.agent.paths import Allowed, find, find_own
from harpoon.agent.record import Place
from harpoon.model.template import TaskTemplate
from harpoon.model.volumes import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """What is to be found where by one task."""

    #: Absolute; or, without a leading ``/``, below the task's own directory.
    at: str
    #: On the host, without links.
    source: str
    is_directory: bool
    is_read_only: bool
    #: ``<device>:<number>`` of the source as it was judged.
    identity: str


def resolve_volumes(template: TaskTemplate, allowed: Allowed, scratch: str) -> tuple[Mount, ...]:
    """Return what is to be mounted for a task; what it is to have of its own is made. It blocks.

    To be asked before each start: what a path leads to may have changed.

    Args:
        template: What the task is.
        allowed: What tasks may have of this host.
        scratch: Directory of the task's scratch spaces, each named for its index among the volumes.

    Raises:
        Invalid: The task may not have one, or there is no such thing; the message says which, and why.
        OSError: What is its own cannot be made.
    """
    mounts = []
    for index, volume in enumerate(template.volumes):
        if volume.host is not None:
            found = find(volume.host, allowed, is_written=not volume.read_only)
        elif volume.is_mounted:
            path = f"{scratch}/{index}"
            for directory in (scratch, path):
                # Nobody else comes to it by way of the host, wherever a task's user is let through.
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700)  # noqa: PTH102 paths are text here
            found = find_own(path)
        else:
            continue
        mounts.append(
            Mount(
                at=volume.at,
                source=found.path,
                is_directory=found.is_directory,
                is_read_only=volume.read_only,
                identity=found.identity,
            )
        )
    return tuple(mounts)


def scratch_spaces(template: TaskTemplate, place: Place) -> tuple[tuple[int, Volume, str], ...]:
    """Return a task's scratch spaces: index among its volumes, volume, and where on the host it is."""
    return tuple(
        (index, volume, f"{place.volumes}/{index}" if volume.is_mounted else f"{place.scratch}/{volume.at}")
        for index, volume in enumerate(template.volumes)
        if volume.scratch is not None
    )


def kept_places(template: TaskTemplate, scratch: str) -> tuple[str, ...]:
    """Return where a task finds what the agent, outside of its mounts, does not."""
    return tuple(
        volume.at if volume.at.startswith("/") else f"{scratch}/{volume.at}"
        for volume in template.volumes
        if volume.is_mounted
    )
