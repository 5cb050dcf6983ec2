"""Reading the SQLite store: short transactions of connections of their own, beside the writer and never in its way."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeVar

from harpoon.store.commit import prefix_end
from harpoon.store.feed import Revision
from harpoon.store.port import Change, Compacted, Entry, StoreUnavailable, Trouble
from harpoon.store.sqlite_file import PLACES, connect_reader

_PAGE_ROWS: Final = 1_000
#: Values of one page of history.
_PAGE_BYTES: Final = 8 << 20

T = TypeVar("T")


class Columns(NamedTuple):
    """A page of ``cur``, column by column.

    A tuple a row would be a hundred thousand more things for the garbage collector to look at, and it looks at
    *everything* once it sees so many new ones; text, bytes and numbers it never looks at.
    """

    keys: Sequence[str]
    values: Sequence[bytes]
    created: Sequence[int]
    modified: Sequence[int]

    def entries(self) -> tuple[Entry, ...]:
        """Return the page as entries."""
        return tuple(map(Entry._make, zip(*self, strict=True)))


class Reader:
    """One connection for reading, used by one thread at a time; every method raises ``sqlite3.Error`` if it cannot."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_reader(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, key: str) -> Entry | None:
        """Return the key as it is, or None."""
        row = self._connection.execute(
            "SELECT key, value, create_revision, mod_revision FROM cur WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else Entry._make(row)

    def revision(self) -> int:
        """Return the last revision committed."""
        return self._meta("revision")

    def pages(self, prefix: str) -> tuple[int, list[Columns]]:
        """Return the revision, and all of ``cur`` under ``prefix`` in pages; at least one, which may be empty.

        They are all read before the first is handed on, so that nobody who is slow with a list keeps the
        write-ahead log from being checkpointed. The price is memory: as much as all that is listed.
        """
        where, parameters = _under(prefix)
        pages = []
        with self._snapshot():
            rows = self._connection.execute(
                f"SELECT key, value, create_revision, mod_revision FROM cur WHERE {where} ORDER BY key",  # noqa: S608
                parameters,
            )
            while page := rows.fetchmany(_PAGE_ROWS):
                pages.append(Columns._make(zip(*page, strict=True)))
            return self.revision(), pages or [Columns((), (), (), ())]

    def history(self, prefix: str, after: int, until: int) -> tuple[list[Revision], int]:
        """Return the next revisions above ``after`` and up to ``until``, and up to which one these are all.

        Revisions without effect under ``prefix`` are left out.

        Raises:
            Compacted: ``after`` lies before the kept history.
        """
        where, parameters = _under(prefix)
        found: dict[int, list[Change]] = {}
        rows = size = 0
        with self._snapshot():
            compacted = self._meta("compacted")
            if after < compacted:
                raise Compacted(compacted)
            log = self._connection.execute(
                f"SELECT id, key, value, create_revision FROM log WHERE id >= ? AND id < ? AND {where} ORDER BY id",  # noqa: S608
                ((after + 1) * PLACES, (until + 1) * PLACES, *parameters),
            )
            for number, key, value, created in log:
                revision = number // PLACES
                if revision not in found and (rows >= _PAGE_ROWS or size >= _PAGE_BYTES):
                    # A page ends between two revisions.
                    return _whole(found), revision - 1
                entry = None if value is None else Entry(key, value, created, revision)
                found.setdefault(revision, []).append(Change(key, entry))
                rows += 1
                size += 0 if value is None else len(value)
        return _whole(found), until

    def _meta(self, name: str) -> int:
        (value,) = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        assert isinstance(value, int)
        return value

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read all within as of one moment."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


class Readers:
    """Threads that read, each with a connection of its own."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._is_closed = False
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="store-reader")
        #: As many as there are threads, so that a thread never waits for one.
        self._idle: SimpleQueue[Reader] = SimpleQueue()
        for _ in range(count):
            self._idle.put(Reader(path))

    async def ask(self, question: Callable[[Reader], T]) -> T:
        """Have a reader answer.

        Raises:
            StoreUnavailable: The file cannot be read, or is closed.
        """
        if self._is_closed:
            raise StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)

    def close(self) -> None:
        """Wait for what is being read, and close the connections; later questions are refused."""
        self._is_closed = True
        self._threads.shutdown()
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    def _answer(self, question: Callable[[Reader], T]) -> T:
        reader = self._idle.get()
        try:
            return question(reader)
        except sqlite3.Error as error:
            told = f"{self._path} cannot be read: {error}"
            raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.BROKEN) from error
        finally:
            self._idle.put(reader)


def _under(prefix: str) -> tuple[str, tuple[str, ...]]:
    end = prefix_end(prefix)
    return ("key >= ?", (prefix,)) if end is None else ("key >= ? AND key < ?", (prefix, end))


def _whole(found: dict[int, list[Change]]) -> list[Revision]:
    return [(revision, tuple(changes)) for revision, changes in found.items()]
