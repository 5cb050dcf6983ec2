"""Group commit: what waits at the same time becomes one transaction of etcd, and callers never see it.

A commit that finds nothing under way is sent at once; while some are, the others gather. Nothing is sent twice when
its outcome is unknown; what etcd has refused for certain as a whole is sent again one by one, so that each caller
gets an answer of its own.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harpoon.store.etcd import wire
from harpoon.store.etcd.batch import pack
from harpoon.store.etcd.members import Members
from harpoon.store.etcd.rpc import TXN
from harpoon.store.etcd.vitals import Vitals
from harpoon.store.port import Compare, StoreUnavailable, Trouble, Write

#: Transactions under way at once.
PIPELINE: Final = 2
#: Commits that may wait for etcd, and their bytes.
WAITING_MAX: Final = 10_000
WAITING_BYTES_MAX: Final = 64 << 20
#: What concerns one commit of a batch, and not all.
_OF_ONE: Final = frozenset({Trouble.FULL, Trouble.BROKEN, Trouble.LEASE_OVER, Trouble.DENIED})


@dataclass(slots=True, eq=False)
class Commit:
    """A commit that waits, or is under way."""

    compares: Sequence[Compare]
    writes: Sequence[Write]
    #: Key → id of the lease it is put under.
    leases: dict[str, int]
    size: int
    done: asyncio.Future[int | None]

    @property
    def is_alone(self) -> bool:
        """A lease that is over would fail a whole batch."""
        return bool(self.leases)


class Committer:
    """Sends commits; `run` has to be running."""

    def __init__(self, members: Members, vitals: Vitals) -> None:
        self._members = members
        self._vitals = vitals
        self._queue: deque[Commit] = deque()
        self._waiting = 0
        self._bytes = 0
        self._is_fed = asyncio.Event()
        #: Bytes written so far.
        self.written = 0

    async def commit(
        self, compares: Sequence[Compare], writes: Sequence[Write], leases: dict[str, int], size: int
    ) -> int | None:
        """Commit within the limits that `commit.check` has checked; see `store.port.Store.commit`."""
        if self._waiting >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX:
            raise self._vitals.fail(
                StoreUnavailable("too many commits wait for etcd", maybe_applied=False, trouble=Trouble.OVERLOADED)
            )
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._queue.append(Commit(compares, writes, leases, size, done))
        self._is_fed.set()
        self._waiting += 1
        self._bytes += size
        try:
            return await done
        finally:
            self._waiting -= 1
            self._bytes -= size

    async def run(self) -> None:
        """Send what is given until cancelled; what waits then is refused."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(PIPELINE):
                    group.create_task(self._pump())
        finally:
            _refuse(self._queue, StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED))
            self._queue.clear()

    async def _pump(self) -> None:
        while True:
            if not self._queue:
                self._is_fed.clear()
                await self._is_fed.wait()
                continue
            batch = self._take()
            try:
                await self._send(batch)
            finally:
                # Only when this was cancelled in between.
                told = "the store was closed before etcd answered"
                _refuse(batch, StoreUnavailable(told, maybe_applied=True, trouble=Trouble.CLOSED))

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
        transactions = [wire.transaction(commit.compares, commit.writes, commit.leases) for commit in batch]
        is_alone = len(batch) == 1
        try:
            answer = await self._members.write(TXN, transactions[0] if is_alone else wire.nested(transactions))
        except StoreUnavailable as error:
            if is_alone or error.maybe_applied or error.trouble not in _OF_ONE:
                _refuse(batch, error)
                return
            for commit in batch:
                await self._send([commit])
            return
        self._vitals.counts["batches"] += 1
        self._vitals.counts["commits"] += len(batch)
        outcomes = [wire.outcome(answer)] if is_alone else wire.outcomes(answer)
        for commit, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                self.written += commit.size
            if not commit.done.done():
                commit.done.set_result(outcome)


def _refuse(commits: Sequence[Commit] | deque[Commit], error: StoreUnavailable) -> None:
    for commit in commits:
        if not commit.done.done():
            # One each: an exception that is raised in several places gathers all their tracebacks.
            told = StoreUnavailable(str(error), maybe_applied=error.maybe_applied, trouble=error.trouble)
            commit.done.set_exception(told)
