"""The disk of a simulated host: real files, that can be full, and that a crash of the machine takes to an earlier state.

What is written durably stays. Records of tasks are not, so the latest of them may be lost (`harpoon.agent.record`).
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

from harpoon.agent import home
from harpoon.agent.record import Place, Record
from harpoon.kit import codec

#: What was written so long ago is on disk; the kernel waits no longer.
SETTLED_S = 30.0
#: Versions of a record that are remembered; all the latest but a handful are older than that anyway.
_VERSIONS_MAX = 16

_disks: dict[str, "Disk"] = {}


class Disk:
    """The disk under an agent's state directory."""

    def __init__(self, directory: Path, now: Callable[[], float]) -> None:
        self.directory = directory
        self.is_full = False
        self._now = now
        #: Task's directory → when, and what its record came to be; None: there was none any more.
        self._written: dict[str, list[tuple[float, Record | None]]] = {}
        _disks[f"{directory}/"] = self

    def check(self) -> None:
        """Refuse to take anything while it is full."""
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def note(self, place: str, record: Record | None) -> None:
        """Take note of what became of a record."""
        versions = self._written.setdefault(place, [])
        versions.append((self._now(), record))
        del versions[:-_VERSIONS_MAX]

    def lose(self, rng: Random) -> None:
        """Take each task's record back to one of those it had lately."""
        settled = self._now() - SETTLED_S
        for place, versions in self._written.items():
            late = [record for at, record in versions if at > settled]
            before = [record for at, record in versions if at <= settled]
            if late:
                _restore(Path(place), rng.choice([before[-1] if before else None, *late]))
        self._written.clear()

    def wipe(self) -> None:
        """Empty it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._written.clear()


def install(identities: Random, patch: Callable[[object, str, object], None] = setattr) -> None:
    """Put these disks under all agents of this process, for good, and have identities drawn from ``identities``."""
    write_durably, write, drop = home.write_durably, Place._write, Place.drop

    def checked_write_durably(path: Path, data: bytes) -> None:
        if (disk := disk_of(str(path))) is not None:
            disk.check()
        write_durably(path, data)

    def checked_write(place: Place, name: str, record: Record) -> None:
        disk = disk_of(place.path)
        if disk is not None:
            disk.check()
        write(place, name, record)
        if disk is not None:
            disk.note(place.path, record)

    def noted_drop(place: Place, trash: Path) -> str:
        dropped = drop(place, trash)
        if (disk := disk_of(place.path)) is not None:
            disk.note(place.path, None)
        return dropped

    patch(home, "write_durably", checked_write_durably)
    # One daemon a host is for the simulation to see to: those it kills do not close their files.
    patch(home, "_lock", lambda _descriptor, _path: None)
    patch(Place, "_write", checked_write)
    patch(Place, "drop", noted_drop)
    patch(uuid, "uuid4", lambda: uuid.UUID(int=identities.getrandbits(128), version=4))


def disk_of(path: str) -> Disk | None:
    """Return the disk that a path is on, if it is a simulated one."""
    return next((disk for directory, disk in _disks.items() if path.startswith(directory)), None)


def _restore(place: Path, record: Record | None) -> None:
    if record is None:
        shutil.rmtree(place, ignore_errors=True)
        return
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
        (place / "scratch").mkdir(mode=0o700)
    (place / "task.json").write_bytes(codec.dump(record))
