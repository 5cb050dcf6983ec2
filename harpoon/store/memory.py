"""A store that forgets: the whole contract in one dictionary, for tests, simulation and experiments.

Everything happens on the event loop, between two awaits, so there is nothing to coalesce. What makes it differ from
a durable store is told here: a commit is lost with the process, and the clock handed in may be a simulated one.
"""

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

from harpoon.kit.clock import Clock, SystemClock
from harpoon.store.commit import check, decide, prefix_end, size_of
from harpoon.store.feed import Feed
from harpoon.store.leases import Leases, OwnLease, leases_of
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compacted,
    Compare,
    Delete,
    Entry,
    Lease,
    Page,
    Renewal,
    StoreHealth,
    StoreUnavailable,
    Trouble,
    Write,
)

#: History kept for watchers that resume.
KEPT_REVISIONS: Final = 100_000
KEPT_BYTES: Final = 64 << 20
_PAGE_ENTRIES: Final = 1_000


class MemoryStore:
    """The contract of `store.port`, kept in memory.

    Args:
        clock: What leases are timed by.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._leased: dict[str, OwnLease] = {}
        self._leases = Leases()
        self._granted = 0
        self._renewal: asyncio.TimerHandle | None = None
        #: (revision, changes, bytes), oldest first.
        self._history: deque[tuple[int, tuple[Change, ...], int]] = deque()
        self._history_bytes = 0
        self._compacted = 0
        self._feed = Feed(0)
        self._commits = 0
        self._is_closed = False

    async def get(self, key: str) -> Entry | None:
        """Return the key as it is now, or None."""
        self._check_open()
        return self._entries.get(key)

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        """Yield all keys under ``prefix`` in pages of one revision."""
        self._check_open()
        end = prefix_end(prefix)
        start = bisect_left(self._keys, prefix)
        stop = len(self._keys) if end is None else bisect_left(self._keys, end)
        revision = self._feed.revision
        entries = [self._entries[key] for key in self._keys[start:stop]]
        for place in range(0, max(1, len(entries)), _PAGE_ENTRIES):
            yield Page(revision, tuple(entries[place : place + _PAGE_ENTRIES]))
            await asyncio.sleep(0)

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        """Write all of ``writes`` if all of ``compares`` hold; see `store.port.Store.commit`."""
        check(compares, writes)
        leases = leases_of(writes)
        # As with any other store, others may get their turn before this commit does.
        await asyncio.sleep(0)
        self._check_open()
        self._expire()
        if any(lease not in self._leases for lease in leases.values()):
            told = "the lease of a key to be written is over"
            raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.LEASE_OVER)
        changes = decide(self._entries, compares, writes, self._feed.revision + 1)
        if changes is None:
            return None
        if changes:
            self._apply(changes)
            self._leased |= leases
            self._commits += 1
        return self._feed.revision

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        """Yield every revision above ``after``, whole; see `store.port.Store.watch`."""
        subscription = self._feed.subscribe(prefix)
        try:
            if after < self._compacted:
                raise Compacted(self._compacted)
            for revision, changes, _ in [kept for kept in self._history if kept[0] > after]:
                own = tuple([change for change in changes if change.key.startswith(prefix)])
                if own or revision == subscription.start:
                    yield revision, own
            after = max(after, subscription.start)
            while True:
                revision, changes = await subscription.next()
                if revision > after:
                    yield revision, changes
        finally:
            self._feed.unsubscribe(subscription)

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:  # noqa: ARG002 kept in this process
        """Grant a lease that renews itself until it is revoked, or the process stands still for too long."""
        self._check_open()
        self._granted += 1
        lease = OwnLease(self._granted, timedelta(seconds=ttl_s), self._revoke)
        self._leases.add(lease, self._clock.now().elapsed)
        self._renew_later()
        return lease

    async def compact(self, revision: int) -> None:
        """Drop the history up to and including ``revision``."""
        self._check_open()
        if revision > self._feed.revision:
            raise ValueError(f"revision {revision} is yet to come; the store is at {self._feed.revision}")
        self._compact(revision)

    async def revision(self) -> int:
        """Return the current revision."""
        self._check_open()
        return self._feed.revision

    def health(self) -> StoreHealth:
        """Tell how much is kept; nothing can be wrong with it but that it was closed."""
        return StoreHealth(
            kind="memory",
            at="",
            trouble=Trouble.CLOSED if self._is_closed else None,
            reason="the store is closed" if self._is_closed else "",
            gauges={"revision": self._feed.revision, "keys": len(self._keys), "history_bytes": self._history_bytes},
            counts={"commits": self._commits},
        )

    async def close(self) -> None:
        """Stop; watchers and later callers get `StoreUnavailable`."""
        self._is_closed = True
        if self._renewal is not None:
            self._renewal.cancel()
        for lease in self._leases.all():
            self._leases.end(lease)
            lease.lost.set()
        self._feed.end(_closed())

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()

    def _apply(self, changes: tuple[Change, ...]) -> None:
        """Take the next revision for ``changes``."""
        for key, entry in changes:
            self._leased.pop(key, None)
            if entry is None:
                del self._entries[key]
                del self._keys[bisect_left(self._keys, key)]
                continue
            if key not in self._entries:
                insort(self._keys, key)
            self._entries[key] = entry
        revision = self._feed.revision + 1
        size = size_of(changes)
        self._history.append((revision, changes, size))
        self._history_bytes += size
        self._feed.publish(revision, changes)
        while len(self._history) > KEPT_REVISIONS or self._history_bytes > KEPT_BYTES:
            self._compact(self._history[0][0])

    def _compact(self, revision: int) -> None:
        while self._history and self._history[0][0] <= revision:
            self._history_bytes -= self._history.popleft()[2]
        self._compacted = max(self._compacted, revision)

    async def _revoke(self, lease: OwnLease) -> None:
        self._check_open()
        self._end(lease)

    def _end(self, lease: OwnLease) -> None:
        """Delete what ``lease`` holds, as one revision."""
        self._leases.end(lease)
        keys = sorted(key for key, holder in self._leased.items() if holder is lease)
        changes = decide(self._entries, (), [Delete(key) for key in keys], self._feed.revision + 1)
        if changes:
            self._apply(changes)
        self._leases.bury(lease)
        lease.lost.set()

    def _expire(self) -> None:
        for lease in self._leases.overdue(self._clock.now().elapsed):
            self._end(lease)

    def _renew_later(self) -> None:
        due = self._leases.look_at()
        if self._renewal is None and due is not None and not self._is_closed:
            wait = due - self._clock.now().elapsed
            self._renewal = asyncio.get_running_loop().call_later(max(0.0, wait.total_seconds()), self._renew)

    def _renew(self) -> None:
        self._renewal = None
        self._expire()
        self._renew_later()


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)
