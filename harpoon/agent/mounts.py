"""Putting volumes where a process is to find them: in a mount namespace of the task's own.

The task's command is wrapped: `unshare` makes the namespace, a shell mounts everything in it and becomes the command.
All of that is one process, the task's, so its number, its parent and how it ends are as they would be without. What the
host mounts or unmounts later shows in the task as well, but nothing that is mounted in the task shows on the host; and
when the last process of the task is gone, so is all of it.

A mount is bound first, and then compared with what was judged (`agent.paths`), since what a path leads to may have been
changed meanwhile. What is mounted below a volume on the host is not in the task's: a read-only mount could not keep it
from being written to. Set-user-id programs and device files do not work in volumes.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from harpoon.agent.paths import make_within
from harpoon.agent.volumes import Mount
from harpoon.kit.errors import Invalid

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELL: Final = "/bin/sh"
_NAME: Final = "harpoon-volumes"
_TRY_S: Final = 10.0
_FAILED: Final = 126


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The programs that it takes, by their files."""

    unshare: str
    nsenter: str
    mount: str
    stat: str


def find_tools() -> Tools | None:
    """Return what volumes are mounted with, once it was seen to work here; None: they cannot be. It blocks."""
    found = {name: shutil.which(name, path=_PATH) for name in ("unshare", "nsenter", "mount", "stat")}
    if not all(found.values()):
        return None
    tools = Tools(**{name: str(path) for name, path in found.items()})
    arguments = (*_unshare(tools), _SHELL, "-c", '"$1" --bind / / && "$1" -o remount,bind,ro /', _NAME, tools.mount)
    try:
        done = subprocess.run(arguments, check=False, capture_output=True, timeout=_TRY_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tools if done.returncode == 0 else None


def make_points(mounts: Sequence[Mount], home: str) -> tuple[Mount, ...]:
    """Return these mounts with absolute places, and see that there is something to mount them on. It blocks.

    Raises:
        Invalid: Nothing can be mounted at a place.
    """
    return tuple(replace(one, at=_point(one, home)) for one in mounts)


def wrap(
    arguments: Sequence[str], mounts: Sequence[Mount], tools: Tools, *, directory: str, told: str
) -> tuple[str, ...]:
    """Return what runs a command with these mounts in place.

    Args:
        arguments: The command.
        mounts: What is to be where; of `make_points`.
        tools: What it is mounted with.
        directory: Where the command starts, as the task finds it.
        told: File that takes what went wrong, in lines.
    """
    lines = []
    for one in mounts:
        at = shlex.quote(one.at)
        changed = f"volume {one.at}: what its host path leads to was changed while it was mounted"
        options = "remount,bind,nosuid,nodev" + (",ro" if one.is_read_only else "")
        lines += [
            f"{tools.mount} --bind -- {shlex.quote(one.source)} {at} 2>>{shlex.quote(told)} || exit {_FAILED}",
            f'[ "$({tools.stat} -L -c %d:%i -- {at})" = {one.identity} ] ||',
            f"  {{ echo {shlex.quote(changed)} >>{shlex.quote(told)}; exit {_FAILED}; }}",
            f"{tools.mount} -o {options} -- {at} 2>>{shlex.quote(told)} || exit {_FAILED}",
        ]
    lines += [
        f"cd -- {shlex.quote(directory)} 2>>{shlex.quote(told)} || exit {_FAILED}",
        "unset PWD OLDPWD",
        'exec "$@"',
    ]
    return (*_unshare(tools), _SHELL, "-c", "\n".join(lines), _NAME, *arguments)


def enter(arguments: Sequence[str], pid: int, tools: Tools, *, directory: str) -> tuple[str, ...]:
    """Return what runs a command where a task's process finds its volumes."""
    script = f'cd -- {shlex.quote(directory)} || exit {_FAILED}; unset PWD OLDPWD; exec "$@"'
    return (tools.nsenter, f"--mount=/proc/{pid}/ns/mnt", "--", _SHELL, "-c", script, _NAME, *arguments)


def _unshare(tools: Tools) -> tuple[str, ...]:
    return (tools.unshare, "--mount", "--propagation", "slave", "--")


def _point(mount: Mount, home: str) -> str:
    """Return where a volume is to be mounted, and see that there is something to mount it on.

    Raises:
        Invalid: Nothing can be mounted there.
    """
    try:
        if not mount.at.startswith("/"):
            return make_within(os.path.realpath(home), mount.at, is_directory=mount.is_directory)
        at = os.path.realpath(mount.at)
        if mount.is_directory:
            os.makedirs(at, 0o755, exist_ok=True)  # noqa: PTH103 paths are text here
        elif not os.path.exists(at):  # noqa: PTH110
            os.makedirs(os.path.dirname(at), 0o755, exist_ok=True)  # noqa: PTH103, PTH120
            os.close(os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        elif os.path.isdir(at):  # noqa: PTH112
            raise Invalid(f"volume {mount.at}: it is a file, and there is a directory on this host")
    except OSError as error:
        raise Invalid(f"volume {mount.at} cannot be put there: {(error.strerror or str(error)).lower()}") from error
    return at
