"""Commits whose outcome became unknown: found out where it can be, told where it cannot."""

import asyncio

import pytest

from harpoon.store import settle
from harpoon.store.mirror import Mirror
from harpoon.store.port import Compare, Delete, Put, StoreUnavailable, Trouble
from tests.faulty import Fault, FaultyStore
from tests.store.test_mirror import House, a_cat, write

NEW = (Compare("/job", mod=0),)
OURS = (Put("/job", b"ours"), Put("/version", b"ours, the first"))


async def test_what_is_answered_is_not_asked_about() -> None:
    store = FaultyStore()
    assert await settle.commit(store, NEW, OURS) == 1
    assert await settle.commit(store, NEW, OURS) is None
    assert store.asked == 2


async def test_what_happened_though_the_answer_was_lost_is_told_so() -> None:
    store = FaultyStore()
    store.fail(Fault.SILENT)
    assert await settle.commit(store, NEW, OURS) == 1
    assert store.asked == 1


async def test_what_did_not_happen_is_tried_once_more() -> None:
    store = FaultyStore()
    store.fail(Fault.LOST)
    assert await settle.commit(store, NEW, OURS) == 1
    assert store.asked == 2


async def test_what_comes_late_does_not_happen_twice() -> None:
    store = FaultyStore()
    store.fail(Fault.LATE)
    assert await settle.commit(store, NEW, OURS) == 1
    assert await store.deliver() == [None]
    assert await store.revision() == 1


async def test_what_comes_between_the_reading_and_the_second_try_is_found() -> None:
    store = FaultyStore()
    store.fail(Fault.OVERTAKEN)
    assert await settle.commit(store, NEW, OURS) == 1
    assert await store.revision() == 1


@pytest.mark.parametrize(("second", "told"), [(Fault.SILENT, 1), (Fault.LOST, None), (Fault.REFUSED, None)])
async def test_after_the_second_try_it_is_only_read(second: Fault, told: int | None) -> None:
    store = FaultyStore()
    store.fail(Fault.LOST, second)
    if told is not None:
        assert await settle.commit(store, NEW, OURS) == told
    else:
        with pytest.raises(StoreUnavailable) as caught:
            await settle.commit(store, NEW, OURS)
        assert (caught.value.maybe_applied, caught.value.trouble) == (True, Trouble.TIMEOUT)
    assert store.asked == 2


async def test_what_certainly_did_not_happen_is_not_looked_into() -> None:
    store = FaultyStore()
    store.fail(Fault.REFUSED)
    with pytest.raises(StoreUnavailable) as caught:
        await settle.commit(store, NEW, OURS)
    assert not caught.value.maybe_applied
    assert store.asked == 1


class Overwriting(FaultyStore):
    """Somebody else writes the job between a commit and the reading of it."""

    is_done = False

    async def get(self, key: str) -> object:
        if not self.is_done:
            self.is_done = True
            await super().commit((), (Put("/job", b"theirs"),))
        return await super().get(key)


async def test_what_was_overwritten_meanwhile_is_found_by_what_it_wrote_beside() -> None:
    store = Overwriting()
    store.fail(Fault.SILENT)
    assert await settle.commit(store, NEW, OURS) == 1


async def test_what_cannot_be_told_from_anothers_doing_is_told_to_be_unknown() -> None:
    store = Overwriting()
    store.fail(Fault.SILENT)
    with pytest.raises(StoreUnavailable) as caught:
        await settle.commit(store, NEW, OURS[:1])
    assert caught.value.maybe_applied


async def test_what_stood_there_before_is_not_taken_for_ours() -> None:
    store = FaultyStore()
    before = await store.commit((), OURS)
    assert before is not None
    store.fail(Fault.LOST)
    assert await settle.commit(store, (Compare("/job", mod=before),), OURS) == before + 1


async def test_a_store_that_is_away_is_read_once_it_is_back() -> None:
    store = FaultyStore()
    store.fail(Fault.SILENT)
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(settle.commit(store, NEW, OURS))
        while not store.is_through:
            await asyncio.sleep(0)
        store.leave()
        await asyncio.sleep(0.15)
        assert not asked.done()
        store.come_back()
    assert asked.result() == 1


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.HANGING])
async def test_patience_ends(fault: Fault) -> None:
    store = FaultyStore()
    store.fail(fault)

    async def leave() -> None:
        while not store.is_through:
            await asyncio.sleep(0)
        store.leave()

    async with asyncio.TaskGroup() as group:
        group.create_task(leave())
        with pytest.raises(StoreUnavailable) as caught:
            await settle.commit(store, NEW, OURS, patience_s=0.2)
    assert (caught.value.maybe_applied, caught.value.trouble) == (True, Trouble.TIMEOUT)


async def a_mirror(store: FaultyStore) -> Mirror:
    mirror = Mirror(store, "/", ())
    await mirror.load()
    return mirror


@pytest.mark.parametrize("other", [Put("/job", b"theirs"), Delete("/job")])
async def test_what_others_did_first_is_waited_for(other: Put | Delete) -> None:
    store = FaultyStore()
    found = await store.commit((), OURS)
    mirror = await a_mirror(store)
    await store.commit((), (other,))
    compares = (Compare("/version", mod=found), Compare("/job", mod=found))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        seeing = group.create_task(settle.see_others(store, mirror, compares))
        await asyncio.sleep(0.01)
        assert not seeing.done()
        following = group.create_task(mirror.run())
        await seeing
        following.cancel()
    assert mirror.revision == 2


async def test_that_it_does_not_show_in_time_means_that_nothing_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.store.mirror._SHOWN_WITHIN_S", 0.05)
    store = FaultyStore()
    mirror = await a_mirror(store)
    await store.commit((), OURS)
    with pytest.raises(StoreUnavailable, match="others were faster") as caught:
        await settle.see_others(store, mirror, NEW)
    assert not caught.value.maybe_applied


async def test_a_store_that_went_back_is_not_waited_for() -> None:
    store = FaultyStore()
    await store.commit((), (Put("/other", b""),))
    store.fail(Fault.SILENT)

    async def go_back() -> None:
        while not store.is_through:
            await asyncio.sleep(0)
        store.shift = -1

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(go_back())
        with pytest.raises(StoreUnavailable) as caught:
            await settle.commit(store, NEW, OURS)
    assert (caught.value.maybe_applied, caught.value.trouble) == (True, Trouble.TIMEOUT)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_mirror_that_does_not_show_what_it_should_is_doubted_until_it_is_mended(is_deleted: bool) -> None:
    house = House(FaultyStore())
    seen = await write(house, a_cat("tom"))
    await house.mirror.load()
    row = house.cats.rows["tom"]
    async with house.following():
        if is_deleted:
            await house.reached(await write(house, Delete("/h/cats/tom")))
            house.cats._rows["tom"] = row
        else:
            house.cats._rows.clear()
        compares = (Compare("/h/cats/tom", mod=seen if is_deleted else 0),)
        assert not await settle.see_others(house.store, house.mirror, compares)
        assert await house.mirror.doubted(1)
        assert await house.mirror.verify() == 1
        assert not await house.mirror.doubted(0.01)
        assert await settle.see_others(house.store, house.mirror, compares)


async def test_a_mirror_tells_how_records_stand_that_it_cannot_read_too() -> None:
    house = House(FaultyStore())
    tom, rex = await write(house, a_cat("tom")), await write(house, Put("/h/dogs/rex", b"?"))
    await house.mirror.load()
    keys = ("/h/cats/tom", "/h/dogs/rex", "/h/dogs/ace", "/h/birds/coco", "/h/lone")
    assert [house.mirror.mod(key) for key in keys] == [tom, rex, 0, None, None]
