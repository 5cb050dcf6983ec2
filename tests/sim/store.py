"""The store of a simulation: one for all instances, linearizable, in memory, at a node of its own.

It does what an etcd does that is not asked nicely: leases run out by its own clock, up to a second late, as one revision;
a new leader starts all of them afresh; without a quorum it keeps requests waiting, and of those that wait some commits
are carried out when it is back, and some are not. Instances reach it by a `tests.sim.way.SimWay` each; what is called
``serve_…`` runs at the store's node, at the end of a way there. What a plan of faults calls may be called from anywhere.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from harpoon.kit.clock import Clock, Random
from harpoon.store.commit import decide
from harpoon.store.memory import MemoryStore
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compacted,
    Compare,
    Delete,
    Entry,
    Lease,
    Renewal,
    StoreUnavailable,
    Trouble,
    Write,
)

if TYPE_CHECKING:
    from tests.sim.way import SimWay

#: The name of its node.
AT: Final = "store"
#: No lease is shorter; and one that ran out is let go up to so much later.
TTL_MIN_S: Final = 2
LATE_S: Final = 1.0
#: A new leader gives every lease so much more than its ttl.
ELECTION_S: Final = 1.0
#: A connection shows so often that it is alive.
BEAT_S: Final = 3.0
#: Of the commits that wait while there is no quorum, so many are carried out when there is one.
SURVIVING: Final = 0.5

Revision = tuple[int, tuple[Change, ...]]
Hear = Callable[[int, tuple[Change, ...]], None]


class Past(NamedTuple):
    """A revision, kept for watches, and for answers of yesterday."""

    changes: tuple[Change, ...]
    #: What it replaced.
    before: tuple[Change, ...]
    #: When that was, by the store's clock.
    at: float


class Word(NamedTuple):
    """What a watch is told at once: everything between two revisions."""

    after: int
    until: int
    revisions: tuple[Revision, ...]


@dataclass(slots=True, eq=False)
class Granted:
    """A lease as the store has it."""

    number: int
    ttl_s: int
    #: Whoever asked for it.
    way: "SimWay"
    #: Not renewed any more after this; let go at ``over_at``.
    deadline: float = 0.0
    over_at: float = 0.0


@dataclass(slots=True, eq=False)
class Order:
    """A commit on its way."""

    way: "SimWay"
    compares: Sequence[Compare]
    writes: Sequence[Write]
    #: Key → number of the lease it is put under.
    leases: Mapping[str, int]
    #: Its author waits no longer.
    is_given_up: bool = False


class SimStore(MemoryStore):
    """See the module; make it in a context of its node, whose clock it then goes by.

    Args:
        clock: What leases are timed by.
        rng: Decides what the store's own whims do: how late a lease is let go, which waiting commits survive.
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
        self._waiters: list[asyncio.Future[None]] = []
        self._beats = 0
        self._is_beating = False

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
        self.happened["away"] += 1
        self._there.clear()

    def come_back(self) -> None:
        """Have a quorum again, and with it a new leader."""
        self._there.set()
        self.extend_leases()

    def extend_leases(self) -> None:
        """Let every lease begin anew, as when another leader takes over; also one that ran out and is still there."""
        now = self._time()
        for lease in self.leases.values():
            self.happened["lease extended"] += 1
            self._restart(lease, now, ELECTION_S)
        self._look_later()

    def drop_history(self, revision: int | None = None) -> None:
        """Compact up to a revision, or all."""
        self.happened["compacted"] += 1
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
        found = {key: entry for key, entry in self._entries.items() if key.startswith(prefix)}
        for past in [] if revision is None else reversed(self.past[revision:]):
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
            await asyncio.Event().wait()
        return self.now, revision

    async def serve_grant(self, way: "SimWay", ttl_s: int) -> tuple[int, Granted]:
        """Grant a lease."""
        await self.serve_write()
        self._granted += 1
        lease = self.leases[self._granted] = Granted(self._granted, max(ttl_s, TTL_MIN_S), way)
        self._restart(lease, self._time(), 0.0)
        self._look_later()
        return self.now, lease

    async def serve_keep_alive(self, number: int) -> int:
        """Renew a lease; return for how many seconds, 0: it is over."""
        await self.serve()
        lease, now = self.leases.get(number), self._time()
        if lease is None or lease.deadline <= now:
            return 0
        self._restart(lease, now, 0.0)
        return lease.ttl_s

    async def serve_revoke(self, number: int) -> tuple[int, None]:
        """Let a lease go."""
        await self.serve_write()
        self.end_lease(number)
        return self.now, None

    async def serve_watch(self, way: "SimWay", prefix: str, after: int) -> AsyncIterator[Word | Compacted]:
        """Tell a way what happens under a prefix, as late and with such holes as it has been made to have."""
        if not self._is_beating:
            self._is_beating = True
            self._beat()
        told, is_first = after, True
        while not way.is_gone:
            # One that keeps up is told from memory; another has to find what it lacks in the history.
            if told < self.oldest and (is_first or way.lag_s):
                self.happened["compacted under a watcher"] += 1
                yield Compacted(self.oldest)
                return
            is_first = False
            until = self._ripe(way, told)
            beats = self._beats
            if until > told:
                yield Word(told, until, self._told(way, prefix, told, until))
                told = until
            while self._ripe(way, told) <= told and not way.is_gone:
                await self._hear_more(way)
                if self._beats != beats:
                    beats = self._beats
                    yield Word(told, told, ())

    def _told(self, way: "SimWay", prefix: str, after: int, until: int) -> tuple[Revision, ...]:
        found = []
        for revision in range(after + 1, until + 1):
            changes = self.past[revision - 1].changes
            own = tuple([change for change in changes if change.key.startswith(prefix)])
            if own and not way.leaves_out(revision):
                found.append((revision, own))
        if not found or found[-1][0] < until:
            found.append((until, ()))
        return tuple(found)

    def _ripe(self, way: "SimWay", told: int) -> int:
        """Return the last revision that is old enough for a way to be told."""
        now = self.now
        if way.lag_s:
            latest = self._time() - way.lag_s
            while now > told and self.past[now - 1].at > latest + 1e-9:
                now -= 1
        return now

    async def _hear_more(self, way: "SimWay") -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if way.lag_s:
            asyncio.get_running_loop().call_later(way.lag_s / 4, _release, waiter)
        await waiter

    # What is the store's own.

    def _carry_out(self, order: Order) -> int | None:
        if self.before_commit is not None:
            self.before_commit(order.way, order.writes)
        changes = decide(self._entries, order.compares, order.writes, self.now + 1)
        if order.is_given_up or order.way.is_gone:
            order.way.happened["commit refused late" if changes is None else "commit applied late"] += 1
        if changes is None:
            return None
        if any(number not in self.leases for number in order.leases.values()):
            told = "etcdserver: requested lease not found"
            raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.LEASE_OVER)
        if changes:
            self._apply(changes)
            for key, number in order.leases.items():
                self._leased[key] = self.leases[number]
            self._commits += 1
            if self.after_commit is not None:
                self.after_commit(order.way, order.writes, self.now)
        return self.now

    def _apply(self, changes: tuple[Change, ...]) -> None:
        before = tuple([Change(key, self._entries.get(key)) for key, _ in changes])
        self.past.append(Past(changes, before, self._time()))
        super()._apply(changes)
        for hear in self._hearers:
            hear(self.now, changes)
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _release(waiter)

    def _beat(self) -> None:
        self._beats += 1
        self._wake()
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _time(self) -> float:
        return self._here.run(self._clock.now).elapsed.total_seconds()

    def _restart(self, lease: Granted, now: float, extra_s: float) -> None:
        lease.deadline = now + lease.ttl_s + extra_s
        lease.over_at = lease.deadline + self._rng.uniform(0, LATE_S)

    def _look_later(self) -> None:
        """Look at the leases when the first may be over; those that were renewed meanwhile are looked at again."""
        if self._expiry is None and self.leases:
            left = min(lease.over_at for lease in self.leases.values()) - self._time()
            loop = asyncio.get_running_loop()
            self._expiry = self._here.run(loop.call_later, max(0.001, left), self._look)

    def _look(self) -> None:
        self._expiry = None
        if self.is_away:
            return
        now = self._time()
        for lease in [lease for lease in self.leases.values() if lease.over_at <= now]:
            self.happened["lease expired"] += 1
            lease.way.note_expiry(lease.number)
            self.end_lease(lease.number)
        self._look_later()

    def _expire(self) -> None:
        """Of the leases that the store in memory would renew by itself there are none."""

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        raise AssertionError("a lease is granted over a way")


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
