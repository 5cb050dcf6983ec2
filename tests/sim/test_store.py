"""The store of the simulation: what becomes of commits and reads when something goes wrong, as with an etcd.

What it promises in good times, `tests/store` holds it to.
"""

import asyncio
from contextlib import suppress

import pytest

from harpoon.store.etcd import members
from harpoon.store.port import Compare, Delete, Put, StoreUnavailable, Trouble
from harpoon.store.settle import commit as settled
from tests.sim import asking
from tests.sim.storing import follow, play, write


def test_an_instance_waits_as_long_as_the_client_of_etcd_does():
    for name in ("CONNECT_S", "FIND_S", "READ_S", "READ_IN_ALL_S", "TRY_S", "WRITE_S", "BACKOFF_S"):
        assert getattr(asking, name) == getattr(members, name), name


# What becomes of a commit.


def test_a_commit_that_was_late_is_applied_after_its_author_was_told_that_nobody_knows():
    async def main(house, node, way):
        way.fates.append(("late", 8.0))
        with pytest.raises(StoreUnavailable) as caught:
            await way.commit((Compare("/a", mod=0),), (Put("/a", b"1"),))
        assert (caught.value.maybe_applied, caught.value.trouble) == (True, Trouble.TIMEOUT)
        assert house.loop.now == pytest.approx(asking.WRITE_S, abs=0.1)
        assert await way.get("/a") is None
        await asyncio.sleep(6)
        assert (await way.get("/a")).value == b"1"
        assert house.happened["commit applied late"] == 1

    play(main)


def test_a_late_commit_fails_its_compare_when_others_were_faster():
    async def main(house, node, way):
        way.fates.append(("late", 8.0))
        with pytest.raises(StoreUnavailable):
            await way.commit((Compare("/a", mod=0),), (Put("/a", b"1"),))
        await way.commit((), (Put("/a", b"2"),))
        await asyncio.sleep(6)
        assert (await way.get("/a")).value == b"2"
        assert (house.happened["commit applied late"], house.happened["commit refused late"]) == (0, 1)

    play(main)


def test_a_commit_whose_answer_is_lost_has_happened_and_reading_back_finds_it():
    async def main(house, node, way):
        way.fates.append(("silent", 0.0))
        assert await settled(way, (Compare("/a", mod=0),), (Put("/a", b"1"),)) == 1
        assert house.store.now == 1

    play(main)


def test_a_commit_that_cannot_be_sent_has_not_happened_and_that_is_known():
    async def main(house, node, way):
        house.net.leave(house.node)
        with pytest.raises(StoreUnavailable) as caught:
            await way.commit((), (Put("/a", b"1"),))
        assert not caught.value.maybe_applied
        assert asking.FIND_S <= house.loop.now <= asking.FIND_S + 1.5
        assert house.store.now == 0

    play(main)


def test_a_request_that_arrives_twice_is_done_once():
    async def main(house, node, way):
        house.net.way("s1", "store").twice = 1.0
        for n in range(1, 20):
            assert await way.commit((), (Put("/a", b"%d" % n),)) == n
        await asyncio.sleep(20)
        assert house.store.now == 19
        assert house.net.happened["arrived twice"] == 19

    play(main)


def test_what_waits_for_a_quorum_is_unknown_to_its_author_and_only_some_of_it_happens():
    async def main(house, node, way):
        house.store.leave()
        outcomes = await asyncio.gather(
            *(way.commit((), (Put(f"/{n}", b""),)) for n in range(40)), return_exceptions=True
        )
        assert all(outcome.maybe_applied for outcome in outcomes)
        with pytest.raises(StoreUnavailable) as caught:
            await way.get("/0")
        assert (caught.value.maybe_applied, caught.value.trouble) == (False, Trouble.TIMEOUT)
        assert house.store.now == 0
        house.store.come_back()
        await asyncio.sleep(1)
        assert house.store.now == house.happened["commit applied late"]
        assert 10 < house.store.now < 30
        assert house.happened["write lost with its leader"] == 40 - house.store.now

    play(main)


def test_what_is_done_around_each_commit_is_done_at_the_store_once():
    async def main(house, node, way):
        seen = []
        house.store.before_commit = lambda author, writes: seen.append(("before", author, house.store.now))
        house.store.after_commit = lambda author, writes, revision: seen.append(("after", author, revision))
        await way.commit((), (Put("/a", b""),))
        await way.commit((Compare("/a", mod=9),), (Put("/a", b""),))
        await way.commit((), (Delete("/none"),))
        assert seen == [("before", way, 0), ("after", way, 1), ("before", way, 1), ("before", way, 1)]

    play(main)


# Reads.


def test_a_stale_answer_is_of_the_past_once_and_never_below_what_this_way_was_told():
    async def main(house, node, way):
        await write(way, 3)
        other_node, other = house.way("s2")

        async def change():
            await other.commit((), (Put("/k/0", b"new"), Delete("/k/1"), Put("/k/9", b"new")))
            await other.commit((), (Put("/k/1", b"again"),))

        await house.at(other_node, change())

        async def listed():
            return [
                (page.revision, {entry.key: entry.value for entry in page.entries}) async for page in way.list("/k/")
            ]

        past = {"/k/0": b"0", "/k/1": b"1", "/k/2": b"2"}
        way.stale(1)
        assert await listed() == [(4, {"/k/0": b"new", "/k/2": b"2", "/k/9": b"new"})]
        assert await listed() == [(5, {"/k/0": b"new", "/k/1": b"again", "/k/2": b"2", "/k/9": b"new"})]
        late_node, late = house.way("s3")
        late.stale(2)
        assert (await house.at(late_node, late.get("/k/0"))).value == b"0"
        late.stale(2)
        assert await house.at(late_node, late.get("/k/9")) is None
        assert {entry.key: entry.value for entry in house.store.rows("/k/", 3)} == past
        way.stale(5)
        assert (await way.get("/k/1")).value == b"again"
        assert house.happened["stale read"] == 3

    play(main)


def test_a_list_that_takes_longer_than_history_is_kept_says_so():
    async def main(house, node, way):
        await write(way, 150)
        with pytest.raises(StoreUnavailable) as caught:
            async for _page in way.list("/k/"):
                await write(way, 1, "/other/")
                house.store.drop_history()
        assert caught.value.trouble is Trouble.OVERLOADED

    play(main)


def test_the_same_seed_makes_the_same_run():
    async def main(house, node, way):
        heard, lines = [], []
        house.store.listen(lambda revision, changes: lines.append((house.loop.now, revision, changes)))
        house.net.way("s1", "store").loss = 0.3
        house.net.way("store", "s1").loss = 0.3
        house.loop.start(node, follow(way, heard))
        await asyncio.gather(
            *(way.commit((Compare("/a", mod=0),), (Put("/a", b"%d" % n),)) for n in range(20)), return_exceptions=True
        )
        with suppress(StoreUnavailable):
            await way.lease(5)
        await asyncio.sleep(200)
        return lines, heard, dict(house.happened)

    assert play(main) == play(main)
    assert play(main) != play(main, seed=2)
