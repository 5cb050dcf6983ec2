"""The contract of `store.port` over an etcd cluster.

What it owns runs as one task of the event loop, as an SQLite store owns a thread: the transactions under way, the
watches, and a look at the server every few seconds. Leases are renewed by a thread.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from math import ceil
from typing import Final, Self

import grpc.aio
import structlog

from harpoon.kit.clock import Clock, system_random
from harpoon.store.commit import check
from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.etcd import wire
from harpoon.store.etcd.committer import Committer
from harpoon.store.etcd.housekeeping import Housekeeping
from harpoon.store.etcd.judge import is_compacted
from harpoon.store.etcd.keeper import EtcdLease, Keeper
from harpoon.store.etcd.members import Member, Members
from harpoon.store.etcd.rpc import GRANT, RANGE, REVOKE, Credentials
from harpoon.store.etcd.vitals import Vitals
from harpoon.store.etcd.watching import REVISION, Watching
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compare,
    Entry,
    Lease,
    Page,
    Put,
    Renewal,
    RolledBack,
    StoreHealth,
    StoreUnavailable,
    Trouble,
    Write,
)
from harpoon.store.retention import KEPT_FOR
from harpoon.store.url import EtcdUrl

#: Keys of a page: few at first, as nobody knows how large they are; then more, as long as they are small. Each page
#: makes etcd count all keys that are left, so few large ones are quicker than many small ones.
_PAGE_KEYS: Final = (100, 5_000)
_PAGE_BYTES: Final = 4 << 20
_PAGE_GROWTH: Final = 8
#: A watch that was told nothing for so long is asked how far it has come, if there is more to be told.
_NUDGE_S: Final = 0.1
#: Closing tries so long to give leases back.
_CLOSE_S: Final = 1.0

_log = structlog.get_logger(__name__)


class EtcdStore:
    """A registry kept in etcd; made by `open`, given up by `close`."""

    def __init__(self, url: EtcdUrl, *, clock: Clock, kept_for: timedelta) -> None:
        rng = system_random()
        credentials = Credentials(url)
        self._rng = rng
        self._vitals = Vitals(clock)
        self._members = Members(url, credentials, self._vitals, clock, rng)
        self._committer = Committer(self._members, self._vitals)
        self._keeper = Keeper(url, credentials, self._renewed)
        self._housekeeping = Housekeeping(url, self._members, self._vitals, self._committer, clock, kept_for)
        self._watchings: set[Watching] = set()
        self._nudge: asyncio.TimerHandle | None = None
        self._members.on_leave = self._move_watches
        self._members.on_seen = self._nudge_later
        self._members.on_rollback = self._end_watches
        self._is_closed = False
        self._group: asyncio.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: EtcdUrl, *, clock: Clock, kept_for: timedelta = KEPT_FOR) -> Self:
        """Connect to a cluster, and see that it can be used.

        Args:
            url: Where it is, and who we are.
            clock: What troubles and history are timed by.
            kept_for: How long history is kept, unless it becomes too much.

        Raises:
            StoreUnavailable: It cannot be reached, refuses us, or is of a version that cannot be used.
            ValueError: A file that the URL names cannot be read.
        """
        store = cls(url, clock=clock, kept_for=kept_for)
        try:
            await store._housekeeping.check_in()
        except BaseException:
            await store._members.close()
            raise
        started = asyncio.Event()
        store._main = asyncio.get_running_loop().create_task(store._run(started), name="etcd-store")
        await started.wait()
        return store

    async def get(self, key: str) -> Entry | None:
        """Return the key as it is now, or None."""
        self._check_open()
        answer = await self._members.read(RANGE, pb.RangeRequest(key=key.encode()))
        return wire.entries(answer.kvs)[0] if answer.kvs else None

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        """Yield all keys under ``prefix`` in pages of one revision."""
        self._check_open()
        key, end = wire.span(prefix)
        revision, limit = 0, _PAGE_KEYS[0]
        while True:
            request = pb.RangeRequest(key=key, range_end=end, limit=limit, revision=revision)
            try:
                answer = await self._members.read(RANGE, request)
            except StoreUnavailable as error:
                if not is_compacted(str(error)):
                    raise
                told = f"the list of {prefix!r} took longer than history is kept; list again"
                raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.OVERLOADED) from error
            revision = revision or answer.header.revision
            yield Page(revision, wire.entries(answer.kvs))
            if not answer.more:
                return
            key, limit = answer.kvs[-1].key + b"\0", _next_limit(limit, answer.ByteSize())

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        """Write all of ``writes`` if all of ``compares`` hold, durably; see `store.port.Store.commit`."""
        size = check(compares, writes)
        leases = self._leases_of(writes)
        self._check_open()
        return await self._committer.commit(compares, writes, leases, size)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        """Yield every revision above ``after``, whole; see `store.port.Store.watch`."""
        self._check_open()
        assert self._group is not None, "an open store has its tasks"
        watching = Watching(self._members, self._vitals, self._rng, prefix, after)
        self._watchings.add(watching)
        following = self._group.create_task(watching.run(), name=f"etcd-watch {prefix}")
        try:
            while True:
                yield await watching.queue.next()
        finally:
            self._watchings.discard(watching)
            following.cancel()

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        """Grant a lease that renews itself until it is revoked, or cannot be renewed in time.

        Args:
            ttl_s: Rounded up to whole seconds; etcd may make it longer, and takes up to a second more to end it.
            renewal: How often it is renewed, and how much earlier its end is told.
        """
        self._check_open()
        sent = time.monotonic()
        answer = await self._members.write(GRANT, pb.LeaseGrantRequest(TTL=ceil(ttl_s)))
        lease = EtcdLease(answer.ID, answer.TTL, sent, self._revoke, renewal)
        lease.on_lapse = self._lapse
        self._keeper.keep(lease)
        return lease

    async def compact(self, revision: int) -> None:
        """Drop the history up to and including ``revision``.

        Raises:
            ValueError: The store is not there yet.
            StoreUnavailable: The store could not answer.
        """
        self._check_open()
        now = await self.revision()
        if revision > now:
            raise ValueError(f"revision {revision} is yet to come; the store is at {now}")
        await self._housekeeping.compact(revision)

    async def revision(self) -> int:
        """Return the current revision."""
        self._check_open()
        answer = await self._members.read(RANGE, REVISION)
        return int(answer.header.revision)

    def health(self) -> StoreHealth:
        """Tell how the store does; never waits."""
        left = [max(0.0, lease.until - time.monotonic()) for lease in self._keeper.all()]
        self._vitals.gauges["revision"] = self._members.seen
        self._vitals.gauges.pop("lease_left_seconds", None)
        if left:
            self._vitals.gauges["lease_left_seconds"] = min(left)
        return self._vitals.health(self._members.current.endpoint)

    async def close(self) -> None:
        """Give the leases back and stop; watchers and later callers get `StoreUnavailable`."""
        self._is_closed = True
        try:
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    for lease in self._keeper.all():
                        await self._revoke(lease)
        finally:
            if self._nudge is not None:
                self._nudge.cancel()
            if self._main is not None:
                self._main.cancel()
                await asyncio.wait((self._main,))
            await self._members.close()

    async def _run(self, started: asyncio.Event) -> None:
        """Be the task that this store owns; what it cannot go on without ends with it."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._committer.run(), name="etcd-committer")
                self._group.create_task(self._housekeeping.run(), name="etcd-housekeeping")
                started.set()
        except Exception:
            _log.exception("etcd_store_failed")
            raise
        finally:
            for lease in self._keeper.all():
                lease.end()
            self._keeper.stop()

    def _check_open(self) -> None:
        if self._is_closed or (self._main is not None and self._main.done()):
            raise StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)

    def _leases_of(self, writes: Iterable[Write]) -> dict[str, int]:
        """Return the ids of the leases that keys are put under."""
        found = {}
        for write in writes:
            if isinstance(write, Put) and write.lease is not None:
                if not isinstance(write.lease, EtcdLease):
                    raise ValueError(f"the lease of {write.key} is not one of this store")
                if write.lease.lost.is_set():
                    told = f"the lease of {write.key} is over"
                    raise StoreUnavailable(told, maybe_applied=False, trouble=Trouble.LEASE_OVER)
                found[write.key] = write.lease.number
        return found

    async def _revoke(self, lease: EtcdLease) -> None:
        self._keeper.drop(lease)
        try:
            await self._members.write(REVOKE, pb.LeaseRevokeRequest(ID=lease.number))
        except StoreUnavailable as error:
            if error.trouble is not Trouble.LEASE_OVER:
                raise
        finally:
            lease.end()

    def _lapse(self, lease: EtcdLease) -> None:
        self._keeper.drop(lease)
        _log.warning(
            "lease_lapsed", lease=f"{lease.number:x}", ttl_s=lease.ttl_s, member=self._members.current.endpoint
        )

    def _renewed(self) -> None:
        self._vitals.counts["lease_renewals"] += 1

    def _move_watches(self, left: Member) -> None:
        # The next one may be of another release.
        self._housekeeping.can_ask_progress = False
        for watching in self._watchings:
            if watching.member is left:
                watching.move()

    def _end_watches(self, reason: RolledBack) -> None:
        for watching in self._watchings:
            watching.queue.end(RolledBack(reason.before, reason.now))
            watching.move()

    def _nudge_later(self) -> None:
        if self._nudge is None and self._watchings and self._housekeeping.can_ask_progress:
            self._nudge = asyncio.get_running_loop().call_later(_NUDGE_S, self._nudge_now)

    def _nudge_now(self) -> None:
        self._nudge = None
        behind = [watching for watching in self._watchings if watching.told < self._members.seen]
        if self._group is None or self._is_closed or not behind:
            return
        for watching in behind:
            self._group.create_task(self._ask(watching))
        # etcd answers only those that have caught up.
        self._nudge_later()

    @staticmethod
    async def _ask(watching: Watching) -> None:
        # When the stream has just broken, it is resumed anyway.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            await watching.ask()


def _next_limit(limit: int, size: int) -> int:
    """Return how many keys the next page is asked for, after one of ``size`` bytes."""
    fitting = limit * _PAGE_BYTES // max(size, 1)
    return max(10, min(_PAGE_GROWTH * limit, fitting, _PAGE_KEYS[1]))
