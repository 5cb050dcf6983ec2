"""How late an event loop is."""

import asyncio
import time
from datetime import timedelta

import pytest

from harpoon.kit.lag import EVERY_S, watch_lag
from harpoon.model.instant import Instant


class Clock:
    """Tells moments of the test's choosing."""

    def __init__(self, *seconds: float) -> None:
        self.moments = [Instant(elapsed=timedelta(seconds=second), wall=0) for second in seconds]

    def now(self) -> Instant:
        if not self.moments:
            raise TimeoutError
        return self.moments.pop(0)


async def test_what_holds_a_loop_up_is_told_and_a_clock_that_runs_early_is_not() -> None:
    told: list[float] = []
    with pytest.raises(TimeoutError):
        await watch_lag(Clock(0, EVERY_S + 2, 3, 3 + EVERY_S / 2), told.append)
    assert told == [pytest.approx(2), 0]


async def test_a_call_that_blocks_is_seen() -> None:
    told: list[float] = []
    seen = asyncio.Event()

    def tell(late_s: float) -> None:
        told.append(late_s)
        seen.set()

    class Real:
        def now(self) -> Instant:
            return Instant(elapsed=timedelta(seconds=time.monotonic()), wall=0)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch_lag(Real(), tell))
        await asyncio.sleep(0)
        time.sleep(EVERY_S * 3)
        await seen.wait()
        watching.cancel()
    assert told[0] >= EVERY_S
