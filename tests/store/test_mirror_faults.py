"""Mirrors of a store that is away, tells things twice, or goes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from harpoon.store import mirror as module
from harpoon.store.port import Change, Compacted, Delete, Put, Rewound, RolledBack, StoreUnavailable, Trouble
from harpoon.store.table import Row
from tests.faulty import FaultyStore
from tests.store.test_mirror import Cat, House, a_cat, a_dog, write


class Telling(FaultyStore):
    """Ends its next watches by the errors it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self.watches = 0

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        self.watches += 1
        if self.errors:
            raise self.errors.pop(0)
        async for told in super().watch(prefix, after=after):
            yield told


async def a_house(store: FaultyStore) -> House:
    house = House(store)
    await write(house, a_cat("tom"))
    await house.mirror.load()
    return house


@pytest.mark.parametrize("error", [Compacted(1), Rewound("told twice")])
async def test_what_a_watch_cannot_tell_is_listed(error: Exception) -> None:
    store = Telling()
    house = await a_house(store)
    await write(house, a_dog("rex"))
    await write(house, a_cat("tom", 8))
    store.errors = [error]
    async with house.following():
        await house.mirror.reached(3)
        await house.mirror.reached(await write(house, a_cat("kit")))
    assert [revision for revision, _ in house.told] == [1, 3, 4]
    assert store.watches == 2


@pytest.mark.parametrize("error", [Compacted(1), Rewound("told twice")])
async def test_what_was_not_told_as_it_happened_is_said_to_be_so_before_it_is_told(error: Exception) -> None:
    store = Telling()
    house = await a_house(store)
    heard: list[object] = []
    house.mirror.listen_breaks(heard.append)
    house.mirror.listen(lambda revision, _: heard.append([revision]))
    for record in (a_dog("rex"), a_cat("tom", 8), a_dog("ace")):
        await write(house, record)
    store.errors = [error]
    async with house.following():
        await house.mirror.reached(4)
        await house.mirror.reached(await write(house, a_cat("kit")))
    assert heard == [1, [4], [5]]
    assert (house.since(1), house.since(4)) == (None, [5])


async def test_a_store_that_is_away_when_it_is_to_be_listed_is_listed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    store = Telling()
    house = await a_house(store)
    await write(house, a_cat("tom", 8))
    store.errors = [Rewound("told twice")]
    store.leave()
    async with house.following():
        await asyncio.sleep(0.05)
        assert house.mirror.revision == 1
        assert house.cats.rows["tom"].value.lives == 9
        store.come_back()
        await house.mirror.reached(2)
    assert house.cats.rows["tom"].value.lives == 8


async def test_a_watch_that_fails_for_now_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    store = Telling()
    house = await a_house(store)
    store.errors = [StoreUnavailable("a moment", maybe_applied=False) for _ in range(3)]
    async with house.following():
        await house.mirror.reached(await write(house, a_dog("rex")))
    assert store.watches == 4


async def test_a_mirror_of_a_store_that_went_back_is_at_its_end() -> None:
    store = Telling()
    house = await a_house(store)
    store.errors = [Rewound("told twice")]
    # As a list says, not as an error does.
    store._reach = lambda: None
    store.shift = -1
    with pytest.raises(RolledBack, match="was at revision 1 and is at 0"):
        await house.mirror.run()
    with pytest.raises(RolledBack):
        await house.mirror.verify()
    assert house.cats.rows.keys() == {"tom"}


@pytest.mark.parametrize("trouble", [Trouble.CLOSED, Trouble.ROLLED_BACK])
async def test_a_store_that_will_not_come_back_ends_the_mirror(trouble: Trouble) -> None:
    store = Telling()
    house = await a_house(store)
    store.errors = [StoreUnavailable("over", maybe_applied=False, trouble=trouble)]
    with pytest.raises(StoreUnavailable, match="over"):
        await house.mirror.run()


async def test_a_revision_that_is_not_shown_in_time_is_told_to_have_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHOWN_WITHIN_S", 0.05)
    store = Telling()
    house = await a_house(store)
    async with house.following():
        store.leave()
        with pytest.raises(StoreUnavailable, match="done at revision 2 does not show") as caught:
            await house.mirror.shows(2)
        assert (caught.value.maybe_applied, caught.value.trouble) == (True, Trouble.TIMEOUT)
        store.come_back()
        await house.mirror.shows(await write(house, a_dog("rex")))


async def test_a_ghost_is_left_to_the_next_time_while_nobody_knows_whether_it_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SHOWN_WITHIN_S", 0.05)
    store = Telling()
    house = await a_house(store)
    async with house.following():
        store.hush()
        await write(house, Delete("/h/cats/tom"))
        assert await house.mirror.verify() == 0
        assert house.cats.rows.keys() == {"tom"}
        store.tell()
        await house.mirror.reached(2)
        house.cats._rows["ghost"] = Row(Cat(name="ghost"), 1, 1)
        assert await house.mirror.verify() == 1
    assert house.cats.rows.keys() == set()


async def test_whoever_listens_for_a_time_hears_nothing_after_it() -> None:
    house = await a_house(Telling())
    heard: list[int] = []
    async with house.following():
        with house.mirror.listening(lambda revision, _changes: heard.append(revision)):
            await house.mirror.reached(await write(house, a_dog("rex")))
        await house.mirror.reached(await write(house, a_dog("ace")))
    assert heard == [2]
    assert [revision for revision, _ in house.told] == [1, 2, 3]


async def test_a_repair_is_told_from_a_revision_also_when_revisions_went_by_that_change_nothing_here() -> None:
    house = await a_house(Telling())
    heard: list[tuple[int, bool]] = []
    async with house.following():
        with house.mirror.listening(lambda revision, _changes: heard.append((revision, house.mirror.is_mending))):
            await house.mirror.reached(await write(house, a_dog("rex")))
            await house.mirror.reached(await write(house, Put("/h/none/of/ours", b"{}")))
            house.cats._rows["ghost"] = Row(Cat(name="ghost"), 1, 1)
            assert await house.mirror.verify() == 1
    assert heard == [(2, False), (3, True)]
    assert not house.mirror.is_mending
