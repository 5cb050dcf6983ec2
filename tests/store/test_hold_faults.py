"""Holds through a store that does not always answer."""

import pytest

from harpoon.store.hold import Hold, acquire, acquire_all, held, holder, seal
from harpoon.store.port import Put, Store, StoreUnavailable
from tests.faulty import Fault, FaultyStore


async def a_hold(store: Store, instance: str = "one") -> Hold:
    hold = await acquire(store, await store.lease(10), "scheduler", instance, 1)
    assert hold is not None
    return hold


async def test_a_sealed_hold_is_the_same_and_goes_on() -> None:
    store = FaultyStore()
    first = await a_hold(store)
    second = await seal(store, first, "one")
    assert second is not None
    assert (second.token, second.lease) == (first.token, first.lease)
    assert await store.commit((second.compare,), (Put("/work", b""),)) is not None
    assert await store.commit((first.compare,), (Put("/work", b""),)) is None
    await second.lease.revoke()
    assert await holder(store, "scheduler") is None


async def test_what_comes_late_does_nothing_once_its_hold_was_sealed() -> None:
    store = FaultyStore()
    first = await a_hold(store)
    store.fail(Fault.LATE, Fault.LATE)
    for value in (b"first", b"second"):
        with pytest.raises(StoreUnavailable):
            await store.commit((first.compare,), (Put("/work", value),))
    assert await seal(store, first, "one") is not None
    assert await store.deliver() == [None, None]
    assert await store.get("/work") is None


@pytest.mark.parametrize("faults", [[a, b] for a in Fault for b in Fault if Fault.HANGING not in (a, b)])
async def test_sealing_can_be_tried_until_it_is_answered(faults: list[Fault]) -> None:
    store = FaultyStore()
    first = await a_hold(store)
    store.fail(Fault.LATE, *faults)
    with pytest.raises(StoreUnavailable):
        await store.commit((first.compare,), (Put("/work", b"late"),))
    second = None
    for _ in range(4):
        try:
            second = await seal(store, first, "one")
        except StoreUnavailable:
            continue
        break
    assert second is not None
    store.relent()
    assert await store.commit((second.compare,), (Put("/work", b"mine"),)) is not None
    await store.deliver()
    entry, work = await store.get(second.key), await store.get("/work")
    assert entry is not None
    assert work is not None
    assert (entry.create_revision, entry.mod_revision) == (first.token.revision, second.sealed)
    assert second.sealed > first.sealed
    assert work.value == b"mine"


async def test_what_is_anothers_is_not_sealed() -> None:
    store = FaultyStore()
    first = await a_hold(store)
    await first.release(store)
    assert await seal(store, first, "one") is None
    other = await a_hold(store, "two")
    assert await seal(store, first, "one") is None
    assert await held(store, first.lease, "scheduler", "one", 1) is None
    assert (await held(store, other.lease, "scheduler", "two", 1)) == other


async def test_many_holds_are_taken_together_or_none_is() -> None:
    store = FaultyStore()
    lease = await store.lease(10)
    taken = await acquire_all(store, lease, ("agents/a1", "agents/a2"), "one", 1)
    assert taken is not None
    assert [hold.key.rpartition("/")[2] for hold in taken] == ["a1", "a2"]
    assert await store.commit([hold.compare for hold in taken], (Put("/work", b""),)) is not None
    assert await acquire_all(store, lease, ("agents/a3", "agents/a2"), "two", 1) is None
    assert await holder(store, "agents/a3") is None
    assert await holder(store, "agents/a2") == "one"


async def test_a_hold_whose_record_cannot_be_read_is_somebodys() -> None:
    store = FaultyStore()
    await store.commit((), (Put("/h/1/ctl/holds/scheduler", b"\xffwho"),))
    assert await holder(store, "scheduler") == "\ufffdwho"
    assert await acquire(store, await store.lease(10), "scheduler", "one", 1) is None
