"""Three real members, of which one is cut off or lags: clients leave it, and no watch tells anything twice or too late."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from harpoon.store.port import Compacted, Put, Store, StoreUnavailable
from tests.etcd.members import Member
from tests.etcd.network import NetworkCluster
from tests.etcd.traffic import a_store, renewed_since, traffic
from tests.store.reading import entries, put, told

pytestmark = pytest.mark.system

#: Who is cut off is only told from who is slow by an answer that does not come.
LEFT_WITHIN_S = 8.0
#: Nothing is asked meanwhile but how the member does, every 5 s.
NOTICED_WITHIN_S = 10.0
BACK_WITHIN_S = 4.0


@pytest.fixture
def network(tmp_path: Path) -> Iterator[NetworkCluster]:
    with NetworkCluster(tmp_path) as made:
        yield made


async def leader_first(network: NetworkCluster) -> list[Member]:
    leader = await asyncio.to_thread(network.leader)
    return [leader, *(member for member in network.members if member is not leader)]


def both_ways(network: NetworkCluster, leader: Member) -> None:
    network.cut(leader)


def what_it_sends(network: NetworkCluster, leader: Member) -> None:
    for other in (None, *(member for member in network.members if member is not leader)):
        network.one_way(leader, other)


def what_it_is_sent(network: NetworkCluster, leader: Member) -> None:
    for other in (None, *(member for member in network.members if member is not leader)):
        network.one_way(other, leader)


def from_its_peers(network: NetworkCluster, leader: Member) -> None:
    network.cut_peers(leader)


def its_answers_to_us(network: NetworkCluster, leader: Member) -> None:
    network.one_way(leader, None)


def from_us(network: NetworkCluster, leader: Member) -> None:
    network.cut_clients(leader)


@pytest.mark.parametrize("cut", [both_ways, what_it_sends, what_it_is_sent, from_its_peers, from_us, its_answers_to_us])
async def test_a_leader_that_is_cut_off_is_left_by_its_clients(
    network: NetworkCluster, cut: Callable[[NetworkCluster, Member], None]
) -> None:
    leader, *others = await leader_first(network)
    async with a_store(leader, *others) as store, traffic(store) as going_on:
        lease = await store.lease(10)
        await store.commit((), (Put("/leased", b"", lease),))
        assert leader.endpoint in store.health().at
        await asyncio.to_thread(cut, network, leader)
        gone = time.monotonic()
        print(f"went on after {await going_on.works_again(gone, LEFT_WITHIN_S):.2f} s")
        assert leader.endpoint not in store.health().at
        # What is written elsewhere is seen, by a watch that began at the one cut off.
        await going_on.has_seen(await put(store, "/w/elsewhere"), within_s=LEFT_WITHIN_S)
        await renewed_since(store, lease, gone + 1)
        await asyncio.to_thread(network.heal)
        await going_on.works_again(time.monotonic(), BACK_WITHIN_S)
        if cut is its_answers_to_us:
            kept = {entry.key for entry in await entries(store, "/w/")}
            unknown = [one for one, error in going_on.failures() if error.maybe_applied]
            assert any(one.key in kept for one in unknown), "they arrived, and only the answer was lost"


async def test_a_watch_alone_leaves_a_member_that_has_fallen_silent(network: NetworkCluster) -> None:
    silent, *others = await leader_first(network)
    async with a_store(silent, *others) as store, a_store(*others) as elsewhere:
        first = await put(store, "/w/first")
        async with aclosing(store.watch("/w/", after=first - 1)) as stream:
            assert (await anext(stream))[0] == first
            await asyncio.to_thread(network.cut_clients, silent)
            last = await put(elsewhere, "/w/last")
            async with asyncio.timeout(NOTICED_WITHIN_S):
                assert (await anext(stream))[0] == last


@pytest.mark.parametrize("fault", ["cut off", "paused"])
async def test_a_follower_that_lags_tells_nothing_twice_and_nothing_too_late(
    network: NetworkCluster, fault: str
) -> None:
    leader, follower, other = await leader_first(network)
    async with (
        a_store(leader, other) as store,
        a_store(follower) as lagging,
        a_store(follower, other, leader) as leaving,
    ):
        first = await put(store, "/w/first")
        for watcher in (lagging, leaving):
            assert follower.endpoint in watcher.health().at
            assert await told(watcher, "/w/", after=first - 1, until=first)
        await asyncio.to_thread(network.cut_peers, follower) if fault == "cut off" else follower.pause()
        for number in range(300):
            last = await put(store, f"/w/{number:03}")
        resumed_from = (first - 1, last - 7, last)
        async with asyncio.TaskGroup() as group, asyncio.timeout(30):
            watches = [
                (after, group.create_task(told(watcher, "/w/", after=after, until=last + 1)))
                for after in resumed_from
                for watcher in (lagging, leaving)
            ]
            reading = group.create_task(leaving.get("/w/299"))
            await asyncio.sleep(2)
            await asyncio.to_thread(network.heal) if fault == "cut off" else follower.resume()
            assert await put(store, "/w/end") == last + 1
        for entry in (reading.result(), await lagging.get("/w/299")):
            assert entry is not None, "a read is never of the past"
            assert entry.mod_revision == last
        for after, watch in watches:
            assert [revision for revision, _ in watch.result()] == list(range(after + 1, last + 2))


async def written(store: Store, count: int) -> int:
    """Write so many keys, again if need be, and return the last revision."""
    last = number = 0
    while number < count:
        try:
            last = await put(store, f"/w/{number:03}")
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        else:
            number += 1
    return last


async def test_a_watch_that_was_cut_off_while_history_was_compacted_is_told_so(network: NetworkCluster) -> None:
    leader, *others = await leader_first(network)
    async with a_store(leader, *others) as store, a_store(*others) as elsewhere, asyncio.timeout(30):
        first = await put(store, "/w/first")
        async with aclosing(store.watch("/w/", after=first - 1)) as stream:
            assert (await anext(stream))[0] == first
            await asyncio.to_thread(network.cut, leader)
            await asyncio.to_thread(network.leader, other_than=leader)
            last = await written(elsewhere, 20)
            await elsewhere.compact(last - 5)
            with pytest.raises(Compacted) as caught:
                while True:
                    await anext(stream)
        assert caught.value.oldest == last - 5
        # List again, and watch from there: as every mirror does.
        pages = [page async for page in store.list("/w/")]
        assert len(pages[0].entries) == 21
        assert pages[0].revision >= last
        after = await put(elsewhere, "/w/after")
        assert [revision for revision, _ in await told(store, "/w/", after=pages[0].revision, until=after)] == [after]
        await asyncio.to_thread(network.heal)
        assert len(await entries(store, "/w/")) == 22
