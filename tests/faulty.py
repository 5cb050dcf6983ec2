"""A store that fails as a distant one does: away for a time, silent about commits, forgetful of leases."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from enum import Enum, auto

from harpoon.store.leases import OwnLease
from harpoon.store.memory import MemoryStore
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compare,
    Entry,
    Lease,
    Page,
    Renewal,
    RolledBack,
    StoreUnavailable,
    Trouble,
    Write,
)


class Fault(Enum):
    """What becomes of a commit."""

    #: It is not carried out, and that is known.
    REFUSED = auto()
    #: It is not carried out, and nobody knows.
    LOST = auto()
    #: It is carried out, and nobody knows.
    SILENT = auto()
    #: It is carried out when `FaultyStore.deliver` is called, and nobody knows.
    LATE = auto()
    #: As `LATE`, at the next commit, before that.
    OVERTAKEN = auto()
    #: It is never answered.
    HANGING = auto()


class FaultyStore(MemoryStore):
    """A store in memory that obeys a script of faults."""

    def __init__(self) -> None:
        super().__init__()
        self._script: deque[tuple[str, Fault]] = deque()
        self._late: list[tuple[Sequence[Compare], Sequence[Write]]] = []
        self._next: list[tuple[Sequence[Compare], Sequence[Write]]] = []
        self._is_there = asyncio.Event()
        self._is_there.set()
        self._is_telling = asyncio.Event()
        self._is_telling.set()
        #: Added to every revision that is told; below 0 when it was restored from a backup.
        self.shift = 0
        #: How often a commit was asked for.
        self.asked = 0

    @property
    def is_through(self) -> bool:
        """Whether all faults of the script have happened."""
        return not self._script

    @property
    def left(self) -> int:
        """How many faults of the script are still to come."""
        return len(self._script)

    def fail(self, *faults: Fault, prefix: str = "") -> None:
        """Have the next commits that put or delete a key with this prefix fail so, in this order."""
        self._script.extend((prefix, fault) for fault in faults)

    def relent(self) -> None:
        """Fail no more."""
        self._script.clear()

    def leave(self) -> None:
        """Be away until `come_back`."""
        self._is_there.clear()

    def come_back(self) -> None:
        self._is_there.set()

    def hush(self) -> None:
        """Answer, and let watches tell nothing until `tell`."""
        self._is_telling.clear()

    def tell(self) -> None:
        self._is_telling.set()

    async def deliver(self) -> list[int | None]:
        """Let all late commits arrive; return what came of each."""
        late, self._late = self._late, []
        came: list[int | None] = []
        for commit in late:
            came.append(None)
            with suppress(StoreUnavailable):
                came[-1] = await super().commit(*commit)
        return came

    def lapse(self, *, is_gone: bool) -> None:
        """Tell all holders that their lease is over; the store itself may have their keys for a while longer."""
        for lease in self._leases.all():
            if is_gone:
                self._end(lease)
            lease.lost.set()

    async def get(self, key: str) -> Entry | None:
        self._reach()
        return await super().get(key)

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        self._reach()
        async for page in super().list(prefix):
            yield Page(page.revision + self.shift, page.entries)

    async def revision(self) -> int:
        self._reach()
        return await super().revision() + self.shift

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        self._reach()
        return await super().lease(ttl_s, renewal)

    async def _revoke(self, lease: OwnLease) -> None:
        self._reach()
        await super()._revoke(lease)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        async for told in super().watch(prefix, after=after):
            await self._is_there.wait()
            await self._is_telling.wait()
            yield told

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        self.asked += 1
        self._reach()
        overtaken, self._next = self._next, []
        for commit in overtaken:
            with suppress(StoreUnavailable):
                await super().commit(*commit)
        match self._fault(writes):
            case None:
                return await super().commit(compares, writes)
            case Fault.REFUSED:
                raise StoreUnavailable("as the test wants: refused", maybe_applied=False)
            case Fault.SILENT:
                await super().commit(compares, writes)
            case Fault.LATE:
                self._late.append((compares, writes))
            case Fault.OVERTAKEN:
                self._next.append((compares, writes))
            case Fault.HANGING:
                await asyncio.Event().wait()
        raise StoreUnavailable("as the test wants: no answer", maybe_applied=True, trouble=Trouble.TIMEOUT)

    def _fault(self, writes: Sequence[Write]) -> Fault | None:
        if self._script and any(write.key.startswith(self._script[0][0]) for write in writes):
            return self._script.popleft()[1]
        return None

    def _reach(self) -> None:
        if self.shift < 0:
            raise RolledBack(self._feed.revision, self._feed.revision + self.shift)
        if not self._is_there.is_set():
            raise StoreUnavailable("as the test wants: away", maybe_applied=False)
