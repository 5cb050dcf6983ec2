"""The store of a simulation: one for all instances, linearizable, in memory, at a node of its own.

It fails as an etcd does: leases run out by its own clock, up to a second late, as one revision; a new leader starts all
of them afresh; without a quorum requests wait, and some of the commits among them are carried out when there is one again,
and some are not. Instances reach it by a `tests.sim.way.SimWay` each; what is called ``serve…`` runs at the store's node.
What a plan of faults calls may be called from anywhere.
"""

import asyncio
import contextvars
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final

from harpoon.kit.clock import Clock, Random
from harpoon.store.commit import decide, prefix_end
from harpoon.store.memory import MemoryStore
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compacted,
    Delete,
    Entry,
    Lease,
    Put,
    Renewal,
    StoreUnavailable,
    Trouble,
    Write,
)
from tests.sim.orders import Granted, Order, Past
from tests.sim.telling import Telling, Word

if TYPE_CHECKING:
    from tests.sim.way import SimWay

#: No lease is shorter; and one that ran out is let go up to so much later.
TTL_MIN_S: Final = 2
LATE_S: Final = 1.0
#: A new leader gives every lease so much more than its ttl.
ELECTION_S: Final = 1.0
#: Of the commits that wait while there is no quorum, so many are carried out when there is one.
SURVIVING: Final = 0.5
#: Of a job that waits for room, the record in which it says that tasks of others go for it.
_PREEMPTS: Final = b'"awaited":["'

Hear = Callable[[int, tuple[Change, ...]], None]


class SimStore(MemoryStore):
    """See the module; make it in a context of its node, whose clock it then goes by.

    Args:
        clock: What leases are timed by.
        rng: Decides how late a lease is let go, and which commits survive their leader.
    """

    def __init__(self, clock: Clock, rng: Random) -> None:
        super().__init__(clock=clock)
        self._here = contextvars.copy_context()
        self._rng = rng
        #: That of revision n is at n - 1; nothing is ever dropped here.
        self.past: list[Past] = []
        self.leases: dict[int, Granted] = {}
        #: What came to pass, by name; for assertions that it sometimes does.
        self.happened: Counter[str] = Counter()
        #: Called at the store before a commit is tried, and after one that wrote something, with its revision.
        self.before_commit: Callable[[SimWay, Sequence[Write]], None] | None = None
        self.after_commit: Callable[[SimWay, Sequence[Write], int], None] | None = None
        self._hearers: list[Hear] = []
        self._there = asyncio.Event()
        self._there.set()
        self._expiry: asyncio.TimerHandle | None = None
        self._telling = Telling(self)

    # What a plan of faults asks, and whoever keeps the history.

    def listen(self, hear: Hear) -> None:
        """Have ``hear`` called with each revision as it happens, in order."""
        self._hearers.append(hear)

    @property
    def now(self) -> int:
        """The present revision."""
        return self._feed.revision

    @property
    def oldest(self) -> int:
        """The lowest revision that a watch may be resumed after."""
        return self._compacted

    @property
    def is_away(self) -> bool:
        """Whether there is no quorum: requests wait, leases do not run out, watches are silent."""
        return not self._there.is_set()

    def leave(self) -> None:
        """Be without a quorum until `come_back`."""
        self.happened["store away"] += 1
        self._there.clear()

    def come_back(self) -> None:
        """Have a quorum again, and with it a new leader."""
        self._there.set()
        self.extend_leases()

    def extend_leases(self) -> None:
        """Let every lease begin anew, as when another leader takes over; also one that ran out and is still there."""
        now = self.time()
        for lease in self.leases.values():
            self.happened["lease extended"] += 1
            self._restart(lease, now, ELECTION_S)
        self._look_later()

    def drop_history(self, revision: int | None = None) -> None:
        """Drop the history up to a revision, or all."""
        self.happened["history compacted"] += 1
        self._compact(self.now if revision is None else revision)

    def end_lease(self, number: int) -> None:
        """Let a lease go, whoever thinks to have it."""
        lease = self.leases.pop(number, None)
        if lease is None:
            return
        keys = sorted(key for key, holder in self._leased.items() if holder is lease)
        changes = decide(self._entries, (), [Delete(key) for key in keys], self.now + 1)
        if changes:
            self._apply(changes)

    def row(self, key: str, revision: int) -> Entry | None:
        """Return a key as it was at a revision."""
        for past in self.past[revision:]:
            for touched, entry in past.before:
                if touched == key:
                    return entry
        return self._entries.get(key)

    def rows(self, prefix: str, revision: int | None = None) -> list[Entry]:
        """Return all keys under a prefix as they were at a revision, or are."""
        end = prefix_end(prefix)
        stop = len(self._keys) if end is None else bisect_left(self._keys, end)
        keys = self._keys[bisect_left(self._keys, prefix) : stop]
        if revision is None or revision >= self.now:
            return [self._entries[key] for key in keys]
        found = {key: self._entries[key] for key in keys}
        for past in reversed(self.past[revision:]):
            for key, entry in past.before:
                if key.startswith(prefix):
                    if entry is None:
                        del found[key]
                    else:
                        found[key] = entry
        return [found[key] for key in sorted(found)]

    # What ways ask, at the store's node.

    async def serve(self) -> None:
        """Wait until there is a quorum; what only reads is done then."""
        if not self._there.is_set():
            await self._there.wait()

    async def serve_write(self) -> None:
        """Likewise for what writes, unless it was with a leader that is none any more.

        Raises:
            StoreUnavailable: It was; it did not happen, but nobody knows.
        """
        if not self._there.is_set():
            await self._there.wait()
            if self._rng.random() >= SURVIVING:
                self.happened["write lost with its leader"] += 1
                told = "etcdserver: request timed out, possibly due to previous leader failure"
                raise StoreUnavailable(told, maybe_applied=True, trouble=Trouble.TIMEOUT)

    async def serve_commit(self, order: Order) -> tuple[int, int | None]:
        """Carry a commit out; return the store's revision, and that of the commit."""
        await self.serve_write()
        fate, span_s = order.way.fates.popleft() if order.way.fates else ("", 0.0)
        if fate == "late":
            await asyncio.sleep(span_s)
        revision = self._carry_out(order)
        if fate == "silent":
            self.happened["commit not answered"] += 1
            await asyncio.Event().wait()
        return self.now, revision

    async def serve_grant(self, way: "SimWay", ttl_s: int) -> tuple[int, Granted]:
        """Grant a lease."""
        await self.serve_write()
        self._granted += 1
        lease = self.leases[self._granted] = Granted(self._granted, max(ttl_s, TTL_MIN_S), way)
        self._restart(lease, self.time(), 0.0)
        self._look_later()
        return self.now, lease

    async def serve_keep_alive(self, number: int) -> int:
        """Renew a lease; return for how many seconds, 0: it is over."""
        await self.serve()
        lease, now = self.leases.get(number), self.time()
        if lease is None or lease.deadline <= now:
            return 0
        self._restart(lease, now, 0.0)
        return lease.ttl_s

    async def serve_revoke(self, number: int) -> tuple[int, None]:
        """Let a lease go."""
        await self.serve_write()
        self.end_lease(number)
        return self.now, None

    def serve_watch(self, way: "SimWay", prefix: str, after: int) -> AsyncIterator[Word | Compacted]:
        """Tell a way what happens under a prefix."""
        return self._telling.tell(way, prefix, after)

    # What is the store's own.

    def _carry_out(self, order: Order) -> int | None:
        if self.before_commit is not None:
            self.before_commit(order.way, order.writes)
        changes = decide(self._entries, order.compares, order.writes, self.now + 1)
        is_late = order.is_given_up or order.way.is_gone
        if changes is None:
            self.happened["commit refused late"] += is_late
            return None
        if any(number not in self.leases for number in order.leases.values()):
            told = "etcdserver: requested lease not found"
            raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.LEASE_OVER)
        if changes:
            self.happened["commit applied late"] += is_late
            puts = (write for write in order.writes if isinstance(write, Put))
            self.happened["waits for what it preempts"] += sum(_PREEMPTS in put.value for put in puts)
            self._apply(changes)
            for key, number in order.leases.items():
                self._leased[key] = self.leases[number]
            self._commits += 1
            if self.after_commit is not None:
                self.after_commit(order.way, order.writes, self.now)
        return self.now

    def _apply(self, changes: tuple[Change, ...]) -> None:
        before = tuple([Change(key, self._entries.get(key)) for key, _ in changes])
        self.past.append(Past(changes, before, self.time()))
        super()._apply(changes)
        for hear in self._hearers:
            hear(self.now, changes)
        self._telling.wake()

    def time(self) -> float:
        """Return the store's own time, whoever asks."""
        return self._here.run(self._clock.now).elapsed.total_seconds()

    def _restart(self, lease: Granted, now: float, extra_s: float) -> None:
        lease.deadline = now + lease.ttl_s + extra_s
        lease.over_at = lease.deadline + self._rng.uniform(0, LATE_S)

    def _look_later(self) -> None:
        """Look at the leases when the first may be over; those that were renewed meanwhile are looked at again."""
        if self._expiry is None and self.leases:
            left = min(lease.over_at for lease in self.leases.values()) - self.time()
            loop = asyncio.get_running_loop()
            self._expiry = self._here.run(loop.call_later, max(0.001, left), self._look)

    def _look(self) -> None:
        self._expiry = None
        if self.is_away:
            return
        now = self.time()
        for lease in [lease for lease in self.leases.values() if lease.over_at <= now]:
            self._note_expiry(lease)
            self.end_lease(lease.number)
        self._look_later()

    def _note_expiry(self, lease: Granted) -> None:
        held = lease.way.leases.get(lease.number)
        is_known = held is None or held.lost.is_set() or lease.way.is_gone
        self.happened["lease expired" if is_known else "lease expired before its holder knew"] += 1

    def _expire(self) -> None:
        """Of the leases that the store in memory would renew by itself there are none."""

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        raise AssertionError("a lease is granted over a way")
