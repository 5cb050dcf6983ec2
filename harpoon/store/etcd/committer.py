"""Group commit: what waits at the same time becomes one transaction of etcd, and callers never see it.

A commit that finds nothing under way is sent at once; while some are, the others gather. Nothing is sent twice when
its outcome is unknown; what etcd has refused for certain as a whole is sent again one by one, so that each caller
gets an answer of its own.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.etcd import wire
from harpoon.store.etcd.batch import pack
from harpoon.store.etcd.members import WRITE_S, Members
from harpoon.store.etcd.rpc import TXN
from harpoon.store.etcd.vitals import Vitals
from harpoon.store.port import Compare, Put, StoreUnavailable, Trouble, Write

#: Transactions under way at once; one that takes long no longer counts, as what etcd has lost is not to hold up the
#: rest, up to a number in all.
PIPELINE: Final = 2
LONG_S: Final = 1.0
UNDER_WAY_MAX: Final = 8
#: A commit waits so long to be sent.
COMMIT_S: Final = 5.0
#: A transaction is given at least so long, however long its commits have waited.
SEND_S: Final = 1.0
#: How often those that wait are looked through for ones that have waited too long.
SWEEP_S: Final = 0.5
#: Commits that may wait for etcd, and their bytes.
WAITING_MAX: Final = 10_000
WAITING_BYTES_MAX: Final = 64 << 20
#: What concerns one commit of a batch, and not all.
_OF_ONE: Final = frozenset({Trouble.BROKEN, Trouble.LEASE_OVER, Trouble.DENIED})


@dataclass(slots=True, eq=False)
class Commit:
    """A commit that waits, or is under way."""

    compares: Sequence[Compare]
    writes: Sequence[Write]
    #: Key → id of the lease it is put under.
    leases: Mapping[str, int]
    size: int
    done: asyncio.Future[int | None]
    #: When its caller came, by the event loop's clock.
    since: float
    is_sent: bool = False


class Committer:
    """Sends commits; `run` has to be running."""

    def __init__(self, members: Members, vitals: Vitals) -> None:
        self._members = members
        self._vitals = vitals
        self._queue: deque[Commit] = deque()
        #: All that have no answer yet.
        self._waiting: set[Commit] = set()
        self._bytes = 0
        self._is_over = False
        self._is_fed = asyncio.Event()
        self._pipeline = asyncio.Semaphore(PIPELINE)
        self._under_way = asyncio.Semaphore(UNDER_WAY_MAX)
        #: Bytes written so far.
        self.written = 0

    async def commit(
        self, compares: Sequence[Compare], writes: Sequence[Write], leases: Mapping[str, int], size: int
    ) -> int | None:
        """Commit within the limits that `commit.check` has checked; see `store.port.Store.commit`."""
        if self._is_over:
            raise StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)
        if len(self._waiting) >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX:
            raise self._vitals.fail(
                StoreUnavailable("too many commits wait for etcd", maybe_applied=False, trouble=Trouble.OVERLOADED)
            )
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int | None] = loop.create_future()
        commit = Commit(compares, writes, leases, size, done, loop.time())
        self._queue.append(commit)
        self._is_fed.set()
        self._waiting.add(commit)
        self._bytes += size
        try:
            return await done
        finally:
            self._waiting.discard(commit)
            self._bytes -= size

    async def run(self) -> None:
        """Send what is given until cancelled; what waits then is refused."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep())
                while True:
                    await self._pipeline.acquire()
                    await self._under_way.acquire()
                    while not self._queue:
                        self._is_fed.clear()
                        await self._is_fed.wait()
                    group.create_task(self._carry(self._take()))
        finally:
            self._is_over = True
            self._queue.clear()
            for commit in tuple(self._waiting):
                told = "the store was closed before etcd answered" if commit.is_sent else "the store is closed"
                _refuse([commit], StoreUnavailable(told, maybe_applied=commit.is_sent, trouble=Trouble.CLOSED))

    async def _carry(self, batch: list[Commit]) -> None:
        """Send a batch, and make room for the next one when it is answered, or late."""
        is_counted = True

        def release() -> None:
            nonlocal is_counted
            if is_counted:
                is_counted = False
                self._pipeline.release()

        late = asyncio.get_running_loop().call_later(LONG_S, release)
        try:
            await self._send(batch)
        finally:
            late.cancel()
            release()
            self._under_way.release()

    async def _sweep(self) -> None:
        """Refuse what has waited for too long before it was sent."""
        loop = asyncio.get_running_loop()
        while True:
            await self._is_fed.wait()
            await asyncio.sleep(SWEEP_S)
            late: list[Commit] = []
            while self._queue and self._queue[0].since < loop.time() - COMMIT_S:
                late.append(self._queue.popleft())
            if late:
                told = "etcd does not keep up: the commit has waited too long to be sent"
                error = StoreUnavailable(told, maybe_applied=False, trouble=Trouble.OVERLOADED)
                self._vitals.fail(error)
                _refuse(late, error)

    def _take(self) -> list[Commit]:
        looked_at, places = pack(self._queue)
        candidates = [self._queue.popleft() for _ in range(looked_at)]
        chosen = set(places)
        self._queue.extendleft([commit for place, commit in enumerate(candidates) if place not in chosen][::-1])
        # A caller that has given up before anything was sent need not be served.
        return [candidates[place] for place in places if not candidates[place].done.done()]

    async def _send(self, batch: list[Commit]) -> None:
        if not batch:
            return
        for commit in batch:
            commit.is_sent = True
        is_alone = len(batch) == 1
        is_put = any(isinstance(write, Put) for commit in batch for write in commit.writes)
        request = pb.TxnRequest()
        for commit in batch:
            transaction = request if is_alone else request.success.add().request_txn
            wire.fill(transaction, commit.compares, commit.writes, commit.leases)
        if is_put and not is_alone:
            wire.count_space(request)
        waited = asyncio.get_running_loop().time() - batch[0].since
        within = min(WRITE_S, max(SEND_S, COMMIT_S - waited))
        try:
            answer = await self._members.write(TXN, request, within_s=within, is_put=is_put)
        except StoreUnavailable as error:
            if is_alone or error.maybe_applied or error.trouble not in _OF_ONE:
                _refuse(batch, error)
            else:
                await self._send_singly(batch, error)
            return
        self._vitals.counts["batches"] += 1
        self._vitals.counts["commits"] += len(batch)
        outcomes = [wire.outcome(answer)] if is_alone else wire.outcomes(answer)
        for commit, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                self.written += commit.size
            if not commit.done.done():
                commit.done.set_result(outcome)

    async def _send_singly(self, batch: list[Commit], error: StoreUnavailable) -> None:
        """Send commits of a batch one by one, as long as their callers wait; the rest gets its error."""
        loop = asyncio.get_running_loop()
        while batch and batch[0].since > loop.time() - COMMIT_S:
            await self._send([batch.pop(0)])
        _refuse(batch, error)


def _refuse(commits: Sequence[Commit], error: StoreUnavailable) -> None:
    for commit in commits:
        if not commit.done.done():
            # One each: an exception that is raised in several places gathers all their tracebacks.
            told = StoreUnavailable(str(error), maybe_applied=error.maybe_applied, trouble=error.trouble)
            commit.done.set_exception(told)
