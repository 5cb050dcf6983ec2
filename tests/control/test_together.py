"""What several write in one turn is one commit; each is told of its own as if it had been alone."""

import asyncio
from collections.abc import Sequence

import pytest

from harpoon.control.together import BYTES_MAX, Together
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
        #: A commit of this key alone fails.
        self.fails = ""

    async def commit(self, compares, writes):
        self.commits.append((compares, writes))
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop()
        if [write.key for write in writes] == [self.fails]:
            raise StoreUnavailable("gone", maybe_applied=False)
        return await super().commit(compares, writes)


def put(name: str, value: bytes = b"1") -> list[Put]:
    return [Put(name, value)]


async def told(*asked):
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_what_is_asked_in_one_turn_is_one_commit_and_what_comes_later_another() -> None:
    store = Counting()
    together = Together(store)
    first = await told(*(together.commit([Compare("same", mod=0)], put(f"k{n}")) for n in range(5)))
    assert len(store.commits) == 1
    assert len(store.commits[0][0]) == 1, "what all rely on is compared once"
    assert len(set(first)) == 1
    assert await together.commit((), put("later")) == first[0] + 1
    assert len(store.commits) == 2


async def test_while_one_commit_is_under_way_the_next_is_begun() -> None:
    store = Counting()
    together = Together(store)
    store.gate.clear()
    one = asyncio.ensure_future(together.commit((), put("a")))
    while not store.commits:
        await asyncio.sleep(0)
    two = asyncio.ensure_future(together.commit((), put("b")))
    while len(store.commits) < 2:
        await asyncio.sleep(0)
    store.gate.set()
    assert None not in await told(one, two)


async def test_a_condition_that_does_not_hold_fails_its_own_writes_and_no_others() -> None:
    store = Counting()
    together = Together(store)
    await store.commit((), put("taken"))
    store.commits.clear()
    first, second, third = await told(
        together.commit((), put("a")),
        together.commit([Compare("taken", mod=0)], put("b")),
        together.commit([Compare("free", mod=0)], put("c")),
    )
    assert second is None
    assert None not in (first, third)
    assert await store.get("b") is None
    assert [(await store.get(key)) is not None for key in ("a", "c")] == [True, True]
    assert len(store.commits) == 4


@pytest.mark.parametrize(
    "shares",
    [
        [([], [Put(f"w{n}.{m}", b"") for m in range(60)]) for n in range(3)],
        [([Compare(f"c{n}.{m}", mod=0) for m in range(60)], put(f"w{n}")) for n in range(3)],
        [([], put(f"w{n}", bytes(BYTES_MAX * 2 // 3))) for n in range(3)],
    ],
    ids=["writes", "compares", "bytes"],
)
async def test_what_is_too_much_for_one_commit_is_several(shares) -> None:
    store = Counting()
    together = Together(store)
    assert None not in await told(*(together.commit(*share) for share in shares))
    assert len(store.commits) == 3


async def test_one_that_is_larger_than_several_may_be_is_written_alone() -> None:
    store = Counting()
    together = Together(store)
    assert None not in await told(together.commit((), put("a", bytes(BYTES_MAX + 1))), together.commit((), put("b")))
    assert len(store.commits) == 2


async def test_a_store_that_is_away_is_told_to_each_by_an_error_of_its_own() -> None:
    store = Counting()
    together = Together(store)
    store.errors = [StoreUnavailable("gone", maybe_applied=True, trouble=Trouble.FULL)]
    errors = await told(*(together.commit((), put(f"k{n}")) for n in range(3)))
    assert [(str(e), e.maybe_applied, e.trouble) for e in errors] == [("gone", True, Trouble.FULL)] * 3
    assert len(set(map(id, errors))) == 3


async def test_a_store_that_goes_away_between_those_that_are_asked_alone_is_told_to_that_one() -> None:
    store = Counting()
    together = Together(store)
    await store.commit((), put("taken"))
    store.fails = "a"
    away, fails = await told(together.commit((), put("a")), together.commit([Compare("taken", mod=0)], put("b")))
    assert isinstance(away, StoreUnavailable)
    assert fails is None


@pytest.mark.parametrize("is_asked", [False, True])
async def test_when_the_one_who_asks_for_all_is_stopped_the_others_are_told_what_may_have_happened(is_asked) -> None:
    store = Counting()
    together = Together(store)
    store.gate.clear()
    leader = asyncio.ensure_future(together.commit((), put("a")))
    other = asyncio.ensure_future(together.commit((), put("b")))
    await asyncio.sleep(0)
    while is_asked and not store.commits:
        await asyncio.sleep(0)
    leader.cancel()
    stopped, error = await told(leader, other)
    assert isinstance(stopped, asyncio.CancelledError)
    assert isinstance(error, StoreUnavailable)
    assert error.maybe_applied is is_asked
    store.gate.set()
    assert await together.commit((), put("c")) is not None, "whoever comes next begins anew"


async def test_who_has_left_disturbs_nobody() -> None:
    store = Counting()
    together = Together(store)
    store.gate.clear()
    leader = asyncio.ensure_future(together.commit((), put("a")))
    gone = asyncio.ensure_future(together.commit((), put("b")))
    while not store.commits:
        await asyncio.sleep(0)
    gone.cancel()
    store.gate.set()
    assert await leader is not None
    assert await store.get("b") is not None


async def test_what_is_against_the_rules_of_a_store_is_told_to_who_asks_and_leaves_nobody_waiting() -> None:
    together = Together(Counting())
    wrong, other = await told(together.commit((), put("same")), together.commit((), put("same")))
    assert isinstance(wrong, ValueError)
    assert isinstance(other, StoreUnavailable)


async def test_those_who_have_waited_for_what_follows_write_together() -> None:
    store = Counting()
    together = Together(store)

    async def writer(name: str) -> None:
        await together.followed()
        await together.commit((), put(name))

    assert await told(*map(writer, "abc")) == [None] * 3
    assert len(store.commits) == 1


async def test_what_follows_within_a_few_turns_is_waited_for_by_all_at_once() -> None:
    together = Together(Counting())
    seen: list[str] = []

    async def follow(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        seen.append("followed")

    async def writer() -> None:
        await together.followed()
        seen.append("written")

    await told(writer(), writer(), follow(3))
    assert seen == ["followed", "written", "written"]
    first = asyncio.ensure_future(writer())
    await asyncio.sleep(0)
    second = asyncio.ensure_future(writer())
    await asyncio.sleep(0)
    first.cancel()
    await told(first, second)
    assert seen[3:] == ["written"], "who is stopped leaves nobody waiting"
