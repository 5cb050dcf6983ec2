"""Timers: what is due fires once, in its time, and lets others have their turn."""

import asyncio
import time

from harpoon.control.timers import NEVER, Dues, Timers
from harpoon.control.turns import Turns
from harpoon.kit.clock import SystemClock
from tests.control.stage import Wall


class Thing:
    def __init__(self, name: str = "") -> None:
        self.due_ms = NEVER
        self.name = name


class Fired(Dues[Thing]):
    """Takes notes of what fires."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        super().__init__(lambda thing, now_ms: self.told.append((thing.name, now_ms)))


async def until(is_true) -> None:
    async with asyncio.timeout(5):
        while not is_true():
            await asyncio.sleep(0)


async def test_the_earliest_due_counts_and_one_that_moved_fires_where_it_is() -> None:
    dues, thing = Fired(), Thing("x")
    dues.at(1000, thing)
    dues.at(2000, thing)
    dues.at(500, thing)
    assert dues.first_ms == thing.due_ms == 500
    dues.fire_next(500)
    assert dues.told == [("x", 500)]
    # The entry of before does not count any more.
    dues.fire_next(1000)
    assert (dues.told, len(dues), dues.first_ms) == ([("x", 500)], 0, NEVER)


async def test_what_is_forgotten_does_not_fire_and_does_not_stay() -> None:
    dues = Fired()
    things = [Thing(str(number)) for number in range(1000)]
    for number, thing in enumerate(things):
        dues.at(1000 + number, thing)
    for thing in things[:-1]:
        dues.forget(thing)
        dues.forget(thing)
    assert len(dues) < 200
    while len(dues):
        dues.fire_next(5000)
    assert [name for name, _ in dues.told] == ["999"]


async def test_it_wakes_for_what_is_due_earlier_and_for_shards_that_come_and_go() -> None:
    clock = SystemClock()
    timers: Timers[Thing] = Timers(clock, Turns(SystemClock()))
    one, other = Fired(), Fired()
    running = asyncio.ensure_future(timers.run())
    await asyncio.sleep(0)
    timers.enter(one)
    timers.enter(other)
    now_ms = clock.now().wall
    one.at(now_ms + 60_000, Thing("late"))
    other.at(now_ms + 30, Thing("soon"))
    await until(lambda: other.told)
    assert other.told[0][1] >= now_ms + 30
    other.at(now_ms, Thing("at once"))
    await until(lambda: len(other.told) == 2)
    timers.leave(other)
    other.at(now_ms, Thing("nobody looks"))
    await asyncio.sleep(0.01)
    assert len(other.told) == 2
    assert one.told == []
    running.cancel()


async def test_a_wall_clock_that_is_set_is_noticed(monkeypatch) -> None:
    from harpoon.control import timers as module

    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.01)
    clock = Wall()
    timers: Timers[Thing] = Timers(clock, Turns(SystemClock()))
    dues = Fired()
    timers.enter(dues)
    dues.at(clock.ms + 3_600_000, Thing("x"))
    running = asyncio.ensure_future(timers.run())
    await asyncio.sleep(0.03)
    assert dues.told == []
    clock.ms += 3_600_000
    await until(lambda: dues.told)
    running.cancel()


async def test_ten_thousand_due_at_once_fire_soon_and_let_others_have_their_turn() -> None:
    timers: Timers[Thing] = Timers(SystemClock(), Turns(SystemClock()))
    told: list[str] = []

    def fire(thing: Thing, _now_ms: int) -> None:
        # As much work as the step of a run.
        sum(range(1000))
        told.append(thing.name)

    shards: list[Dues[Thing]] = [Dues(fire) for _ in range(64)]
    for number in range(10_000):
        shards[number % 64].at(1000 + number // 1000, Thing(str(number)))
    for dues in shards:
        timers.enter(dues)
    running = asyncio.ensure_future(timers.run())
    turns, longest, before = 0, 0.0, time.thread_time()
    async with asyncio.timeout(5):
        while len(told) < 10_000:
            await asyncio.sleep(0)
            turns, longest, before = turns + 1, max(longest, time.thread_time() - before), time.thread_time()
    running.cancel()
    assert len(set(told)) == 10_000
    assert turns > 10
    # Processor time of one turn: what it makes others wait, on a machine that has nothing else to do.
    assert longest < 0.02
