"""The store of one machine: one SQLite file, one process, no server.

This is the event loop's side of it: it checks, asks the thread that writes (`store.sqlite_writer`), reads through
threads of its own (`store.sqlite_reader`) and feeds the watchers. The loop waits for the disk nowhere.

The file is held exclusively, so a lease lives as long as the process that was granted it: those of a former process
are dead when the file is opened, and their keys are deleted then, as an ordinary revision.
"""

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from harpoon.kit.clock import Clock
from harpoon.store.commit import check
from harpoon.store.feed import Feed
from harpoon.store.leases import OwnLease, leases_of
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compare,
    Entry,
    Lease,
    Page,
    Renewal,
    StoreHealth,
    StoreUnavailable,
    Trouble,
    Write,
)
from harpoon.store.retention import KEPT_FOR, KEPT_REVISIONS
from harpoon.store.sqlite_file import FileLock, Synchronous
from harpoon.store.sqlite_reader import Reader, Readers
from harpoon.store.sqlite_tables import Tables
from harpoon.store.sqlite_writer import Commit, Compaction, Grant, Report, Revoke, Stop, Writer

#: Reads at once: a long list must not hold up a get.
_READERS: Final = 3
#: Commits that may wait for the disk, and their bytes.
_WAITING_MAX: Final = 10_000
_WAITING_BYTES_MAX: Final = 64 << 20
#: Of one call, and nothing about the file.
_OF_CALLS: Final = frozenset({Trouble.LEASE_OVER, Trouble.OVERLOADED})


class SqliteStore:
    """The contract of `store.port` over one file; made by `open`, given up by `close`."""

    def __init__(self, lock: FileLock, tables: Tables, readers: Readers, clock: Clock, kept_for: timedelta) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = lock
        self._readers = readers
        self._feed = Feed(tables.revision)
        self._leases: set[OwnLease] = set()
        self._granted = 0
        self._waiting = 0
        self._waiting_bytes = 0
        self._counts = Counter({"commits": 0, "batches": 0})
        self._errors: Counter[Trouble] = Counter()
        #: What is wrong, since when.
        self._trouble: tuple[StoreUnavailable, timedelta] | None = None
        self._path, self._clock = tables.path, clock
        self._is_closed = False
        self._has_ended = asyncio.Event()
        self._writer = Writer(tables, clock, partial(self._call, self._hear), kept_for)
        # A daemon: a process that ends without closing the store loses nothing that was acknowledged.
        threading.Thread(target=self._write, name="store-writer", daemon=True).start()

    @classmethod
    async def open(
        cls, path: str | Path, *, clock: Clock, synchronous: Synchronous = "FULL", kept_for: timedelta = KEPT_FOR
    ) -> Self:
        """Open a file, and lay it out if it is new.

        Args:
            path: On a local disk; its directory exists.
            clock: What leases and history are timed by.
            synchronous: FULL: an acknowledged commit survives a power failure. NORMAL: it survives the end of the
                process only, and revisions may be used again after a power failure; for tests and experiments.
            kept_for: How long history is kept, unless it becomes too much.

        Raises:
            StoreUnavailable: Another process, or this one, has the file open, or it cannot be used.
        """
        parts = await asyncio.get_running_loop().run_in_executor(None, _open, Path(path), synchronous)
        return cls(*parts, clock, kept_for)

    async def get(self, key: str) -> Entry | None:
        """Return the key as it is now, or None."""
        self._check_open()
        return await self._readers.ask(lambda reader: reader.get(key))

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        """Yield all keys under ``prefix`` in pages of one revision; all are held in memory until they are yielded."""
        self._check_open()
        revision, pages = await self._readers.ask(lambda reader: reader.pages(prefix))
        pages.reverse()
        while pages:
            yield Page(revision, pages.pop().entries())
            # They are all here already, so nothing else would let the others have their turn.
            await asyncio.sleep(0)

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        """Write all of ``writes`` if all of ``compares`` hold, durably; see `store.port.Store.commit`."""
        size = check(compares, writes)
        leases = leases_of(writes)
        self._check_open()
        if self._waiting >= _WAITING_MAX or self._waiting_bytes + size > _WAITING_BYTES_MAX:
            self._errors[Trouble.OVERLOADED] += 1
            told = "too many commits wait for the disk"
            raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.OVERLOADED)
        done: asyncio.Future[int | None] = self._loop.create_future()
        self._waiting += 1
        self._waiting_bytes += size
        try:
            self._writer.ask(Commit(compares, writes, leases, size, done))
            return await done
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        """Yield every revision above ``after``, whole; see `store.port.Store.watch`."""
        self._check_open()
        subscription = self._feed.subscribe(prefix)
        try:
            while after < subscription.start:
                question = partial(Reader.history, prefix=prefix, after=after, until=subscription.start)
                revisions, after = await self._readers.ask(question)
                for revision, changes in revisions:
                    yield revision, changes
                if not revisions or revisions[-1][0] < after:
                    yield after, ()
            while True:
                revision, changes = await subscription.next()
                if revision > after:
                    yield revision, changes
        finally:
            self._feed.unsubscribe(subscription)

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:  # noqa: ARG002 kept in this process
        """Grant a lease that renews itself until it is revoked, or the process stands still for longer than its ttl."""
        self._check_open()
        self._granted += 1
        lease = OwnLease(self._granted, timedelta(seconds=ttl_s), self._revoke)
        self._leases.add(lease)
        self._writer.ask(Grant(lease))
        return lease

    async def compact(self, revision: int) -> None:
        """Drop the history up to and including ``revision``.

        Raises:
            ValueError: The store is not there yet.
            StoreUnavailable: The store could not answer.
        """
        self._check_open()
        done: asyncio.Future[None] = self._loop.create_future()
        self._writer.ask(Compaction(revision, done))
        await done

    async def revision(self) -> int:
        """Return the current revision."""
        self._check_open()
        return await self._readers.ask(Reader.revision)

    def health(self) -> StoreHealth:
        """Tell how the file does, and how much waits for it."""
        error, since = self._trouble or (None, None)
        if self._is_closed and error is None:
            error = _closed()
        return StoreHealth(
            kind="sqlite",
            at=str(self._path),
            version=sqlite3.sqlite_version,
            trouble=None if error is None else error.trouble,
            reason="" if error is None else str(error),
            since=since,
            gauges={"revision": self._feed.revision, "db_bytes": _bytes(self._path), "waiting": self._waiting},
            counts=dict(self._counts),
            errors=dict(self._errors),
        )

    async def close(self) -> None:
        """Finish the commits in flight and give the file up; watchers and later callers get `StoreUnavailable`."""
        self._is_closed = True
        # Readers first: the last connection to be closed folds the write-ahead log.
        await self._loop.run_in_executor(None, self._readers.close)
        self._writer.ask(Stop())
        await self._has_ended.wait()

    async def _revoke(self, lease: OwnLease) -> None:
        self._check_open()
        done: asyncio.Future[None] = self._loop.create_future()
        self._writer.ask(Revoke(lease, done))
        await done

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()

    def _write(self) -> None:
        """Be the thread that writes."""
        try:
            self._writer.run()
        finally:
            self._lock.release()
            self._call(self._hear_end)

    def _call(self, hear: Any, *told: object) -> None:
        # The loop is gone when the process ends without closing the store; then nobody listens.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(hear, *told)

    def _hear(self, report: Report) -> None:
        """Tell watchers and callers what has become true on disk."""
        if report.revisions:
            self._counts.update(commits=len(report.revisions), batches=1)
            self._trouble = None
        for revision, changes in report.revisions:
            self._feed.publish(revision, changes)
        for lease in report.ended:
            self._leases.discard(lease)
            lease.lost.set()
        for done, outcome in report.results:
            if isinstance(outcome, StoreUnavailable):
                self._note(outcome)
            if done.done():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    def _note(self, error: StoreUnavailable) -> None:
        self._errors[error.trouble] += 1
        if error.trouble not in _OF_CALLS:
            since = self._clock.now().elapsed if self._trouble is None else self._trouble[1]
            self._trouble = error, since

    def _hear_end(self) -> None:
        self._is_closed = True
        for lease in self._leases:
            lease.lost.set()
        self._feed.end(_closed())
        self._has_ended.set()


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)


def _bytes(path: Path) -> int:
    """Return how large the file is, together with its write-ahead log."""
    size = 0
    for part in (path, f"{path}-wal"):
        with suppress(OSError):
            size += Path(part).stat().st_size
    return size


def _open(path: Path, synchronous: Synchronous) -> tuple[FileLock, Tables, Readers]:
    with ExitStack() as undo:
        lock = FileLock(path)
        undo.callback(lock.release)
        tables = Tables(path, synchronous)
        undo.callback(tables.close)
        tables.delete(tables.leased())
        floor = tables.revision - KEPT_REVISIONS
        if floor > tables.compacted:
            tables.compact(floor)
        readers = Readers(path, _READERS)
        undo.pop_all()
    return lock, tables, readers
