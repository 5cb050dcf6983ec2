"""A mirror of the store: what every loop and door reads, all of it at one revision.

One watch feeds all tables of a mirror, so a reader between two awaits sees the whole of one revision, across
tables, and nothing of the next. A mirror never writes, and it is never ahead of the store; how far behind it is,
``revision`` tells. While the store is away a mirror stays as it is, and goes on where it stopped.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count, islice
from typing import Any, Final, TypeVar

import structlog

from harpoon.kit.news import News
from harpoon.store.port import (
    Change,
    Compacted,
    Entry,
    Page,
    Rewound,
    RolledBack,
    SlowWatcher,
    Store,
    StoreUnavailable,
    Trouble,
)
from harpoon.store.recent import Recent
from harpoon.store.table import LARGE_BYTES, RowChange, Table

#: Records handled before others get their turn on the event loop.
_SLICE: Final = 200
#: What a change weighs beside the values before and after, roughly.
_CHANGE_BYTES: Final = 500
#: Wait before a store that is away is asked again.
_RETRY_S: Final = 0.5
#: What a request asked for is shown within so long, or it is told that it is not.
_SHOWN_WITHIN_S: Final = 3.0

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Mirror:
    """Tables kept in step with a store by one watch.

    Args:
        store: What is mirrored.
        prefix: What is watched; ends with a slash.
        tables: Their prefixes are this one and a name with a slash.
    """

    def __init__(self, store: Store, prefix: str, tables: Sequence[Table[Any]]) -> None:
        self._store = store
        self._prefix = prefix
        self._tables = {table.prefix: table for table in tables}
        assert all(table.prefix.rindex("/", 0, -1) == len(prefix) - 1 for table in tables)
        self._listeners: list[Callable[[int, tuple[RowChange, ...]], None]] = []
        self._recorders: list[Callable[[int, tuple[Change, ...]], None]] = []
        self._breaks: list[Callable[[int | None], None]] = []
        self._is_loaded = False
        #: Everything up to here is applied, in all tables.
        self.revision = 0
        #: The last revisions; `since` reads it.
        self.recent: Recent[tuple[RowChange, ...]] = Recent()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        #: Keys changed while `verify` compares.
        self._touched: set[str] | None = None
        self._is_doubted = asyncio.Event()
        #: What listeners are told is no next revision, but mends what was shown before; see `listen_breaks`.
        self.is_mending = False

    @property
    def prefix(self) -> str:
        """What is watched."""
        return self._prefix

    @property
    def oldest(self) -> int:
        """The lowest revision that `since` can be given."""
        return self.recent.oldest

    def listen(self, hear: Callable[[int, tuple[RowChange, ...]], None]) -> None:
        """Have ``hear`` called with each revision that changes rows, when all tables show it; what is loaded, too.

        It is called on the event loop, in between nothing else happens, so it must be quick and must not fail.
        """
        self._listeners.append(hear)

    def listen_breaks(self, hear: Callable[[int | None], None]) -> None:
        """Have ``hear`` called just before listeners are told of what is not the next revision, but mends the tables.

        It is given the revision up to which all was told as it happened: what follows was not, and is told as one.
        None: nothing that was told is sure to have been all.
        """
        self._breaks.append(hear)

    def record(self, hear: Callable[[int, tuple[Change, ...]], None]) -> None:
        """Have ``hear`` called with each revision that the store tells, as it is stored, also of what is no row here.

        It is called when all tables show it; what is loaded or mended is not told so. As to the rest, as `listen`.
        """
        self._recorders.append(hear)

    @contextmanager
    def listening(self, hear: Callable[[int, tuple[RowChange, ...]], None]) -> Iterator[None]:
        """As `listen`, while the block runs."""
        self._listeners.append(hear)
        try:
            yield
        finally:
            self._listeners.remove(hear)

    async def load(self) -> None:
        """Read everything; then ``revision`` is set.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        async for page in self._store.list(self._prefix):
            for part in _slices(page.entries, _SLICE):
                await self._read_large((entry.key, entry) for entry in part)
                changes = tuple(found for entry in part if (found := self._compare(entry.key, entry)))
                # Nobody reads yet, so it need not come true all at once.
                self._apply(page.revision, changes, 0)
                await asyncio.sleep(0)
            self.revision = page.revision
        self.recent.reset(self.revision)
        self._is_loaded = True

    async def run(self) -> None:
        """Follow the store until cancelled; may be run again, and then goes on where it stopped.

        Raises:
            RolledBack: The store is at a lower revision than this mirror: nothing here can be relied on.
            StoreUnavailable: The store was closed. One that is merely away is waited for.
        """
        assert self._is_loaded, "a mirror is loaded before it follows"
        is_in_step, news = True, News()
        while True:
            try:
                if not is_in_step:
                    # A store that tells again and again what is not so is not to be listed without a pause.
                    await asyncio.sleep(_RETRY_S)
                    await self._list()
                is_in_step = True
                await self._follow()
            except (Compacted, Rewound) as error:
                _log.warning("mirror_relists", prefix=self._prefix, revision=self.revision, reason=str(error))
                is_in_step = False
            except SlowWatcher as error:
                _log.warning("mirror_behind", prefix=self._prefix, revision=self.revision, reason=str(error))
            except StoreUnavailable as error:
                if error.trouble in {Trouble.CLOSED, Trouble.ROLLED_BACK}:
                    raise
                if news.is_news(str(error), asyncio.get_running_loop().time()):
                    _log.warning("mirror_waits", prefix=self._prefix, revision=self.revision, reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def reached(self, revision: int) -> None:
        """Wait until everything up to ``revision`` is applied."""
        if self.revision < revision:
            waiter = asyncio.get_running_loop().create_future()
            heappush(self._waiting, (revision, next(self._order), waiter))
            await waiter

    async def shows(self, revision: int) -> None:
        """Wait until everything up to ``revision`` is applied, but not for longer than a request may.

        Raises:
            StoreUnavailable: It is not; what the revision is of happened all the same.
        """
        if revision <= self.revision:
            return
        try:
            async with asyncio.timeout(_SHOWN_WITHIN_S):
                await self.reached(revision)
        except TimeoutError as error:
            told = f"what was done at revision {revision} does not show here yet: this server is at {self.revision}"
            raise StoreUnavailable(told, maybe_applied=True, trouble=Trouble.TIMEOUT) from error

    def since(self, after: int) -> list[tuple[int, tuple[RowChange, ...]]] | None:
        """Return the revisions above ``after`` that changed rows, or None when they are no longer kept."""
        return self.recent.since(after)

    def mod(self, key: str) -> int | None:
        """Return the revision of what stands here under a key of the store, 0 for nothing; None: it is of no table."""
        start = key.find("/", len(self._prefix)) + 1
        table = self._tables.get(key[:start])
        if table is None:
            return None
        row = table.rows.get(key[start:])
        return table.unreadable.get(key[start:], 0) if row is None else row.mod_revision

    def doubt(self, key: str) -> None:
        """Ask for `verify`: the store has told that something else stands under a key than stands here."""
        _log.error("mirror_doubted", key=key, revision=self.revision)
        self._is_doubted.set()

    async def doubted(self, within_s: float) -> bool:
        """Wait until somebody doubts, but not for longer than told; return whether somebody does."""
        try:
            async with asyncio.timeout(within_s):
                await self._is_doubted.wait()
        except TimeoutError:
            return False
        return True

    async def verify(self, slice_size: int = _SLICE) -> int:
        """Compare everything with the store and repair what differs; return how many rows did.

        None should. A repair is told to listeners at the present revision (`listen_breaks`); ``recent`` is emptied, so
        that readers who resume from before it start afresh. Keys that change meanwhile are left to the next time.

        Raises:
            RolledBack: The store is at a lower revision than this mirror.
            StoreUnavailable: The store could not answer.
        """
        repaired = 0
        for table in self._tables.values():
            self._touched = set()
            try:
                repaired += await self._verify(table, self._touched, slice_size)
            finally:
                self._touched = None
        # What is doubted meanwhile is mostly what was mended in one table, and not yet in another.
        self._is_doubted.clear()
        return repaired

    async def _verify(self, table: Table[Any], touched: set[str], slice_size: int) -> int:
        present: set[str] = set()
        wrong: list[RowChange] = []
        revision = self.revision
        async for page in self._pages(table.prefix):
            revision = page.revision
            # A key that differs then, and is not touched from here on, does differ.
            await self.reached(max((entry.mod_revision for entry in page.entries), default=0))
            for part in _slices(page.entries, slice_size):
                await self._read_large((entry.key, entry) for entry in part)
                for entry in part:
                    present.add(entry.key)
                    if entry.key not in touched:
                        wrong += _some(table.compare(entry.key[len(table.prefix) :], entry))
                await asyncio.sleep(0)
        wrong += await self._ghosts(table, present, touched, slice_size, revision)
        changes = tuple(change for change in wrong if table.prefix + change.key not in touched)
        if changes:
            _log.error("mirror_repaired", table=table.name, rows=len(changes), key=changes[0].key)
            self._mend(self.revision, changes, None)
        return len(changes)

    async def _ghosts(
        self, table: Table[Any], present: set[str], touched: set[str], slice_size: int, revision: int
    ) -> list[RowChange]:
        """Return how to remove the rows that the store did not have at a revision."""
        ghosts: list[RowChange] = []
        rows = iter(table.snapshot())
        while keys := list(islice(rows, slice_size)):
            for key in keys:
                if table.prefix + key not in present and table.prefix + key not in touched:
                    ghosts += _some(table.compare(key, None))
            await asyncio.sleep(0)
        try:
            # Their deletion may be on its way. A store that others write to, too, may not tell that nothing is.
            async with asyncio.timeout(_SHOWN_WITHIN_S if ghosts else None):
                await self.reached(revision if ghosts else 0)
        except TimeoutError:
            return []
        return ghosts

    async def _list(self) -> None:
        """Read everything, and apply as one revision what differs from what is here."""
        revision = self.revision
        present: set[str] = set()
        changes: list[RowChange] = []
        async for page in self._pages(self._prefix):
            revision = page.revision
            for part in _slices(page.entries, _SLICE):
                await self._read_large((entry.key, entry) for entry in part)
                for entry in part:
                    present.add(entry.key)
                    changes += _some(self._compare(entry.key, entry))
                await asyncio.sleep(0)
        for table in self._tables.values():
            for key in dict.fromkeys((*table.rows, *table.unreadable)):
                if table.prefix + key not in present:
                    changes += _some(self._compare(table.prefix + key, None))
        if revision > self.revision or changes:
            self._mend(revision, tuple(changes), self.revision)

    async def _pages(self, prefix: str) -> AsyncIterator[Page]:
        """List what the store has now; never less than what is here.

        Raises:
            RolledBack: It is at a lower revision than this mirror was when it was asked.
        """
        known = self.revision
        async for page in self._store.list(prefix):
            if page.revision < known:
                raise RolledBack(known, page.revision)
            yield page

    async def _follow(self) -> None:
        stream = self._store.watch(self._prefix, after=self.revision)
        try:
            await self._take(stream)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _take(self, stream: AsyncIterator[tuple[int, tuple[Change, ...]]]) -> None:
        handled = 0
        async for revision, changes in stream:
            await self._read_large(changes)
            found = tuple(found for key, entry in changes if (found := self._compare(key, entry)))
            self._apply(revision, found, sum(len(entry.value) for _, entry in changes if entry is not None))
            for hear in self._recorders:
                hear(revision, changes)
            handled += 1 + len(changes)
            if handled >= _SLICE:
                handled = 0
                await asyncio.sleep(0)

    def _compare(self, key: str, entry: Entry | None) -> RowChange | None:
        if self._touched is not None:
            self._touched.add(key)
        start = key.find("/", len(self._prefix)) + 1
        table = self._tables.get(key[:start])
        return None if table is None else table.compare(key[start:], entry)

    async def _read_large(self, entries: Iterable[tuple[str, Entry | None]]) -> None:
        """Have the large ones of some records decoded before they are compared; others have the loop meanwhile."""
        for key, entry in entries:
            if entry is not None and len(entry.value) > LARGE_BYTES:
                start = key.find("/", len(self._prefix)) + 1
                table = self._tables.get(key[:start])
                if table is not None:
                    await table.read_large(key[start:], entry)

    def _mend(self, revision: int, changes: tuple[RowChange, ...], told: int | None) -> None:
        """Let all tables come to ``revision`` by changes that are not those of one; ``told`` as of `listen_breaks`."""
        for hear in self._breaks:
            hear(told)
        self.is_mending = True
        self._apply(revision, changes, 0)
        self.is_mending = False
        self.recent.reset(revision)

    def _apply(self, revision: int, changes: tuple[RowChange, ...], size: int) -> None:
        """Let all tables come to ``revision``, then tell of it; the records behind the changes have ``size`` bytes."""
        for change in changes:
            change.table.adopt(change)
        self.revision = revision
        if changes:
            self.recent.append(revision, changes, _CHANGE_BYTES * len(changes) + 2 * size)
            for hear in self._listeners:
                hear(revision, changes)
        while self._waiting and self._waiting[0][0] <= revision:
            waiter = heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(None)


def _slices(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _some(change: RowChange | None) -> tuple[RowChange, ...]:
    return () if change is None else (change,)
