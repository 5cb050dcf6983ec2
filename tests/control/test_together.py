"""What several ledgers have to write is one commit; each is told of its own, and of what went wrong with all."""

import asyncio
import gc
from collections.abc import Sequence
from datetime import timedelta

import pytest

from harpoon.control.together import BYTES_MAX, FOLLOWING, Flight, Together
from harpoon.control.turns import SPAN, Turns
from harpoon.kit.clock import SystemClock
from harpoon.model.instant import Instant
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compare, Put, StoreUnavailable, Trouble, Write


class Counting(MemoryStore):
    """Keeps what is asked, and can be told to wait with its answers, or to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[Sequence[Compare], Sequence[Write]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.errors: list[Exception] = []

    async def commit(self, compares, writes):
        self.commits.append((compares, writes))
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop()
        return await super().commit(compares, writes)


class Author:
    """Has something to write once, and keeps what it is told."""

    def __init__(self, writes: Sequence[Write], compares: Sequence[Compare] = ()) -> None:
        self.left: Flight | None = Flight(compares, writes)
        self.told: asyncio.Future[int | StoreUnavailable | None] = asyncio.get_running_loop().create_future()

    def flight(self) -> Flight | None:
        flight, self.left = self.left, None
        return flight

    def landed(self, revision: int) -> None:
        self.told.set_result(revision)

    def failed(self, error: StoreUnavailable | None) -> None:
        self.told.set_result(error)


class Still:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.elapsed = timedelta(0)

    def now(self) -> Instant:
        return Instant(elapsed=self.elapsed, wall=0)


def put(name: str, value: bytes = b"1") -> list[Put]:
    return [Put(name, value)]


def writer(store: Counting) -> Together:
    return Together(store, Turns(SystemClock()))


async def told(together: Together, *authors: Author) -> list[int | StoreUnavailable | None]:
    for author in authors:
        together.feed(author)
    async with asyncio.timeout(5):
        return [await author.told for author in authors]


async def under_way(store: Counting, count: int) -> None:
    async with asyncio.timeout(5):
        while len(store.commits) < count:
            await asyncio.sleep(0)


async def test_what_several_have_to_write_is_one_commit_and_what_comes_later_another() -> None:
    store = Counting()
    together = writer(store)
    same = [Compare("same", mod=0)]
    first = await told(together, *(Author(put(f"k{n}"), same) for n in range(5)))
    assert len(store.commits) == 1
    assert len(store.commits[0][0]) == 1, "what all rely on is compared once"
    assert len(set(first)) == 1
    assert await told(together, Author(put("later"))) == [first[0] + 1]
    assert len(store.commits) == 2


async def test_what_follows_within_a_few_turns_goes_into_the_same_commit() -> None:
    store = Counting()
    together = writer(store)
    first, second, late = Author(put("a")), Author(put("b")), Author(put("c"))
    together.feed(first)
    for _ in range(FOLLOWING - 1):
        await asyncio.sleep(0)
    assert not store.commits
    together.feed(second)
    assert await first.told == await second.told
    assert await told(together, late) == [await first.told + 1]


async def test_who_has_nothing_to_write_after_all_is_passed_over() -> None:
    store = Counting()
    together = writer(store)
    idle = Author(())
    idle.left = None
    together.feed(idle)
    for _ in range(FOLLOWING + 2):
        await asyncio.sleep(0)
    assert not store.commits
    assert not idle.told.done()
    assert await told(together, Author(put("a"))) != [None], "others are written as ever"


async def test_while_one_commit_is_under_way_the_next_is_begun() -> None:
    store = Counting()
    together = writer(store)
    store.gate.clear()
    one, two = Author(put("a")), Author(put("b"))
    together.feed(one)
    await under_way(store, 1)
    together.feed(two)
    await under_way(store, 2)
    store.gate.set()
    assert None not in await told(together, one, two)


async def test_a_condition_that_does_not_hold_is_told_to_all_and_nothing_is_written() -> None:
    store = Counting()
    together = writer(store)
    await store.commit((), put("taken"))
    assert await told(together, Author(put("a")), Author(put("b"), [Compare("taken", mod=0)])) == [None, None]
    assert await store.get("a") is None
    assert await store.get("b") is None


@pytest.mark.parametrize(
    "shares",
    [
        [([Put(f"w{n}.{m}", b"") for m in range(60)], []) for n in range(3)],
        [(put(f"w{n}"), [Compare(f"c{n}.{m}", mod=0) for m in range(60)]) for n in range(3)],
        [(put(f"w{n}", bytes(BYTES_MAX * 2 // 3)), []) for n in range(3)],
    ],
    ids=["writes", "compares", "bytes"],
)
async def test_what_is_too_much_for_one_commit_is_several(shares) -> None:
    store = Counting()
    assert None not in await told(writer(store), *(Author(*share) for share in shares))
    assert len(store.commits) == 3


async def test_one_that_is_larger_than_several_may_be_is_written_alone() -> None:
    store = Counting()
    authors = [Author(put("a", bytes(BYTES_MAX + 1))), Author(put("b"))]
    assert None not in await told(writer(store), *authors)
    assert len(store.commits) == 2


async def test_a_store_that_is_away_is_told_to_each_by_an_error_of_its_own() -> None:
    store = Counting()
    store.errors = [StoreUnavailable("gone", maybe_applied=True, trouble=Trouble.FULL)]
    errors = await told(writer(store), *(Author(put(f"k{n}")) for n in range(3)))
    assert [(str(e), e.maybe_applied, e.trouble) for e in errors] == [("gone", True, Trouble.FULL)] * 3
    assert len(set(map(id, errors))) == 3


async def test_what_is_against_the_rules_of_a_store_leaves_nobody_waiting_and_harms_nobody_later(caplog) -> None:
    store = Counting()
    together = writer(store)
    found = await told(together, Author(put("same")), Author(put("same")))
    assert [one.maybe_applied for one in found] == [True, True]
    assert await told(together, Author(put("other"))) != [None]
    gc.collect()
    assert "Task exception was never retrieved" in caplog.text, "it is a fault of ours, and is heard of"


async def test_a_turn_that_is_spent_is_left_to_others_before_more_is_told() -> None:
    store, clock = Counting(), Still()
    together = Together(store, Turns(clock))
    first, second = Author(put("a")), Author(put("b"))
    first.told.add_done_callback(lambda _: seen.append("told"))
    landed = first.landed

    def slow(revision: int) -> None:
        clock.elapsed += SPAN
        landed(revision)

    first.landed = slow  # type: ignore[method-assign]
    seen: list[str] = []
    second.told.add_done_callback(lambda _: seen.append("second"))
    await told(together, first, second)
    await asyncio.sleep(0)
    assert seen == ["told", "second"], "what the first has brought about comes in between"


async def test_what_a_spent_turn_leaves_over_is_collected_and_no_other_collects() -> None:
    clock = Still()
    turns = Turns(clock)
    found: list[int] = []

    def note(phase: str, told: dict[str, int]) -> None:
        if phase == "start":
            found.append(told["generation"])

    gc.disable()
    gc.callbacks.append(note)
    try:
        for span in (timedelta(0), *([SPAN] * 4)):
            assert not turns.is_spent
            clock.elapsed += span
            assert turns.is_spent is bool(span)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    finally:
        gc.callbacks.remove(note)
        gc.enable()
    assert found == [0, 0, 0, 1]
