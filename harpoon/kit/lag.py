"""How late an event loop is: what its work makes everybody wait who is served by it."""

import asyncio
from collections.abc import Callable
from typing import Final

from harpoon.kit.clock import Clock

#: Often enough to see what holds a loop up for longer than a person would notice, and costs nothing.
EVERY_S: Final = 0.05


async def watch_lag(clock: Clock, tell: Callable[[float], None]) -> None:
    """Sleep again and again, and tell each time how many seconds later than asked for it ended; until cancelled."""
    while True:
        before = clock.now().elapsed
        await asyncio.sleep(EVERY_S)
        tell(max(0.0, (clock.now().elapsed - before).total_seconds() - EVERY_S))
