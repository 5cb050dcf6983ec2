"""The store of the simulation: who knows when that a lease is over."""

import asyncio

import pytest

from harpoon.store.port import Put, Renewal, StoreUnavailable, Trouble
from tests.sim.store import LATE_S
from tests.sim.storing import follow, play


async def hold(way, key="/l/a"):
    lease = await way.lease(5, Renewal(margin_s=0.5))
    await way.commit((), (Put(key, b"", lease),))
    return lease


def test_a_lease_that_is_renewed_lasts_and_nothing_is_written_by_that():
    async def main(house, node, way):
        lease = await hold(way)
        await asyncio.sleep(3_600)
        assert not lease.lost.is_set()
        assert (house.store.now, len(house.store.leases)) == (1, 1)

    play(main)


def test_a_holder_that_is_cut_off_knows_it_before_the_store_lets_its_lease_go_as_one_revision():
    async def main(house, node, way):
        lease = await hold(way)
        await way.commit((), (Put("/l/b", b"", lease),))
        other_node, other = house.way("s2")
        heard = []
        house.loop.start(other_node, follow(other, heard, after=2))
        await asyncio.sleep(20.3)
        cut_at = house.loop.now
        house.net.cut("s1", "store")
        house.net.cut("store", "s1")
        await lease.lost.wait()
        lost_at = house.loop.now
        assert len(house.store.leases) == 1
        # The last renewal may have been sent up to a third of the ttl, and what is left of a try, before.
        assert 4.5 - 5 / 3 - 0.7 <= lost_at - cut_at <= 4.5
        await asyncio.sleep(0.5 + LATE_S + 0.1)
        assert house.store.leases == {}
        assert [entry for entry in heard if entry[1]] == [(3, ["/l/a", "/l/b"])]
        assert house.happened["lease lapsed while it was kept"] == 1
        assert house.happened["lease expired"] == 1

    play(main)


def test_a_holder_that_stands_still_does_not_know_when_its_lease_is_gone():
    async def main(house, node, way):
        other_node, other = house.way("s2")
        lease = await house.at(other_node, hold(other))
        house.loop.pause(other_node)
        await asyncio.sleep(5 + LATE_S)
        assert house.store.leases == {}
        assert not lease.lost.is_set()
        assert house.happened["lease expired before its holder knew"] == 1
        house.loop.resume(other_node)
        await asyncio.sleep(0.1)
        assert lease.lost.is_set()

    play(main)


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_a_lease_is_counted_by_each_side_with_a_clock_of_its_own(rate):
    async def main(house, node, way):
        house.node.run_at(rate, house.loop.now)
        lease = await hold(way)
        house.net.cut("s1", "store")
        began = house.loop.now

        async def gone():
            while house.store.leases:
                await asyncio.sleep(0.01)
            return house.loop.now - began

        async def lost():
            await lease.lost.wait()
            return house.loop.now - began

        gone_s, lost_s = await asyncio.gather(gone(), lost())
        assert lost_s == pytest.approx(4.5, abs=0.1)
        assert 5 / rate - 0.1 <= gone_s <= (5 + LATE_S) / rate + 0.1

    play(main)


def test_a_new_leader_lets_every_lease_begin_anew():
    async def main(house, node, way):
        await hold(way)
        house.net.cut("s1", "store")
        await asyncio.sleep(4.9)
        house.store.extend_leases()
        await asyncio.sleep(5.9)
        assert len(house.store.leases) == 1
        await asyncio.sleep(LATE_S + 0.2)
        assert house.store.leases == {}
        assert house.happened["lease extended"] == 1

    play(main)


def test_without_a_quorum_no_lease_runs_out():
    async def main(house, node, way):
        lease = await hold(way)
        house.store.leave()
        await asyncio.sleep(600)
        assert lease.lost.is_set()
        assert len(house.store.leases) == 1
        house.store.come_back()
        await asyncio.sleep(5)
        assert len(house.store.leases) == 1
        await asyncio.sleep(1 + LATE_S + 0.1)
        assert house.store.leases == {}

    play(main)


def test_nothing_is_written_under_a_lease_that_the_store_let_go():
    async def main(house, node, way):
        lease = await hold(way)
        house.store.end_lease(lease.number)
        with pytest.raises(StoreUnavailable) as caught:
            await way.commit((), (Put("/l/b", b"", lease),))
        assert (caught.value.maybe_applied, caught.value.trouble) == (False, Trouble.LEASE_OVER)
        await asyncio.sleep(2)
        assert lease.lost.is_set()

    play(main)
