"""The way of one instance to the store of a simulation: `harpoon.store.port.Store` over a network.

It does what the client of etcd does, in asking (`tests.sim.asking`), in following (`tests.sim.following`) and in keeping
leases (`tests.sim.way_lease`). One thing is left out: commits do not share transactions, so each has its own revision.
What a plan of faults calls may be called from anywhere.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from math import ceil
from typing import Final

from harpoon.kit.clock import Clock, Random
from harpoon.store.commit import check
from harpoon.store.port import (
    BY_THIRDS,
    Compare,
    Entry,
    Lease,
    Page,
    Put,
    Renewal,
    StoreHealth,
    StoreUnavailable,
    Trouble,
    Write,
)
from tests.sim.asking import AT, Asking, Net
from tests.sim.following import Following
from tests.sim.store import Order, SimStore
from tests.sim.telling import Revision
from tests.sim.way_lease import SimLease

CLOSE_S: Final = 1.0
PAGE_KEYS: Final = (100, 5_000)
_PAGE_GROWTH: Final = 8


class SimWay:
    """One instance's store; used at its node.

    Args:
        store: What is reached.
        net: How.
        clock: The instance's own; its leases are counted by it.
        rng: For pauses between tries.
    """

    def __init__(self, store: SimStore, net: Net, *, clock: Clock, rng: Random) -> None:
        self.store = store
        self.net = net
        #: What came to pass, by name, here and at the store; for assertions that it sometimes does.
        self.happened = store.happened
        #: A fault: watches are told of revisions so late.
        self.lag_s = 0.0
        #: The instance was killed; whoever kills it says so, for what is counted, and to spare the store its watches.
        self.is_gone = False
        #: A fault: what becomes of the next commits: ``late``, by so many seconds, or ``silent``: never answered.
        self.fates: deque[tuple[str, float]] = deque()
        #: Those that it relies on.
        self.leases: dict[int, SimLease] = {}
        self._asking = Asking(net, clock, rng, store.happened)
        self._following = Following(self, self._asking)
        self._asking.on_leave = self._following.move
        self._gap = 0
        self._left_out: dict[int, None] = {}
        self._stale = 0

    # Faults.

    def gap(self, revisions: int) -> None:
        """Leave the next revisions that change something out of the watches, as if they had told of them."""
        self._gap += revisions

    def forgive(self) -> None:
        """Leave nothing for later of what was to go wrong."""
        self.fates.clear()
        self._gap = self._stale = 0

    def hide(self, revision: int) -> None:
        """Leave one revision out of the watches, as if they had told of it."""
        self._left_out[revision] = None

    def stale(self, revisions: int) -> None:
        """Answer the next list or get as of so many revisions ago, but not below any that this way was told of.

        The contract promises reads of the present, and etcd keeps that. What an instance was told, by whichever answer,
        it would notice to be gone, and begin anew (`RolledBack`); what others wrote meanwhile it could not miss. So a
        stale answer is what a lagging member would say, and nothing that is safe may rest on its not being given.
        """
        self._stale = revisions

    def rewind(self) -> None:
        """Have the next watch that is told something be told what it had been told before."""
        self._following.is_rewinding = True

    def break_watches(self) -> None:
        """Break the streams of all watches; they are resumed where they stopped."""
        self._following.move()

    def leaves_out(self, revision: int) -> bool:
        """Whether watches are not told of a revision. For the store."""
        if self._gap and revision not in self._left_out:
            self._gap -= 1
            self._left_out[revision] = None
            self.happened["watch gap"] += 1
        return revision in self._left_out

    # The contract.

    async def get(self, key: str) -> Entry | None:
        """Return the key as it is now, or None."""
        floor = self._asking.seen

        async def make() -> tuple[int, Entry | None]:
            await self.store.serve()
            revision = self._as_of(floor)
            return revision, self.store.row(key, revision)

        return await self._asking.read(make)

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        """Yield all keys under ``prefix`` in pages of one revision."""
        floor, place, limit = self._asking.seen, 0, PAGE_KEYS[0]

        async def begin() -> tuple[int, tuple[int, Sequence[Entry]]]:
            await self.store.serve()
            revision = self._as_of(floor)
            return revision, (revision, self.store.rows(prefix, revision))

        async def go_on() -> tuple[int, bool]:
            await self.store.serve()
            return self.store.now, revision >= self.store.oldest

        revision, listed = await self._asking.read(begin)
        while True:
            yield Page(revision, tuple(listed[place : place + limit]))
            place, limit = place + limit, min(_PAGE_GROWTH * limit, PAGE_KEYS[1])
            if place >= len(listed):
                return
            if not await self._asking.read(go_on):
                self.happened["compacted under a list"] += 1
                told = f"the list of {prefix!r} took longer than history is kept; list again"
                raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.OVERLOADED)

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        """Write all of ``writes`` if all of ``compares`` hold, durably; see `store.port.Store.commit`."""
        check(compares, writes)
        order = Order(self, compares, writes, self._leases_of(writes))
        try:
            return await self._asking.write(lambda: self.store.serve_commit(order))
        finally:
            order.is_given_up = True

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Revision]:
        """Yield every revision above ``after``, whole; see `store.port.Store.watch`."""
        return self._following.watch(prefix, after)

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        """Grant a lease that renews itself until it is revoked, or cannot be renewed in time."""
        sent = self.elapsed()
        granted = await self._asking.write(lambda: self.store.serve_grant(self, ceil(ttl_s)))
        lease = self.leases[granted.number] = SimLease(self, granted.number, granted.ttl_s, sent, renewal)
        lease.start()
        return lease

    async def revoke(self, lease: SimLease) -> None:
        """End a lease now; for the lease."""
        lease.stop()
        try:
            await self._asking.write(lambda: self.store.serve_revoke(lease.number))
        finally:
            lease.end()

    async def compact(self, revision: int) -> None:
        """Drop the history up to and including ``revision``."""
        now = await self.revision()
        if revision > now:
            raise ValueError(f"revision {revision} is yet to come; the store is at {now}")

        async def make() -> tuple[int, None]:
            await self.store.serve_write()
            self.store.drop_history(revision)
            return self.store.now, None

        await self._asking.write(make)

    async def revision(self) -> int:
        """Return the current revision."""

        async def make() -> tuple[int, int]:
            await self.store.serve()
            return self.store.now, self.store.now

        return await self._asking.read(make)

    def health(self) -> StoreHealth:
        """Tell how the store does, as seen from here."""
        asking = self._asking
        gauges: dict[str, float] = {"revision": asking.seen}
        if self.leases:
            gauges["lease_left_seconds"] = max(0.0, min(one.until for one in self.leases.values()) - self.elapsed())
        trouble = None if asking.trouble is None else asking.trouble.trouble
        return StoreHealth(
            kind="etcd",
            at=AT,
            trouble=Trouble.CLOSED if asking.is_closed else trouble,
            reason="" if asking.trouble is None else str(asking.trouble),
            since=asking.since,
            gauges=gauges,
        )

    async def close(self) -> None:
        """Give the leases back and stop; watchers and later callers get `StoreUnavailable`."""
        if self._asking.is_closed:
            return
        leases = tuple(self.leases.values())
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for lease in leases:
                    await self.revoke(lease)
        self._asking.is_closed = True
        for lease in leases:
            lease.end()
        self._following.move()

    # What is beneath.

    def elapsed(self) -> float:
        """Return the instance's own monotonic time."""
        return self._asking.elapsed()

    def _leases_of(self, writes: Iterable[Write]) -> dict[str, int]:
        found = {}
        for write in writes:
            if isinstance(write, Put) and write.lease is not None:
                if not isinstance(write.lease, SimLease):
                    raise ValueError(f"the lease of {write.key} is not one of this store")
                if write.lease.lost.is_set():
                    told = f"the lease of {write.key} is over"
                    raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.LEASE_OVER)
                found[write.key] = write.lease.number
        return found

    def _as_of(self, floor: int) -> int:
        """Return the revision that a read is of; at the store."""
        now, ago, self._stale = self.store.now, self._stale, 0
        revision = min(now, max(floor, now - ago))
        if revision < now:
            self.happened["stale read"] += 1
        return revision
