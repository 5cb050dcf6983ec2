"""The virtual loop, and what drives it."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from harpoon.testing.driver import Driver
from harpoon.testing.loop import LoopClock


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    made = Driver(timedelta(seconds=0.2))
    yield made
    await made.close()


async def test_timers_fire_in_order_and_at_their_time(driver: Driver) -> None:
    told = []

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        told.append((seconds, asyncio.get_running_loop().time()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds in (3.0, 0.1, 31_536_000.3, 0.2, 1 / 3):
                group.create_task(wait(seconds))

    task = driver.spawn(main(), "main")
    await driver.advance(timedelta(days=400))
    assert task.done()
    assert [seconds for seconds, _ in told] == [0.1, 0.2, 1 / 3, 3.0, 31_536_000.3]
    assert all(abs(at - seconds) < 2e-6 for seconds, at in told)
    assert driver.loop.time() == 400 * 86_400


async def test_who_waits_again_for_what_is_left_does_not_wait_for_ever(driver: Driver) -> None:
    """A clock of floats, and one of whole units: what is left may be less than either can tell."""
    clock = LoopClock(driver.loop, 0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for share in (3, 7, 11):
            due_s = clock.now().elapsed.total_seconds() + 10 / share
            while (now_s := clock.now().elapsed.total_seconds()) < due_s:
                await asyncio.sleep(due_s - now_s)
            assert loop.time() >= due_s

    task = driver.spawn(main(), "main")
    await driver.advance(timedelta(seconds=10))
    assert task.done()


async def test_what_goes_on_for_ever_at_one_moment_is_told(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.testing.driver.TURNS_MAX", 5_000)

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    task = driver.spawn(spin(), "spin")
    with pytest.raises(RuntimeError, match="goes on for ever while no time passes"):
        await driver.settle()
    task.cancel()


async def test_what_does_not_end_is_named(driver: Driver) -> None:
    is_let = False

    async def stay() -> None:
        while not is_let:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    task = driver.spawn(stay(), "the stubborn one")
    await driver.settle()
    with pytest.raises(RuntimeError, match="the stubborn one did not end"):
        await driver.end(task)
    is_let = True
    await driver.end(task)


async def test_what_fails_is_told_to_whoever_waits_and_to_whoever_asks_next(driver: Driver) -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError("it is gone")

    async def forever() -> None:
        await asyncio.Event().wait()

    driver.spawn(fail(), "fail")
    waiting = asyncio.ensure_future(driver.call(forever()))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="the test environment has failed"):
        await driver.advance(timedelta(seconds=2))
    with pytest.raises(LookupError):
        await waiting
    with pytest.raises(RuntimeError, match="the test environment has failed") as told:
        await driver.call(forever())
    assert isinstance(told.value.__cause__, LookupError)


async def test_what_is_called_returns_raises_and_is_cancelled_with_its_caller(driver: Driver) -> None:
    ended = []

    async def three() -> int:
        return 3

    async def fail() -> None:
        raise KeyError("x")

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(asyncio.get_running_loop() is driver.loop)

    async def give_up() -> None:
        raise asyncio.CancelledError

    assert await driver.call(three()) == 3
    with pytest.raises(KeyError):
        await driver.call(fail())
    with pytest.raises(asyncio.CancelledError):
        await driver.call(give_up())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await driver.call(forever())
    await driver.settle()
    assert ended == [True]


async def test_threads_are_waited_for_and_not_for_ever(driver: Driver) -> None:
    go, told = threading.Event(), []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told.append(await loop.run_in_executor(None, lambda: "soon"))
        told.append(await loop.run_in_executor(None, lambda: go.wait(5)))

    task = driver.spawn(main(), "main")
    await driver.settle()
    assert (told, len(driver.loop.outside)) == (["soon"], 1)
    go.set()
    async with asyncio.timeout(5):
        while not task.done():
            await asyncio.sleep(0.001)
    assert (told, len(driver.loop.outside)) == (["soon", True], 0)


async def test_sockets_wake_it(driver: Driver) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def read() -> bytes:
        return await asyncio.get_running_loop().sock_recv(ours, 10)

    with ours, theirs:
        assert not driver.loop.has_sockets
        asked = asyncio.ensure_future(driver.call(read()))
        await driver.settle()
        assert driver.loop.has_sockets
        theirs.send(b"ahoi")
        async with asyncio.timeout(5):
            assert await asked == b"ahoi"


async def test_the_loop_of_the_test_is_left_as_it_was(driver: Driver) -> None:
    async def nothing() -> None:
        return None

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    await driver.call(nothing())
    assert asyncio.get_running_loop() is loop
    assert asyncio.current_task() is task
    before = loop.time()
    await driver.advance(timedelta(days=1))
    assert loop.time() - before < 60
