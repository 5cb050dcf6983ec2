"""What tasks are given of secrets: kept in memory, and nowhere else, for as long as their task is not over.

::

    <directory>/harpoon-<uid>/<task>/values       what variables are made of, for every launch of the task
    <directory>/harpoon-<uid>/<task>/files/<at>    what the task reads, in ``$SECRETS_DIR``

The directory is on a file system in memory (tmpfs), so that a daemon that is started again finds what its tasks had,
and a machine that is started again has nothing of it: then a task cannot be started again here, and is placed anew. No
record on disk and no answer of this agent holds a value.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import orjson
import structlog

from harpoon.kit.errors import Invalid
from harpoon.model.agent import SECRETS_FACT
from harpoon.model.name import TaskId
from harpoon.model.sensitive import Sensitive, format_base64, parse_base64
from harpoon.model.template import Driver, TaskTemplate

#: Where a file system in memory is looked for. What is in ``/run`` is removed by nobody as long as the machine runs.
CANDIDATES: Final = (Path("/run"), Path("/dev/shm"))  # noqa: S108 it is made for this user alone
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_MOUNTS: Final = Path("/proc/self/mounts")
_VALUES: Final = "values"
_FILES: Final = "files"

_log = structlog.get_logger(__name__)


class Vault:
    """Values of secrets, by task."""

    def __init__(self, uid: str, directory: Path | None = None) -> None:
        """Find where to keep them; nothing is made before there is something to keep.

        Args:
            uid: Of the agent: several may be on one host.
            directory: Where an operator has them kept; None: on a file system in memory, if there is one.
        """
        self._parent = _in_memory() if directory is None else directory
        self._root = None if self._parent is None else self._parent / f"harpoon-{uid}"

    @property
    def where(self) -> str:
        """Where they are kept; empty: nowhere."""
        return "" if self._root is None else str(self._root)

    @property
    def facts(self) -> dict[str, str]:
        """What servers are told: whether this agent takes secrets, and where it keeps them."""
        if self._parent is None:
            return {}
        return {SECRETS_FACT: "memory" if _kind_of(self._parent) in _IN_MEMORY else "disk"}

    def keep(
        self,
        task: TaskId,
        template: TaskTemplate,
        values: Mapping[str, Sensitive],
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Keep what a task is given, and lay the files it reads. They are whole when this returns.

        Args:
            task: Whose it is.
            template: What it refers to.
            values: What was delivered, by ``<name>/<key>``.
            owner: Number and group of the user who is to read the files; None: this one, or others by their mode.

        Raises:
            Invalid: It was not given all that it refers to, or there is nowhere to keep it.
            OSError: It cannot be written; nothing is left of it.
        """
        wanted = template.secret_values()
        if not wanted:
            return
        if missing := sorted(wanted.keys() - values.keys()):
            raise Invalid(f"secret {missing[0]} was ordered without its value")
        if self._root is None:
            raise Invalid(
                "this agent has no file system in memory to keep secrets in (/run and /dev/shm are none that it may "
                "write to); start it with --secrets-dir DIR"
            )
        place = self._place(task)
        try:
            _make_own(self._root)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
            files = place / _FILES
            files.mkdir(mode=0o700)
            is_container = template.driver is Driver.DOCKER
            if is_container:
                # It sees this directory alone, and as whom, its image may say; nobody else comes past the one above.
                files.chmod(0o755)
            for file in template.secrets:
                _write(files / file.at, values[file.secret].reveal(), file.mode)
                if owner is not None:
                    os.chown(files / file.at, *owner)
            kept = {one.secret: format_base64(values[one.secret]) for one in template.secret_variables().values()}
            _write(place / _VALUES, orjson.dumps(kept), 0o600)
            if owner is not None and not is_container:
                os.chown(files, *owner)
                # What variables are made of stays the agent's: who has the directory could put something else there.
                place.chmod(0o711)
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def variables(self, task: TaskId, template: TaskTemplate) -> dict[str, str]:
        """Return a task's variables that are values of secrets.

        Raises:
            Invalid: They are not kept any more.
        """
        wanted = template.secret_variables()
        if not (wanted or template.secrets):
            return {}
        try:
            kept = orjson.loads((self._place(task) / _VALUES).read_bytes())
            return {name: parse_base64(kept[one.secret]).reveal().decode() for name, one in wanted.items()}
        except (OSError, ValueError, KeyError, TypeError):
            # From None: what was read is in what the error refers to.
            raise Invalid("its secrets are not in memory any more, as after a restart of the machine") from None

    def files(self, task: TaskId) -> Path:
        """Return the directory of the files that a task reads."""
        return self._place(task) / _FILES

    def drop(self, task: TaskId) -> None:
        """Keep nothing more of a task; after the last one nothing is left."""
        if self._root is not None:
            shutil.rmtree(self._place(task), ignore_errors=True)
            with contextlib.suppress(OSError):
                self._root.rmdir()

    def sweep(self, living: Collection[TaskId]) -> None:
        """Keep only what these tasks were given; what an earlier daemon left of others goes."""
        if self._root is None or not self._root.is_dir():
            return
        try:
            _make_own(self._root)
            for path in self._root.iterdir():
                if path.name not in living:
                    shutil.rmtree(path, ignore_errors=True)
        except OSError as error:
            _log.warning("secrets_not_swept", reason=str(error))

    def tell(self) -> None:
        """Log where they are kept."""
        kind = None if self._parent is None else _kind_of(self._parent)
        if self._root is None:
            _log.warning("secrets_not_kept", reason="there is no file system in memory; give --secrets-dir")
        elif kind not in _IN_MEMORY:
            _log.warning("secrets_on_disk", directory=self.where, file_system=kind)
        else:
            _log.info("secrets_kept", directory=self.where, file_system=kind)

    def _place(self, task: TaskId) -> Path:
        assert self._root is not None, "what is nowhere was never kept"
        return self._root / task


def _write(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)


def _make_own(directory: Path) -> None:
    """Make a directory that only this user lists and writes, where others may have put something of that name.

    Others may pass through it: to what is theirs in it, if anything is.

    Raises:
        OSError: It is there, and is not such a one.
    """
    try:
        directory.mkdir(mode=0o700)
        directory.chmod(0o711)
    except FileExistsError:
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o066:
            raise PermissionError(errno.EPERM, f"{directory} is not this agent's alone; remove it") from None


def _in_memory() -> Path | None:
    return next(
        (path for path in CANDIDATES if os.access(path, os.W_OK | os.X_OK) and _kind_of(path) in _IN_MEMORY), None
    )


def _kind_of(path: Path) -> str | None:
    """Return the kind of file system that a directory is on, if the host tells."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    real, best = path.resolve(), (-1, "")
    for line in lines:
        parts = line.split(" ")
        if len(parts) > 2 and real.is_relative_to(parts[1]) and len(parts[1]) >= best[0]:
            # Of several mounted on one place, the last one is seen.
            best = (len(parts[1]), parts[2])
    return best[1] or None
