"""The store of the simulation: what watches are told, and what they are not."""

import asyncio

import pytest

from harpoon.store.port import Compacted, Rewound
from tests.sim.storing import follow, play, told, write


def test_a_watch_lags_as_much_as_it_is_made_to_and_tells_all():
    async def main(house, node, way):
        way.lag_s = 4.0
        heard = []
        house.loop.start(node, follow(way, heard))
        await write(way, 10)
        await asyncio.sleep(3.5)
        assert told(heard) == []
        await asyncio.sleep(2)
        assert told(heard) == list(range(1, 11))

    play(main)


def test_a_gap_leaves_out_whole_revisions_of_one_instance_and_says_nothing():
    async def main(house, node, way):
        other_node, other = house.way("s2")
        heard, others = [], []
        house.loop.start(node, follow(way, heard))
        house.loop.start(other_node, follow(other, others))
        await write(way, 2)
        await asyncio.sleep(1)
        way.gap(3)
        await write(way, 6)
        way.break_watches()
        await asyncio.sleep(2)
        assert told(heard) == [1, 2, 6, 7, 8]
        assert told(others) == list(range(1, 9))
        assert heard[-1][0] == 8

    play(main)


def test_a_watch_that_is_rewound_ends_and_says_so():
    async def main(house, node, way):
        heard = []
        house.loop.start(node, follow(way, heard))
        await write(way, 2)
        await asyncio.sleep(1)
        way.rewind()
        await write(way, 1)
        await asyncio.sleep(1)
        assert told(heard[:-1]) == [1, 2]
        assert isinstance(heard[-1], Rewound)

    play(main)


def test_a_watch_outlives_being_cut_off_and_goes_on_where_it_stopped():
    async def main(house, node, way):
        heard = []
        house.loop.start(node, follow(way, heard))
        other_node, other = house.way("s2")
        await write(way, 3)
        for end in (("s1", "store"), ("store", "s1")):
            house.net.cut(*end)
        await house.at(other_node, write(other, 3))
        await asyncio.sleep(60)
        assert told(heard) == [1, 2, 3]
        for end in (("s1", "store"), ("store", "s1")):
            house.net.heal(*end)
        await asyncio.sleep(15)
        assert told(heard) == [1, 2, 3, 4, 5, 6]

    play(main)


def test_a_watch_over_a_way_that_loses_much_keeps_its_order():
    async def main(house, node, way):
        heard = []
        other_node, other = house.way("s2")
        house.net.way("store", "s1").loss = 0.5
        house.loop.start(node, follow(way, heard))
        await house.at(other_node, write(other, 100))
        await asyncio.sleep(120)
        assert told(heard) == list(range(1, 101))

    play(main)


@pytest.mark.parametrize("is_behind", [False, True])
def test_history_that_is_dropped_under_a_watch_ends_it_only_if_it_lacks_some(is_behind):
    async def main(house, node, way):
        heard = []
        house.loop.start(node, follow(way, heard))
        await write(way, 2)
        other_node, other = house.way("s2")
        if is_behind:
            house.net.cut("store", "s1")
        await house.at(other_node, write(other, 2))
        await asyncio.sleep(20)
        house.store.drop_history()
        house.net.heal("store", "s1")
        await house.at(other_node, write(other, 1))
        await asyncio.sleep(20)
        if is_behind:
            assert isinstance(heard[-1], Compacted)
            assert heard[-1].oldest == 4
            assert told(heard[:-1]) == [1, 2]
            assert house.happened["compacted under a watch"] == 1
        else:
            assert told(heard) == [1, 2, 3, 4, 5]

    play(main)


def test_while_there_is_no_quorum_a_watch_is_silent_and_does_not_break():
    async def main(house, node, way):
        heard = []
        house.loop.start(node, follow(way, heard))
        await write(way, 2)
        house.store.leave()
        await asyncio.sleep(600)
        house.store.come_back()
        await write(way, 1)
        await asyncio.sleep(1)
        assert told(heard) == [1, 2, 3]
        assert house.happened["watch resumed"] == 0

    play(main)
