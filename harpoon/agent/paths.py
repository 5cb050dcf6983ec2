"""Which of the host's paths tasks may have: those that its operator allows, and never those that would give it away.

A path is judged by what it leads to once all links are followed, and so is what is allowed. What is then opened, or
mounted, is the very file that was judged: it is opened without following any link, and known by device and number, so
that a link put in its way meanwhile changes nothing but the answer.
"""

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harpoon.kit.errors import Invalid
from harpoon.model.volumes import HostPath, is_within

#: Whoever has one of these has the host, read-only or not.
_SOCKETS: Final = (
    *("/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock"),
    *("/run/podman/podman.sock", "/run/crio/crio.sock", "/run/containerd.sock"),
)
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What an agent's operator lets tasks have of the host."""

    paths: tuple[HostPath, ...] = ()
    #: The agent's own state, which no task is given.
    own: str = ""
    #: Nor is the socket of the engine that it asks itself.
    engine: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file or directory of the host that a task may have."""

    #: Without links.
    path: str
    is_directory: bool
    #: ``<device>:<number>``, by which it is known again.
    identity: str


def find(path: str, allowed: Allowed, *, is_written: bool) -> Found:
    """Return what a path leads to, if a task may have it. It blocks.

    Raises:
        Invalid: It may not, or there is no such thing; the message says which, and why.
    """
    descriptor, real = _open(path, allowed, _LOOK, is_written=is_written)
    return _found(path, real, descriptor)


def find_own(path: str) -> Found:
    """Return what an absolute path of the agent's own leads to. It blocks.

    Raises:
        Invalid: It is neither a directory nor a plain file.
        OSError: It is not there.
    """
    real = os.path.realpath(path, strict=True)
    return _found(path, real, open_plainly(real, _LOOK))


def _found(path: str, real: str, descriptor: int) -> Found:
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise Invalid(f"host path {path} is neither a directory nor a plain file")
    return Found(path=real, is_directory=stat.S_ISDIR(found.st_mode), identity=f"{found.st_dev}:{found.st_ino}")


def open_file(path: str, allowed: Allowed) -> int:
    """Open a plain file of the host for reading, if a task may have it. It blocks.

    Raises:
        Invalid: It may not, or there is no such thing; the message says which, and why.
    """
    # Not to wait for who writes to a FIFO.
    descriptor, _ = _open(path, allowed, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, is_written=False)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Invalid(f"host path {path} is not a plain file")
    return descriptor


def _open(path: str, allowed: Allowed, flags: int, *, is_written: bool) -> tuple[int, str]:
    try:
        real = os.path.realpath(path, strict=True)
        _judge(path, real, allowed, is_written=is_written)
        return open_plainly(real, flags), real
    except OSError as error:
        raise Invalid(f"host path {path}: {(error.strerror or str(error)).lower()}") from error


def open_plainly(path: str, flags: int) -> int:
    """Open an absolute path that has no links in it.

    Raises:
        OSError: It cannot be opened, or has links.
    """
    *parents, name = path.split("/")[1:]
    at = os.open("/", _LOOK | os.O_DIRECTORY)
    try:
        for part in parents:
            below = os.open(part, _LOOK | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        return os.open(name or ".", flags, dir_fd=at)
    finally:
        os.close(at)


def _judge(path: str, real: str, allowed: Allowed, *, is_written: bool) -> None:
    """See whether a task may have what a path leads to.

    Raises:
        Invalid: It may not.
    """
    where = path if real == path else f"{path} leads to {real}, which"
    may_write = _allowance(allowed.paths, real)
    if may_write is None:
        raise Invalid(f"host path {where} is not allowed here; the agent's operator says so with --allow-host-path")
    if is_written and not may_write:
        raise Invalid(f"host path {where} is allowed for reading only; set read_only: true")
    own = os.path.realpath(allowed.own)
    if is_within(own, real) or is_within(real, own):
        raise Invalid(f"host path {where} is the agent's own state, or holds it, and no task is given that")
    for socket in (*_SOCKETS, *((allowed.engine,) if allowed.engine is not None else ())):
        if is_within(os.path.realpath(socket), real):
            raise Invalid(f"host path {where} is or holds {socket}, and whoever has that has the host")


def make_within(base: str, path: str, *, is_directory: bool = True) -> str:
    """Make a directory, or an empty file, below one of the agent's own where a task may write. It blocks.

    Returns:
        Where it is: no part of the way below ``base`` is a link.

    Raises:
        OSError: It cannot be made, or there is something else in the way.
    """
    *parents, name = path.split("/")
    at = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in (*parents, *([name] if is_directory else ())):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=at)
            below = os.open(part, _LOOK | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        if not is_directory:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=at))
    finally:
        os.close(at)
    return f"{base}/{path}"


def _allowance(paths: Sequence[HostPath], real: str) -> bool | None:
    """Return whether a path without links may be written; None: it may not be had at all."""
    found = [one.read_only for one in paths if is_within(real, os.path.realpath(one.path))]
    return None if not found else not all(found)
