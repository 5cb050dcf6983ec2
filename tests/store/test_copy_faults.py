"""A copy that is interrupted, raced or spoilt is no registry, and the next one makes it good."""

import pytest

from harpoon.kit.errors import Conflict, HarpoonError
from harpoon.store import cluster
from harpoon.store.cluster import CLUSTER, COPYING
from harpoon.store.hold import HOLDS
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Store, StoreUnavailable
from tests.store.copying import Disturbed, a_source, content, copied, many
from tests.store.reading import put


async def commits_of_a_copy(source: Store, target: Store) -> int:
    counting = Disturbed(target)
    await copied(source, counting)
    return counting.commits


@pytest.mark.parametrize("is_applied", [False, True])
async def test_a_copy_broken_at_any_commit_is_no_registry_and_is_made_good_by_another(is_applied: bool) -> None:
    source = await a_source(many(550))
    last = await commits_of_a_copy(source, MemoryStore())
    assert last == 1 + 6 + 1
    for at in range(1, last + 1):
        target = MemoryStore()
        if at == last and is_applied:
            assert (await copied(source, Disturbed(target, at, is_applied=True))).records == 550
            continue
        with pytest.raises(StoreUnavailable):
            await copied(source, Disturbed(target, at, is_applied=is_applied))
        assert await target.get(CLUSTER) is None
        left = await content(target)
        if left:
            with pytest.raises(Conflict, match="not finished"):
                await cluster.found(target, "fresh")
        assert await source.get(HOLDS + "scheduler") is None
        # Broken again, while it removes what is there; and then not.
        with pytest.raises(StoreUnavailable):
            await copied(source, Disturbed(target, 2))
        done = await copied(source, target)
        assert done.records == 550
        assert set(await content(target)) == set(await content(source))
        assert (await cluster.found(target, "fresh")).id == "c1"


async def test_what_a_broken_copy_left_of_another_source_is_gone() -> None:
    target = MemoryStore()
    with pytest.raises(StoreUnavailable):
        await copied(await a_source({"/h/1/ctl/jobs/default/old": b"old"}), Disturbed(target, 3))
    done = await copied(await a_source({"/h/1/ctl/jobs/default/new": b"new"}), target)
    assert done.removed == 1
    assert set(await content(target)) == {CLUSTER, "/h/1/ctl/jobs/default/new"}


async def test_of_two_copies_into_one_store_the_earlier_one_stops() -> None:
    source, other, target = await a_source(many(300)), await a_source({"/h/1/ctl/b": b"b"}), MemoryStore()
    slow = Disturbed(source)

    async def overtake() -> None:
        await copied(other, target, by="second")

    slow.before_list = overtake
    with pytest.raises(Conflict, match="something else writes to the destination"):
        await copied(slow, target, by="first")
    assert set(await content(target)) == {CLUSTER, "/h/1/ctl/b"}


async def test_a_copy_that_is_overtaken_at_its_end_is_no_registry() -> None:
    source, target = await a_source(), MemoryStore()
    racing = Disturbed(target)

    async def overtake(number: int) -> None:
        if number == 3:
            with pytest.raises(StoreUnavailable):
                await copied(await a_source(), Disturbed(target, 2), by="second")

    racing.before_commit = overtake
    with pytest.raises(Conflict, match="something else writes to the destination"):
        await copied(source, racing, by="first")
    assert await target.get(CLUSTER) is None


async def test_a_server_that_starts_on_the_destination_meanwhile_is_left_alone() -> None:
    target = MemoryStore()
    racing = Disturbed(target)

    async def start(_number: int) -> None:
        await cluster.found(target, "fresh")

    racing.before_commit = start
    with pytest.raises(Conflict, match="something else writes to the destination"):
        await copied(await a_source(), racing)
    assert await cluster.found(target, "other") == ("fresh", 1)


# Verification


async def test_a_destination_that_does_not_hold_what_was_sent_is_left_unfinished() -> None:
    target = MemoryStore()
    spoiling = Disturbed(target)
    spoiling.spoil = lambda key, value: value + b"!" if key.endswith("7") else value
    with pytest.raises(HarpoonError, match="does not hold what was sent: 10 records"):
        await copied(await a_source(many(10)), spoiling)
    assert await target.get(CLUSTER) is None
    assert await target.get(COPYING) is not None


@pytest.mark.parametrize("key", ["/h/1/ctl/jobs/default/web", "/h/1/ctl/jobs/default/new", CLUSTER])
async def test_a_source_that_changes_after_it_was_read_is_found_out(key: str) -> None:
    source, target = await a_source(), MemoryStore()
    racing = Disturbed(target)

    async def change(number: int) -> None:
        if number == 2:
            await put(source, key, b'{"cluster": "c1", "incarnation": 9}')

    racing.before_commit = change
    with pytest.raises(Conflict, match="changed meanwhile"):
        await copied(source, racing)
    assert await target.get(CLUSTER) is None


async def test_a_source_that_others_use_as_well_may_move_on() -> None:
    source, target = await a_source(), MemoryStore()
    racing = Disturbed(target)

    async def write(number: int) -> None:
        await put(source, f"/other/{number}")

    racing.before_commit = write
    assert (await copied(source, racing)).records == 1


async def test_a_source_that_stands_still_is_read_once() -> None:
    source = Disturbed(await a_source())
    lists = []

    async def count() -> None:
        lists.append(1)

    source.before_list = count
    await copied(source, MemoryStore())
    assert len(lists) == 1


async def test_a_hold_that_was_lost_meanwhile_ends_the_copy() -> None:
    source, target = await a_source(), MemoryStore()
    racing = Disturbed(source)

    async def lose() -> None:
        await source.commit((), (Delete(HOLDS + "scheduler"),))

    racing.before_list = lose
    with pytest.raises(Conflict, match="may have changed meanwhile"):
        await copied(racing, target)
    assert await target.get(CLUSTER) is None
