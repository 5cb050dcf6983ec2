"""A network of no length, for tests: what is asked is done at once, unless a script says what becomes of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum, auto
from typing import Any, TypeVar

from tests.sim.lost import Lost

T = TypeVar("T")


class Fate(Enum):
    """What becomes of a call."""

    FINE = auto()
    #: It certainly never arrives.
    REFUSED = auto()
    #: It never arrives, and nobody knows.
    SWALLOWED = auto()
    #: It is done, and the answer is lost.
    UNANSWERED = auto()
    #: It is done when `StraightNet.deliver` is called; its author is told nothing.
    LATE = auto()
    #: It is done twice.
    TWICE = auto()


class StraightNet:
    """The network of `tests.sim.way.SimWay`."""

    def __init__(self) -> None:
        self._script: deque[Fate] = deque()
        self._late: list[Callable[[], Awaitable[Any]]] = []
        #: Calls that wait for a store that is away go on waiting when their author has given up.
        self._tasks: set[asyncio.Future[Any]] = set()
        #: Streams say nothing, and do not break.
        self.is_silent = False

    def script(self, *fates: Fate) -> None:
        """Say what becomes of the next calls."""
        self._script.extend(fates)

    async def deliver(self) -> None:
        """Let what is late arrive."""
        late, self._late = self._late, []
        for make in late:
            await make()

    async def call(self, to: str, make: Callable[[], Awaitable[T]], *, connect_s: float, within_s: float) -> T:
        fate = self._script.popleft() if self._script else Fate.FINE
        if fate is Fate.REFUSED:
            raise Lost(f"{to} refuses the connection", is_sent=False)
        if fate is Fate.LATE:
            self._late.append(make)
        if fate in {Fate.LATE, Fate.SWALLOWED}:
            raise Lost(f"{to} does not answer", is_sent=True)
        if fate is Fate.TWICE:
            await make()
        work = asyncio.ensure_future(make())
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(within_s):
                answer = await asyncio.shield(work)
        except TimeoutError:
            raise Lost(f"{to} does not answer", is_sent=True) from None
        if fate is Fate.UNANSWERED:
            raise Lost(f"{to} does not answer", is_sent=True)
        return answer

    async def stream(
        self, to: str, make: Callable[[], AsyncIterator[T]], *, connect_s: float, silence_s: float
    ) -> AsyncIterator[T]:
        if self._script and self._script[0] is Fate.REFUSED:
            raise Lost(f"{to} refuses the connection", is_sent=False)
        async for word in make():
            yield word
