"""What is to be written of one run by one commit, and how those who wait for that are told.

Whatever is decided about a run before its draft is taken into a commit goes into the same draft, so a run has one
record a commit, however much happens in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeVar

from harpoon.store.port import Compare, Entry, Write

T = TypeVar("T")


class Overtaken(Exception):
    """A condition of a draft does not hold: somebody else has written the key. Nothing of the draft was written."""

    def __init__(self, compare: Compare, entry: Entry | None) -> None:
        super().__init__(f"{compare.key} is not as it was")
        self.compare = compare
        #: What stands there.
        self.entry = entry


class Draft:
    """Writes about one run that are to be durable together; it equals itself alone."""

    __slots__ = (
        "_landed", "_waiters", "chunks", "compares", "error", "failed", "header", "is_landed", "key", "seq", "size",
        "writes",
    )  # fmt: skip

    def __init__(self, key: str, seq: int = 0) -> None:
        #: ``<namespace>/<run>``; with a slash at its end, what is written beside what happens in the run.
        self.key = key
        #: Number of its first event.
        self.seq = seq
        #: Events as they are stored, comma-separated in each.
        self.chunks: list[bytes] = []
        #: Bytes of what is to be written, without keys.
        self.size = 0
        #: The header as it is to stand.
        self.header: bytes | None = None
        #: Conditions of this run alone; those of the shard are the ledger's.
        self.compares: Sequence[Compare] = ()
        #: What else is to be written.
        self.writes: Sequence[Write] = ()
        #: Durable, or never to be.
        self.is_landed = False
        #: Why it is not durable.
        self.error: Exception | None = None
        #: Called when its own conditions did not hold.
        self.failed: Callable[[], None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._landed: list[Callable[[], None]] = []

    @property
    def width(self) -> int:
        """How many keys it writes."""
        return len(self.writes) + (self.header is not None) + bool(self.chunks)

    def land(self, error: Exception | None = None) -> None:
        """Tell those who wait that it is durable, or why it is not."""
        self.is_landed, self.error = True, error
        if error is not None and self.failed is not None:
            self.failed()
        elif error is None:
            for landed in self._landed:
                landed()
        self._landed.clear()
        # Who came last first: a worker that takes what a run begins with has more to do than whoever started the run.
        for waiter in reversed(self._waiters):
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def when_durable(self, landed: Callable[[], None]) -> None:
        """Have ``landed`` called once it is durable, before those who wait are told; never, if it never will be."""
        if not self.is_landed:
            self._landed.append(landed)
        elif self.error is None:
            landed()

    async def settled(self) -> None:
        """Wait until it is durable, or never will be."""
        if not self.is_landed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def check(self) -> None:
        """Raise what kept it from being durable."""
        if self.error is not None:
            # It may be raised in several places, which would gather all their tracebacks.
            raise self.error.with_traceback(None)


class Landing(Generic[T]):
    """A decision that was made already, and is told to whoever awaits it once it is durable.

    Args:
        drafts: What it depends on.
        told: Tells it, when each of them is durable, or never will be.
        then: Makes of it what is told in the end.
    """

    __slots__ = ("_drafts", "_then", "_told")

    def __init__(
        self, drafts: Iterable[Draft], told: Callable[[], T], then: Callable[[T], Awaitable[T]] | None = None
    ) -> None:
        self._drafts = drafts
        self._told = told
        self._then = then

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait until it is durable."""
        for draft in self._drafts:
            if not draft.is_landed:
                yield from draft.settled().__await__()
        told = self._told()
        return told if self._then is None else (yield from self._then(told).__await__())
