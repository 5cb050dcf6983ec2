"""The loop's four promises, its resync, and its survival."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
import uvloop
from structlog.testing import capture_logs

from harpoon.kit.clock import Random, SystemClock, system_random
from harpoon.kit.loop import Loop, Pace


class Tally:
    """Counts, as a metric would."""

    def __init__(self) -> None:
        self.count = 0.0

    def inc(self, amount: float = 1) -> None:
        self.count += amount


class Work:
    """What a loop under test handled, and a gate that holds it."""

    def __init__(self, everything: Sequence[str] = (), **pace: object) -> None:
        self.handled: list[list[str]] = []
        self.failures = Tally()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails_on: set[str] = set()
        self.errors: list[Exception] = []
        self.seen = asyncio.Condition()
        given = Pace(**{"resync": timedelta(hours=1), "retry": timedelta(milliseconds=1), **pace})
        self.loop: Loop[str] = Loop(
            "test",
            self.handle,
            lambda: everything,
            rng=Random(7),
            failures=self.failures,
            pace=given,
            expected=(OSError,),
        )

    async def handle(self, keys: Sequence[str]) -> None:
        self.handled.append(list(keys))
        await self.gate.wait()
        async with self.seen:
            self.seen.notify_all()
        if self.errors:
            raise self.errors.pop(0)
        if self.fails_on & set(keys):
            self.fails_on.clear()
            raise RuntimeError("as the test wants")

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5), self.seen:
            await self.seen.wait_for(lambda: sum(map(len, self.handled)) >= count)

    async def __aenter__(self) -> "Work":
        self.running = asyncio.ensure_future(self.loop.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running


async def test_a_key_woken_many_times_is_handled_once() -> None:
    async with Work() as work:
        for key in ("a", "b", "a", "a"):
            work.loop.wake(key)
        await work.until(2)
        assert work.handled == [["a", "b"]]


async def test_a_key_woken_while_it_is_handled_is_handled_again() -> None:
    async with Work() as work:
        work.gate.clear()
        work.loop.wake("a")
        while not work.handled:
            await asyncio.sleep(0)
        work.loop.wake("a")
        work.gate.set()
        await work.until(2)
        assert work.handled == [["a"], ["a"]]


async def test_a_batch_is_bounded() -> None:
    async with Work(batch=2) as work:
        for key in "abcde":
            work.loop.wake(key)
        await work.until(5)
        assert work.handled == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_failed_pass_is_counted_and_tried_again() -> None:
    async with Work() as work:
        work.fails_on = {"a"}
        work.loop.wake("a")
        await work.until(2)
        assert work.handled == [["a"], ["a"]]
        assert work.failures.count == 1


async def test_what_is_expected_to_fail_is_said_in_a_line_when_it_is_new() -> None:
    with capture_logs() as told:
        async with Work() as work:
            work.errors = [OSError("away"), OSError("away"), OSError("no leader"), ValueError("a bug"), OSError("away")]
            work.loop.wake("a")
            await work.until(6)
    assert work.failures.count == 5
    assert [(line["log_level"], line.get("reason")) for line in told] == [
        ("warning", "away"),
        ("warning", "no leader"),
        ("error", None),
        ("warning", "away"),
        ("info", None),
    ]
    assert [type(line["exc_info"]) for line in told if "exc_info" in line] == [ValueError]
    assert told[-1]["event"] == "passes_succeed_again"


async def test_the_earliest_of_several_dues_counts() -> None:
    async with Work() as work:
        work.loop.wake_after("a", timedelta(hours=1))
        work.loop.wake_after("a", timedelta(milliseconds=5))
        work.loop.wake_after("a", timedelta(hours=2))
        await work.until(1)
        assert work.handled == [["a"]]


async def test_a_due_that_was_not_reached_ends_with_the_loop() -> None:
    async with Work() as work:
        work.loop.wake_after("a", timedelta(milliseconds=20))
    await asyncio.sleep(0.04)
    assert work.handled == []


async def test_a_resync_handles_every_key_in_slices_behind_fresh_work() -> None:
    keys = [f"k{number}" for number in range(10)]
    async with Work(keys, resync=timedelta(milliseconds=10), slice=4) as work:
        await work.until(10)
        assert sorted(key for batch in work.handled for key in batch)[:10] == sorted(keys)
        assert max(map(len, work.handled)) <= 4


async def test_cancelling_ends_the_loop() -> None:
    async with Work() as work:
        work.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work.running


def test_the_system_clock_tells_both_times_and_the_random_source_is_fresh() -> None:
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert second.elapsed >= first.elapsed
    assert second.wall > 1_700_000_000_000
    assert system_random().random() != system_random().random()


def test_what_is_due_at_once_is_woken_also_where_the_event_loop_has_no_timer_for_that() -> None:
    async def main() -> None:
        async with Work() as work:
            for _ in range(2):
                work.loop.wake_after("a", timedelta())
                work.loop.wake_after("b", timedelta(seconds=-1))
            work.loop.wake_after("b", timedelta(hours=1))
            await work.until(2)
            assert sorted(work.handled) in ([["a"], ["b"]], [["a", "b"]])

    uvloop.run(main())
