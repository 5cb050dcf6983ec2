"""The writing end of the SQLite store's tables: its statements, and nothing of who asked for what.

Rows are written many to a statement. sqlite3 gives up the interpreter's lock at each row it steps over, and beside an
event loop that has work to do it gets it back late: written row by row, a batch of 64 took up to five times as long.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from harpoon.store.feed import Revision
from harpoon.store.port import Change, Entry, StoreUnavailable, Trouble
from harpoon.store.sqlite_file import PLACES, Synchronous, connect_writer

#: Rows of one statement.
_CHUNK: Final = 32
#: Rows of the log deleted in one transaction, so that commits do not wait for more.
_TRIM: Final = 1_000
#: After these SQLite cannot be trusted to know what is on disk: input/output error, corrupt, not a database.
_FATAL: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

#: What a key is to become: its entry and the number of its lease, or None: deleted.
Target = tuple[Entry, int | None] | None


class Tables:
    """The one writing connection; used by one thread at a time."""

    def __init__(self, path: Path, synchronous: Synchronous) -> None:
        self.path = path
        self._connection = connect_writer(path, synchronous)
        self._execute = self._connection.execute
        #: Why nothing can be written any more.
        self._broken: str | None = None
        with self._answering():
            self.revision = self._meta("revision")
            self.compacted = self._meta("compacted")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def heads(self, keys: Iterable[str]) -> dict[str, Entry]:
        """Return those of ``keys`` that are present, without their values.

        Raises:
            StoreUnavailable: SQLite could not.
        """
        found = {}
        asked = list(keys)
        for start in range(0, len(asked), _CHUNK):
            chunk = asked[start : start + _CHUNK]
            with self._answering():
                (packed,) = self._execute(_heads(len(chunk)), chunk).fetchone()
            if packed:
                numbers = list(map(int, packed.split(" ")))
                for place, created, modified in zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True):
                    key = chunk[place]
                    found[key] = Entry(key, b"", created, modified)
        return found

    def leased(self, lease: int | None = None) -> list[str]:
        """Return the keys of a lease, or of all leases.

        Raises:
            StoreUnavailable: SQLite could not.
        """
        where = "lease IS NOT NULL" if lease is None else "lease = ?"
        with self._answering():
            rows = self._execute(
                f"SELECT key FROM cur WHERE {where} ORDER BY key",  # noqa: S608 no input is in it
                () if lease is None else (lease,),
            ).fetchall()
        return [key for (key,) in rows]

    def write(self, revisions: Sequence[Revision], targets: Mapping[str, Target]) -> None:
        """Write whole revisions, durably: all of them, or none.

        Args:
            revisions: The next ones, in order.
            targets: What they make of each key they name.

        Raises:
            StoreUnavailable: SQLite could not.
        """
        puts: list[object] = []
        deletes: list[object] = []
        log: list[object] = []
        for key, target in targets.items():
            if target is None:
                deletes.append(key)
            else:
                (_, value, created, modified), lease = target
                puts += (key, created, modified, lease, value)
        for revision, changes in revisions:
            for number, (key, entry) in enumerate(changes, revision * PLACES):
                log += (number, key, 0, None) if entry is None else (number, key, entry[2], entry[1])
        with self._transaction():
            self._execute_many(_put, 5, puts)
            self._execute_many(_delete, 1, deletes)
            self._execute_many(_append, 4, log)
            self._execute("UPDATE meta SET value = ? WHERE name = 'revision'", (revisions[-1][0],))
        self.revision = revisions[-1][0]

    def delete(self, keys: Sequence[str]) -> list[Revision]:
        """Delete keys that are present, as one revision; return it, if there are any.

        Raises:
            StoreUnavailable: SQLite could not.
        """
        if not keys:
            return []
        revisions = [(self.revision + 1, tuple(Change(key, None) for key in keys))]
        self.write(revisions, dict.fromkeys(keys))
        return revisions

    def compact(self, revision: int) -> None:
        """Declare history up to ``revision`` gone; `trim` then deletes it.

        Raises:
            StoreUnavailable: SQLite could not.
        """
        with self._transaction():
            self._execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (revision,))
        self.compacted = revision

    def trim(self) -> bool:
        """Delete a little of what is compacted; return whether that was all.

        Raises:
            StoreUnavailable: SQLite could not.
        """
        with self._transaction():
            deleted = self._execute(
                "DELETE FROM log WHERE id < ? AND id <= (SELECT max(id) FROM (SELECT id FROM log ORDER BY id LIMIT ?))",
                ((self.compacted + 1) * PLACES, _TRIM),
            ).rowcount
        return deleted < _TRIM

    def checkpoint(self) -> bool:
        """Fold the write-ahead log into the file and empty it; return False when a reader was in the way.

        Raises:
            StoreUnavailable: SQLite could not.
        """
        with self._answering():
            (is_busy, _, _) = self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy

    def _meta(self, name: str) -> int:
        (value,) = self._execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        assert isinstance(value, int)
        return value

    def _execute_many(self, statement: Callable[[int], str], width: int, fields: Sequence[object]) -> None:
        """Execute a statement that is made for so many rows, for all rows of so many fields each."""
        for start in range(0, len(fields), width * _CHUNK):
            chunk = fields[start : start + width * _CHUNK]
            self._execute(statement(len(chunk) // width), chunk)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._broken is not None:
            raise StoreUnavailable(self._broken, maybe_applied=False, trouble=Trouble.BROKEN)
        try:
            with self._answering():
                self._execute("BEGIN IMMEDIATE")
                yield
            # A failed COMMIT may have reached the disk, though SQLite shows it to nobody before the next start.
            with self._answering(maybe_applied=True):
                self._execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._execute("ROLLBACK")

    @contextmanager
    def _answering(self, *, maybe_applied: bool = False) -> Iterator[None]:
        """Turn SQLite's errors into the store's."""
        try:
            yield
        except sqlite3.Error as error:
            trouble, told = self._judge(error)
            raise StoreUnavailable(told, maybe_applied=maybe_applied, trouble=trouble) from error

    def _judge(self, error: sqlite3.Error) -> tuple[Trouble, str]:
        """Say what is wrong; write no more after what leaves open what is on disk, for starting again finds out."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return Trouble.FULL, f"{self.path} failed: {error}; free space on its disk, then it goes on by itself"
        if code in _FATAL:
            self._broken = f"{self.path} failed ({error}); the server must be started again"
        return Trouble.BROKEN, f"{self.path} failed: {error}"


@cache
def _heads(count: int) -> str:
    """Select one text: ``<place> <create_revision> <mod_revision>`` of each key found, one after the other."""
    keys = ", ".join(f"({place}, ?)" for place in range(count))
    return (
        f"WITH asked (place, key) AS (VALUES {keys})"  # noqa: S608 numbers only
        " SELECT group_concat(place || ' ' || create_revision || ' ' || mod_revision, ' ')"
        " FROM asked CROSS JOIN cur ON cur.key = asked.key"
    )


@cache
def _put(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?, ?)"] * count)
    return (
        f"INSERT INTO cur (key, create_revision, mod_revision, lease, value) VALUES {rows}"  # noqa: S608
        " ON CONFLICT (key) DO UPDATE SET create_revision = excluded.create_revision,"
        " mod_revision = excluded.mod_revision, lease = excluded.lease, value = excluded.value"
    )


@cache
def _delete(count: int) -> str:
    return f"DELETE FROM cur WHERE key IN ({', '.join('?' * count)})"  # noqa: S608


@cache
def _append(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?)"] * count)
    return f"INSERT INTO log (id, key, create_revision, value) VALUES {rows}"  # noqa: S608
