"""One watch, resumed wherever it broke off: each revision once, whole and in order, or the news that it cannot be.

etcd may end a stream at any time, and a member's later one may begin anywhere. So a watch is opened at the last
revision that was told, and what is told again is dropped. That revision and not the one after it: etcd refuses to begin
*before* the revision it was compacted at, but would begin *at* it, where deletions may be missing already.

A response's own revision is the member's, not that of its events, which may be far behind; only a response without
events tells that nothing is missing up to it.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import grpc
import grpc.aio

from harpoon.kit.clock import Random
from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.etcd import wire
from harpoon.store.etcd.judge import is_login_over
from harpoon.store.etcd.members import BACKOFF_S, Member, Members
from harpoon.store.etcd.rpc import RANGE, WATCH, metadata
from harpoon.store.etcd.vitals import Vitals
from harpoon.store.feed import Revision, Subscription
from harpoon.store.port import Compacted, Rewound, RolledBack, SlowWatcher, StoreUnavailable, Trouble

#: A watcher that has room for nothing more, and reads nothing for so long, is cut off.
SLOW_S: Final = 5.0
#: The cheapest question that tells the store's revision; of a key that a user with a role on ``/h/`` may read.
REVISION: Final = pb.RangeRequest(key=b"/h/", limit=1, count_only=True)


class Watching:
    """A watch of one prefix; `run` fills ``queue`` until something ends it."""

    def __init__(self, members: Members, vitals: Vitals, rng: Random, prefix: str, after: int) -> None:
        self.queue = Subscription(prefix, after)
        #: Everything up to here was told.
        self.told = after
        self.member: Member | None = None
        self._members = members
        self._vitals = vitals
        self._rng = rng
        self._key, self._end = wire.span(prefix)
        #: The stream's call, once etcd has said that the watch is there.
        self._created: Any = None
        self._is_asking = False
        #: Of reading one stream: what waits is cancelled, as gRPC leaves waiting for ever whoever writes to a call that
        #: is cancelled itself.
        self._scope: asyncio.Timeout | None = None
        self._pause = BACKOFF_S[0]
        #: Whether the stream may still tell the last revision again.
        self._is_resuming = False

    async def run(self) -> None:
        """Follow the store; ends, with the queue, when what follows cannot be told."""
        try:
            await self._follow()
        except (Compacted, Rewound, StoreUnavailable) as error:
            self.queue.end(error)
        finally:
            self.queue.end(StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED))

    def move(self) -> None:
        """Leave the member; the watch is resumed on another."""
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.reschedule(0)

    async def ask(self) -> None:
        """Ask how far this watch has come, when nothing was told for a while; the answer is told like the rest."""
        call = self._created
        if call is None or self._is_asking:
            return
        # Only one may write to a call at a time.
        self._is_asking = True
        try:
            await call.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
        finally:
            self._is_asking = False

    async def _follow(self) -> None:
        is_first = True
        while not self.queue.is_over:
            if not is_first:
                await asyncio.sleep(self._pause * self._rng.uniform(0.5, 1.0))
                self._pause = min(2 * self._pause, BACKOFF_S[1])
                if not await self._is_in_step():
                    continue
                self._vitals.counts["watch_resumes"] += 1
            is_first = False
            self.member = member = await self._members.find(None)
            try:
                await self._attend(member)
            except grpc.aio.AioRpcError as error:
                if is_login_over(error.code(), error.details() or ""):
                    self._members.token = ""
                self._members.refused(member, error.code(), error.details() or "")

    async def _attend(self, member: Member) -> None:
        """Read one stream to its end, or until its member is left."""
        try:
            async with asyncio.timeout(None) as self._scope:
                await self._read(member)
        except TimeoutError:
            return
        finally:
            self._scope = self._created = None

    async def _is_in_step(self) -> bool:
        """Whether the store can be asked, and has not gone back behind what was told.

        Raises:
            RolledBack: It has.
        """
        try:
            now = (await self._members.read(RANGE, REVISION)).header.revision
        except RolledBack:
            raise
        except StoreUnavailable:
            return False
        if now < self.told:
            raise RolledBack(self.told, now)
        return True

    async def _read(self, member: Member) -> None:
        """Tell what a stream tells, no faster than the watcher reads."""
        # Revision 0 would mean: from now on.
        start = max(1, self.told)
        create = pb.WatchCreateRequest(key=self._key, range_end=self._end, start_revision=start, progress_notify=True)
        self._is_resuming = True
        call = member.call(WATCH)(metadata=metadata(self._members.token))
        try:
            await call.write(pb.WatchRequest(create_request=create))
            while (response := await call.read()) is not grpc.aio.EOF:
                if response.canceled:
                    return self._hear_end(response)
                if response.created:
                    self._created = call
                for revision, changes in self._hear(response):
                    if self.queue.is_half_full:
                        await self._wait_for_room()
                    self.queue.offer(revision, changes)
                if self.queue.is_over:
                    return None
            return None
        finally:
            call.cancel()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(SLOW_S):
                await self.queue.room()
        except TimeoutError:
            self.queue.end(SlowWatcher(f"the watcher of {self.queue.prefix!r} has read nothing for {SLOW_S:.0f} s"))

    def _hear(self, response: pb.WatchResponse) -> Iterator[Revision]:
        """Yield what a response tells that was not told yet; what was taken by then counts as told, and no more."""
        self._members.saw(response.header.revision)
        if response.created:
            return
        self._pause = BACKOFF_S[0]
        self._members.succeed()
        self._is_resuming = self._is_resuming and bool(response.events)
        if not response.events and response.header.revision > self.told:
            yield response.header.revision, ()
            self.told = response.header.revision
        for revision, changes in wire.revisions(response.events):
            if revision > self.told:
                yield revision, changes
                self.told = revision
            elif revision < self.told or not self._is_resuming:
                raise Rewound(f"etcd told revision {revision} of {self.queue.prefix!r} after {self.told}")
            self._is_resuming = False

    def _hear_end(self, response: pb.WatchResponse) -> None:
        """Take note of why etcd ended the stream."""
        if response.compact_revision:
            raise Compacted(response.compact_revision)
        reason = response.cancel_reason or "the watch was ended without a reason"
        if is_login_over(grpc.StatusCode.UNKNOWN, reason) or "permission denied" in reason:
            # A token that ran out is answered like that, too.
            self._members.token = ""
        assert self.member is not None, "a stream is one of a member"
        self._members.refused(self.member, grpc.StatusCode.UNAVAILABLE, reason)
