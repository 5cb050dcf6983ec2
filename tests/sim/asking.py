"""How an instance of a simulation asks its store: as `harpoon.store.etcd` does, with the same patience.

A read is asked again until its time is over; a write only when it certainly was not carried out.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from harpoon.kit.clock import Clock, Random
from harpoon.store.port import RolledBack, StoreUnavailable, Trouble
from tests.sim.lost import Lost

#: The name of the store's node.
AT: Final = "store"
#: As of `harpoon.store.etcd.members`, which a simulation does not load: it is threads and sockets.
CONNECT_S: Final = 1.0
FIND_S: Final = 2.0
READ_S: Final = 2.0
READ_IN_ALL_S: Final = 5.0
TRY_S: Final = 0.5
WRITE_S: Final = 3.0
BACKOFF_S: Final = (0.1, 1.0)
_ROUNDS_MAX: Final = 10

T = TypeVar("T")


class Net(Protocol):
    """What a way needs of a network: asking from the present node, and listening; both raise `Lost`."""

    async def call(self, to: str, make: Callable[[], Awaitable[T]], *, connect_s: float, within_s: float) -> T:
        """Have something done at a node, and return what comes of it; what it raises is raised."""

    def stream(
        self, to: str, make: Callable[[], AsyncIterator[T]], *, connect_s: float, silence_s: float
    ) -> AsyncIterator[T]:
        """Follow what a node says, whole and in order."""


class Asking:
    """All questions of one instance, and what is known from their answers."""

    def __init__(self, net: Net, clock: Clock, rng: Random, happened: Counter[str]) -> None:
        self.net = net
        self.rng = rng
        self.happened = happened
        #: The highest revision that any answer told.
        self.seen = 0
        self.is_closed = False
        #: Since when the store fails, and how; by its last answer.
        self.trouble: StoreUnavailable | None = None
        self.since: timedelta | None = None
        #: Called when a question failed: what is open to a member that does not answer is opened anew.
        self.on_leave: Callable[[], None] = lambda: None
        self._clock = clock
        self._rounds = 0

    def elapsed(self) -> float:
        """Return the instance's own monotonic time."""
        return self._clock.now().elapsed.total_seconds()

    def check_open(self) -> None:
        """Raise when the store was closed."""
        if self.is_closed:
            raise StoreUnavailable("the store is closed", maybe_applied=False, trouble=Trouble.CLOSED)

    def saw(self, revision: int) -> None:
        """Take note of a revision that was told."""
        self.seen = max(self.seen, revision)

    async def read(self, make: Callable[[], Awaitable[tuple[int, T]]]) -> T:
        """Ask for something, answered with the revision it is of, until it is answered, or long enough."""
        floor, since = self.seen, self.elapsed()
        while True:
            self.check_open()
            try:
                revision, answer = await self.net.call(AT, make, connect_s=CONNECT_S, within_s=READ_S)
            except Lost as lost:
                error = self._fail(lost, maybe_applied=False)
                if self.elapsed() - since >= (READ_IN_ALL_S if lost.is_sent else FIND_S):
                    raise error from None
            else:
                self._succeed()
                if revision < floor:
                    self.seen = revision
                    raise RolledBack(floor, revision)
                self.saw(revision)
                return answer
            await self._rest()

    async def write(self, make: Callable[[], Awaitable[tuple[int, T]]]) -> T:
        """Have something done, and again if it was not, but at most once."""
        make, since = _once(make), self.elapsed()
        while True:
            self.check_open()
            left = since + WRITE_S - self.elapsed()
            try:
                revision, answer = await self.net.call(AT, make, connect_s=CONNECT_S, within_s=max(TRY_S, left))
            except Lost as lost:
                error = self._fail(lost, maybe_applied=lost.is_sent)
                if lost.is_sent or self.elapsed() - since >= FIND_S:
                    raise error from None
            else:
                self._succeed()
                self.saw(revision)
                return answer
            await self._rest()

    async def _rest(self) -> None:
        rounds, self._rounds = self._rounds, min(self._rounds + 1, _ROUNDS_MAX)
        await asyncio.sleep(min(BACKOFF_S[0] * 2**rounds, BACKOFF_S[1]) * self.rng.uniform(0.5, 1.0))

    def _succeed(self) -> None:
        self._rounds, self.trouble, self.since = 0, None, None

    def _fail(self, lost: Lost, *, maybe_applied: bool) -> StoreUnavailable:
        self.happened["outcome unknown" if maybe_applied else "store did not answer"] += 1
        trouble = Trouble.TIMEOUT if lost.is_sent else Trouble.UNREACHABLE
        error = StoreUnavailable(str(lost), maybe_applied=maybe_applied, trouble=trouble)
        self.trouble, self.since = error, self.since or self._clock.now().elapsed
        self.on_leave()
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
