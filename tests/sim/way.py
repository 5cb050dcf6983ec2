"""The way of one instance to the store of a simulation: `harpoon.store.port.Store` over a network.

It does what the client of etcd does, with the same patience: a read is asked again until its time is over, a write only
when it certainly was not carried out; a failure moves the watches; a watch goes on where it stopped, for ever; a lease
is renewed, and counted, by `harpoon.store.renewing`. One thing is left out: commits do not share transactions.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from math import ceil
from typing import Final, Protocol, TypeVar

from harpoon.kit.clock import Clock, Random
from harpoon.store.commit import check
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compacted,
    Compare,
    Entry,
    Lease,
    Page,
    Put,
    Renewal,
    Rewound,
    RolledBack,
    StoreHealth,
    StoreUnavailable,
    Trouble,
    Write,
)
from tests.sim.lost import Lost
from tests.sim.store import AT, Order, SimStore, Word
from tests.sim.way_lease import SimLease

#: As of `harpoon.store.etcd`, which a simulation does not load: it is threads and sockets.
CONNECT_S: Final = 1.0
FIND_S: Final = 2.0
READ_S: Final = 2.0
READ_IN_ALL_S: Final = 5.0
TRY_S: Final = 0.5
WRITE_S: Final = 3.0
BACKOFF_S: Final = (0.1, 1.0)
CLOSE_S: Final = 1.0
#: A connection that shows no life for so long is gone: a ping's interval, and the time in which it is answered.
SILENCE_S: Final = 9.0
PAGE_KEYS: Final = (100, 5_000)

T = TypeVar("T")


class Net(Protocol):
    """What a way needs of a network: asking from the present node, and listening; both raise `Lost`."""

    async def call(self, to: str, make: Callable[[], Awaitable[T]], *, connect_s: float, within_s: float) -> T:
        """Have something done at a node, and return what comes of it; what it raises is raised."""

    def stream(
        self, to: str, make: Callable[[], AsyncIterator[T]], *, connect_s: float, silence_s: float
    ) -> AsyncIterator[T]:
        """Follow what a node says, whole and in order."""


class SimWay:
    """One instance's store; made and used at its node.

    Args:
        store: What is reached.
        net: How.
        clock: The instance's own; its leases are counted by it.
        rng: For pauses between tries.
    """

    def __init__(self, store: SimStore, net: Net, *, clock: Clock, rng: Random) -> None:
        self.store = store
        self.net = net
        self.clock = clock
        self._rng = rng
        #: The highest revision that any answer told.
        self.seen = 0
        #: What came to pass, by name; for assertions that it sometimes does.
        self.happened: Counter[str] = Counter()
        #: A fault: watches are told of revisions so late.
        self.lag_s = 0.0
        #: The instance was killed; whoever kills it says so, for what is counted, and to spare the store its watches.
        self.is_gone = False
        #: A fault: what becomes of the next commits: ``late``, by so many seconds, or ``silent``: never answered.
        self.fates: deque[tuple[str, float]] = deque()
        self.leases: dict[int, SimLease] = {}
        self._gap = 0
        self._left_out: dict[int, None] = {}
        self._stale = 0
        self._is_rewinding = False
        self._scopes: dict[asyncio.Timeout, None] = {}
        self._is_closed = False
        self._rounds = 0
        self._trouble: StoreUnavailable | None = None
        self._since: timedelta | None = None

    # Faults.

    def gap(self, revisions: int) -> None:
        """Leave the next revisions that change something out of the watches, as if they had told of them."""
        self._gap += revisions

    def stale(self, revisions: int) -> None:
        """Answer the next list or get as of so many revisions ago, but not below any that this way was told of.

        The contract promises reads of the present, and etcd keeps that. What an instance was told, by whichever answer,
        it would notice to be gone, and end (`RolledBack`); what others wrote meanwhile it could not miss. So a stale
        answer is one that a read served by a lagging member would give, and nothing that is safe may rest on it.
        """
        self._stale = revisions

    def rewind(self) -> None:
        """Have the next watch that is told something be told what it had been told before."""
        self._is_rewinding = True

    def break_watches(self) -> None:
        """Break the streams of all watches; they are resumed where they stopped."""
        scopes, self._scopes = self._scopes, {}
        for scope in scopes:
            scope.reschedule(0)

    def leaves_out(self, revision: int) -> bool:
        """Whether watches are not told of a revision. For the store."""
        if self._gap and revision not in self._left_out:
            self._gap -= 1
            self._left_out[revision] = None
            self.happened["watch gap"] += 1
        return revision in self._left_out

    def note_expiry(self, number: int) -> None:
        """Take note, for what is counted, of whether the holder of a lease that ran out knew. For the store."""
        lease = self.leases.get(number)
        is_known = lease is None or lease.lost.is_set() or self.is_gone
        self.happened[
            "lease expired after its holder knew" if is_known else "lease expired before its holder knew"
        ] += 1

    # The contract.

    async def get(self, key: str) -> Entry | None:
        """Return the key as it is now, or None."""
        floor = self.seen

        async def make() -> tuple[int, Entry | None]:
            await self.store.serve()
            revision = self._as_of(floor)
            return revision, self.store.row(key, revision)

        return await self._read(make)

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        """Yield all keys under ``prefix`` in pages of one revision."""
        floor, listed, place, limit = self.seen, [], 0, PAGE_KEYS[0]
        revision = 0

        async def first() -> tuple[int, None]:
            nonlocal listed, revision
            await self.store.serve()
            revision = self._as_of(floor)
            listed = self.store.rows(prefix, revision)
            return revision, None

        async def further() -> tuple[int, bool]:
            await self.store.serve()
            return self.store.now, revision >= self.store.oldest

        await self._read(first)
        while True:
            yield Page(revision, tuple(listed[place : place + limit]))
            place, limit = place + limit, min(8 * limit, PAGE_KEYS[1])
            if place >= len(listed):
                return
            if not await self._read(further):
                told = f"the list of {prefix!r} took longer than history is kept; list again"
                raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.OVERLOADED)

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        """Write all of ``writes`` if all of ``compares`` hold, durably."""
        check(compares, writes)
        order = Order(self, compares, writes, self._leases_of(writes))
        try:
            return await self._write(lambda: self.store.serve_commit(order))
        finally:
            order.is_given_up = True

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        """Yield every revision above ``after``, whole; resumed until it cannot be."""
        told, pause, is_first = after, BACKOFF_S[0], True
        while True:
            self._check_open()
            if not is_first:
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
                pause = min(2 * pause, BACKOFF_S[1])
                if not await self._is_in_step(told):
                    continue
                self.happened["watch resumed"] += 1
            is_first = False
            with suppress(Lost):
                async with aclosing(self._words(prefix, told)) as words:
                    async for word in words:
                        pause = BACKOFF_S[0]
                        assert word.after <= told, "a connection keeps its order"
                        if self._is_rewinding and word.revisions:
                            self._is_rewinding = False
                            self.happened["watch rewound"] += 1
                            raise Rewound(f"the store told revision {told} of {prefix!r} again")
                        for revision, changes in word.revisions:
                            if revision > told:
                                yield revision, changes
                                told = revision

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        """Grant a lease that renews itself until it is revoked, or cannot be renewed in time."""
        sent = self.elapsed()
        granted = await self._write(lambda: self.store.serve_grant(self, ceil(ttl_s)))
        lease = SimLease(self, granted.number, granted.ttl_s, sent, renewal)
        self.leases[granted.number] = lease
        lease.start()
        return lease

    async def revoke(self, lease: SimLease) -> None:
        """End a lease now; for the lease."""
        self.leases.pop(lease.number, None)
        try:
            await self._write(lambda: self.store.serve_revoke(lease.number))
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

        await self._write(make)

    async def revision(self) -> int:
        """Return the current revision."""

        async def make() -> tuple[int, int]:
            await self.store.serve()
            return self.store.now, self.store.now

        return await self._read(make)

    def health(self) -> StoreHealth:
        """Tell how the store does, as seen from here."""
        trouble = None if self._trouble is None else self._trouble.trouble
        gauges: dict[str, float] = {"revision": self.seen}
        if self.leases:
            gauges["lease_left_seconds"] = max(0.0, min(one.until for one in self.leases.values()) - self.elapsed())
        return StoreHealth(
            kind="etcd",
            at=AT,
            trouble=Trouble.CLOSED if self._is_closed else trouble,
            reason="" if self._trouble is None else str(self._trouble),
            since=self._since,
            gauges=gauges,
        )

    async def close(self) -> None:
        """Give the leases back and stop."""
        if self._is_closed:
            return
        leases = tuple(self.leases.values())
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for lease in leases:
                    await self.revoke(lease)
        self._is_closed = True
        for lease in leases:
            lease.end()
        self.break_watches()

    # What is beneath.

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)

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

    async def _words(self, prefix: str, told: int) -> AsyncIterator[Word]:
        """Follow one stream until it breaks off."""
        stream = self.net.stream(
            AT, lambda: self.store.serve_watch(self, prefix, told), connect_s=CONNECT_S, silence_s=SILENCE_S
        )
        async with aclosing(stream):
            while True:
                scope = asyncio.timeout(None)
                try:
                    async with scope:
                        self._scopes[scope] = None
                        word = await anext(stream)
                except (TimeoutError, StopAsyncIteration):
                    self._check_open()
                    raise Lost("the stream was broken", is_sent=True) from None
                finally:
                    self._scopes.pop(scope, None)
                if isinstance(word, Compacted):
                    raise word
                self.seen = max(self.seen, word.until)
                yield word

    async def _is_in_step(self, told: int) -> bool:
        """Whether the store can be asked, and has not gone back behind what was told."""
        try:
            now = await self.revision()
        except RolledBack:
            raise
        except StoreUnavailable:
            return False
        if now < told:
            raise RolledBack(told, now)
        return True

    def elapsed(self) -> float:
        """Return the instance's own monotonic time."""
        return self.clock.now().elapsed.total_seconds()

    def _as_of(self, floor: int) -> int:
        """Return the revision that a read is of; at the store."""
        now, ago, self._stale = self.store.now, self._stale, 0
        revision = min(now, max(floor, now - ago))
        self.happened["stale read"] += revision < now
        return revision

    async def _read(self, make: Callable[[], Awaitable[tuple[int, T]]]) -> T:
        """Ask for something until it is answered, or long enough."""
        floor, since = self.seen, self.elapsed()
        while True:
            self._check_open()
            try:
                revision, answer = await self.net.call(AT, make, connect_s=CONNECT_S, within_s=READ_S)
            except Lost as lost:
                error = self._fail(lost, maybe_applied=False)
                if self.elapsed() - since >= (READ_IN_ALL_S if lost.is_sent else FIND_S):
                    raise error from None
            else:
                self._succeed(revision)
                if revision < floor:
                    raise RolledBack(floor, revision)
                return answer
            await self._rest()

    async def _write(self, make: Callable[[], Awaitable[tuple[int, T]]]) -> T:
        """Have something done, and again if it was not, but at most once."""
        make, since = _once(make), self.elapsed()
        while True:
            self._check_open()
            left = since + WRITE_S - self.elapsed()
            try:
                revision, answer = await self.net.call(AT, make, connect_s=CONNECT_S, within_s=max(TRY_S, left))
            except Lost as lost:
                error = self._fail(lost, maybe_applied=lost.is_sent)
                if lost.is_sent or self.elapsed() - since >= FIND_S:
                    raise error from None
            else:
                self._succeed(revision)
                return answer
            await self._rest()

    async def _rest(self) -> None:
        rounds, self._rounds = self._rounds, min(self._rounds + 1, 10)
        await asyncio.sleep(min(BACKOFF_S[0] * 2**rounds, BACKOFF_S[1]) * self._rng.uniform(0.5, 1.0))

    def _succeed(self, revision: int) -> None:
        self.seen = max(self.seen, revision)
        self._rounds, self._trouble, self._since = 0, None, None

    def _fail(self, lost: Lost, *, maybe_applied: bool) -> StoreUnavailable:
        self.happened["outcome unknown" if maybe_applied else "not answered"] += 1
        trouble = Trouble.TIMEOUT if lost.is_sent else Trouble.UNREACHABLE
        error = StoreUnavailable(f"the store: {lost}", maybe_applied=maybe_applied, trouble=trouble)
        self._trouble, self._since = error, self._since or self.clock.now().elapsed
        # What is open to a member that does not answer is opened anew.
        self.break_watches()
        return error


def _once(make: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """Have something happen once however often it arrives, as what is sent over a connection does."""
    outcome: asyncio.Future[T] | None = None

    async def arrive() -> T:
        nonlocal outcome
        if outcome is not None:
            return await asyncio.shield(outcome)
        outcome = asyncio.get_running_loop().create_future()
        try:
            result = await make()
        except StoreUnavailable as error:
            outcome.set_exception(error)
            # Taken note of, lest it is told that nobody did.
            outcome.exception()
            raise
        outcome.set_result(result)
        return result

    return arrive
