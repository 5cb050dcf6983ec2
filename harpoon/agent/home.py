"""The state directory of an agent: whose it is, and that only one daemon uses it.

::

    lock              held (flock) as long as the daemon lives
    uid               of the agent, made with the directory
    mark.json         the highest token, and what is denied by virtue of it (`agent.fence`)
    groups            where the control groups of its tasks are (`drivers.groups`)
    tasks/<task>/     record, logs and scratch directory of each task (`agent.record`)
    trash/            of tasks forgotten, until it is removed
    artifacts/        what was fetched for tasks, by digest (`agent.artifacts.cache`)

The lock does more than keep two daemons apart. A child that the daemon was just spawning when it was killed holds
the lock too, until it runs its program; so whoever has the lock knows that no such child is left.
"""

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harpoon.kit.errors import Conflict

#: How long a killed daemon's last child, or a daemon that is just ending, may still hold the lock.
LOCK_WAIT_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """An agent's state directory, locked."""

    path: Path
    uid: str

    @property
    def tasks(self) -> Path:
        """Where each task has its directory."""
        return self.path / "tasks"

    @property
    def trash(self) -> Path:
        """Where directories wait to be removed."""
        return self.path / "trash"

    @property
    def artifacts(self) -> Path:
        """Where fetched files are kept."""
        return self.path / "artifacts"

    @property
    def mark(self) -> Path:
        """The file of the highest token."""
        return self.path / "mark.json"

    @property
    def groups(self) -> Path:
        """The file that tells where control groups are."""
        return self.path / "groups"


@contextlib.contextmanager
def open_home(path: Path) -> Iterator[Home]:
    """Make the state directory if need be, lock it, and give it back when done. It blocks.

    Raises:
        Conflict: Another daemon uses it.
        OSError: It cannot be made, read or written.
    """
    path = path.absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path)
        home = Home(path=path, uid=_uid(path / "uid"))
        home.tasks.mkdir(mode=0o700, exist_ok=True)
        home.trash.mkdir(mode=0o700, exist_ok=True)
        yield home
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file so that, once this returns, it is the new one whatever happens. It blocks.

    Raises:
        OSError: Nothing is known to have changed; there is either the old file or the new one, whole.
    """
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict(f"another agent uses the state directory {path}; give this one its own") from None
            time.sleep(0.02)
        else:
            return


def _uid(path: Path) -> str:
    try:
        uid = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        uid = ""
    if not uid:
        uid = str(uuid.uuid4())
        write_durably(path, uid.encode())
    return uid
