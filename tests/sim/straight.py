"""A network of no length, where nothing is ever lost: for what is asked of a simulated store on a real event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from tests.sim.lost import Lost

T = TypeVar("T")


class StraightNet:
    """The network of `tests.sim.way.SimWay`; what is asked is done at once."""

    async def call(self, to: str, make: Callable[[], Awaitable[T]], *, connect_s: float, within_s: float) -> T:
        # Others get their turn before it arrives.
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(within_s):
                return await make()
        except TimeoutError:
            raise Lost(f"{to} does not answer", is_sent=True) from None

    async def stream(
        self, to: str, make: Callable[[], AsyncIterator[T]], *, connect_s: float, silence_s: float
    ) -> AsyncIterator[T]:
        async for word in make():
            yield word
