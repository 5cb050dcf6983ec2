"""Work apart: its failing and our being cancelled."""

import asyncio

import pytest

from harpoon.kit.apart import apart


async def failing(after_s: float) -> None:
    try:
        await asyncio.sleep(after_s)
    finally:
        raise ValueError("as the test wants")


async def test_what_it_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="as the test wants"):
        await apart(failing(0))


@pytest.mark.parametrize("work", [failing, asyncio.sleep])
async def test_whoever_is_cancelled_is_so_whatever_the_work_does_on_its_way_out(work) -> None:
    ends = []

    async def loop() -> None:
        for _ in range(3):
            try:
                await apart(work(5))
            except ValueError:
                ends.append("failed")

    task = asyncio.ensure_future(loop())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait((task,), timeout=1)
    assert task.cancelled()
    assert ends == []
