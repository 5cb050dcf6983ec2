"""Reading the SQLite store: short transactions of a connection of its own, beside the writer and never in its way.

*Why rows are read packed*: sqlite3 gives up the interpreter's lock at every row and, beside a busy event loop, gets
it back only when that pauses; row by row, a long list then takes many times as long. So SQLite itself puts a page
together, and hands it over as one row.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeVar

from harpoon.store.commit import prefix_end
from harpoon.store.feed import Revision
from harpoon.store.port import Change, Compacted, Entry, StoreUnavailable
from harpoon.store.sqlite_file import PLACES, connect_reader

#: Bounds of what SQLite puts together at once.
_PAGE_ROWS: Final = 1_000
_PAGE_BYTES: Final = 8 << 20
#: Stands for the length of the value of a key that was deleted.
_DELETED: Final = -1

T = TypeVar("T")


class Columns(NamedTuple):
    """A page of rows, column by column.

    A tuple a row would be a hundred thousand more things for the garbage collector to look at, and it looks at
    *everything* once it sees so many new ones; text, bytes and numbers it never looks at.
    """

    keys: list[str]
    #: None: deleted; in the log only.
    values: list[bytes | None]
    created: list[int]
    #: ``mod_revision`` in ``cur``, ``id`` in the log.
    numbers: list[int]

    def entries(self) -> tuple[Entry, ...]:
        """Return rows of ``cur`` as entries."""
        return tuple(map(Entry._make, zip(*self, strict=True)))


class _Range(NamedTuple):
    """Rows of one table, in order."""

    table: str
    #: The column they are ordered by.
    order: str
    #: The column that tells the revision.
    number: str
    where: str
    parameters: tuple[object, ...]


class Reader:
    """One connection for reading, used by one thread at a time; every method raises ``sqlite3.Error`` if it cannot."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_reader(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, key: str) -> Entry | None:
        """Return the key as it is, or None."""
        found = self._connection.execute(
            "SELECT value, create_revision, mod_revision FROM cur WHERE key = ?", (key,)
        ).fetchone()
        return None if found is None else Entry(key, *found)

    def revision(self) -> int:
        """Return the last revision committed."""
        return self._meta("revision")

    def pages(self, prefix: str) -> tuple[int, list[Columns]]:
        """Return the revision, and all of ``cur`` under ``prefix`` in pages; at least one, which may be empty.

        They are all read before the first is handed on, so that nobody who is slow with a list keeps the
        write-ahead log from being checkpointed. The price is memory: as much as all that is listed.
        """
        with self._snapshot():
            pages: list[Columns] = []
            start, is_last = prefix, False
            while not is_last:
                page, is_last = self._page(_keys(prefix, start), _PAGE_ROWS)
                if page.keys or not pages:
                    pages.append(page)
                if page.keys:
                    # Nothing lies between a key and this.
                    start = page.keys[-1] + "\0"
            return self.revision(), pages

    def history(self, prefix: str, after: int, until: int) -> tuple[list[Revision], int]:
        """Return the next revisions above ``after`` and up to ``until``, and up to which one these are all.

        Revisions without effect under ``prefix`` are left out.

        Raises:
            Compacted: ``after`` lies before the kept history.
        """
        with self._snapshot():
            compacted = self._meta("compacted")
            if after < compacted:
                raise Compacted(compacted)
            limit = _PAGE_ROWS
            while True:
                page, is_last = self._page(_log(prefix, after, until), limit)
                revisions = _revisions(page)
                if is_last:
                    return revisions, until
                # The last one may go on beyond this page: it is read again with the next.
                if len(revisions) > 1:
                    revisions.pop()
                    return revisions, revisions[-1][0]
                # A revision of more rows than a page: a lease with many keys ended.
                limit *= 16

    def _page(self, rows: _Range, limit: int) -> tuple[Columns, bool]:
        """Return the first of ``rows``, within bounds, and whether these are all."""
        tail = f"FROM {rows.table} WHERE {rows.where} ORDER BY {rows.order} LIMIT ?"
        (packed,) = self._connection.execute(
            f"SELECT group_concat(n) FROM (SELECT ifnull(length(value), {_DELETED}) AS n {tail})",  # noqa: S608
            (*rows.parameters, limit),
        ).fetchone()
        if packed is None:
            return Columns([], [], [], []), True
        lengths = _numbers(packed)
        count = _fitting(lengths)
        keys, key_lengths, values, created, numbers = self._connection.execute(
            "SELECT group_concat(key, ''), group_concat(length(CAST(key AS BLOB))), group_concat(value, ''),"  # noqa: S608
            " group_concat(create_revision), group_concat(number)"
            f" FROM (SELECT key, value, create_revision, {rows.number} AS number {tail})",
            (*rows.parameters, count),
        ).fetchone()
        page = Columns(
            [(key or b"").decode() for key in _split(keys, _numbers(key_lengths))],
            _split(values or b"", lengths[:count]),
            _numbers(created),
            _numbers(numbers),
        )
        return page, count == len(lengths) < limit

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
            raise StoreUnavailable("the store is closed", maybe_applied=False)
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
            raise StoreUnavailable(f"{self._path} cannot be read: {error}", maybe_applied=False) from error
        finally:
            self._idle.put(reader)


def _keys(prefix: str, start: str) -> _Range:
    where, parameters = _under(prefix)
    return _Range("cur", "key", "mod_revision", f"key >= ? AND {where}", (start, *parameters))


def _log(prefix: str, after: int, until: int) -> _Range:
    where, parameters = _under(prefix)
    first, end = (after + 1) * PLACES, (until + 1) * PLACES
    return _Range("log", "id", "id", f"id >= ? AND id < ? AND {where}", (first, end, *parameters))


def _under(prefix: str) -> tuple[str, tuple[str, ...]]:
    end = prefix_end(prefix)
    return ("key >= ?", (prefix,)) if end is None else ("key >= ? AND key < ?", (prefix, end))


def _revisions(log: Columns) -> list[Revision]:
    found: dict[int, list[Change]] = {}
    for key, value, created, number in zip(*log, strict=True):
        revision = number // PLACES
        entry = None if value is None else Entry(key, value, created, revision)
        found.setdefault(revision, []).append(Change(key, entry))
    return [(revision, tuple(changes)) for revision, changes in found.items()]


def _numbers(packed: bytes) -> list[int]:
    return list(map(int, packed.split(b",")))


def _fitting(lengths: list[int]) -> int:
    """Return how many values make a page; at least one."""
    total = 0
    for place, length in enumerate(lengths):
        total += length
        if total > _PAGE_BYTES and place:
            return place
    return len(lengths)


def _split(packed: bytes, lengths: list[int]) -> list[bytes | None]:
    parts: list[bytes | None] = []
    start = 0
    for length in lengths:
        if length == _DELETED:
            parts.append(None)
        else:
            parts.append(packed[start : start + length])
            start += length
    return parts
