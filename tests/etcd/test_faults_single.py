"""One real etcd, killed and paused for real: nothing is lost, nothing told twice, and no outcome told falsely."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from harpoon.store.etcd.store import EtcdStore
from harpoon.store.port import Put, StoreUnavailable, Trouble
from tests.etcd.members import Member
from tests.etcd.traffic import ANSWERED_WITHIN_S, Traffic, a_store, renewed_since, traffic
from tests.store.reading import entries, put

pytestmark = pytest.mark.system

BACKLOG = 20_000
#: From the moment that etcd serves again.
BACK_WITHIN_S = 2.5


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    with Member(tmp_path) as made:
        yield made


async def write_backlog(member: Member) -> tuple[int, int]:
    """Write revisions of one commit each, and return the first and the last."""
    writers = 5
    async with AsyncExitStack() as open_stores:
        stores = [await open_stores.enter_async_context(a_store(member)) for _ in range(writers)]
        first = await stores[0].revision() + 1

        async def write(worker: int) -> int:
            # One after the other: commits at the same time would share a revision.
            for number in range(BACKLOG // writers):
                last = await put(stores[worker], f"/w/{worker}/{number:05}", b"x" * 1000)
            return last

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(write(worker)) for worker in range(writers)]
    return first, max(task.result() for task in tasks)


async def test_a_backlog_is_told_whole_and_once_though_etcd_is_killed_in_the_middle_of_it(member: Member) -> None:
    first, last = await write_backlog(member)
    assert last - first + 1 == BACKLOG
    kills = [first + 500, first + 7_000, first + 13_000]
    told = []
    async with a_store(member) as store, asyncio.timeout(60), asyncio.TaskGroup() as group:
        async with aclosing(store.watch("/w/", after=first - 1)) as stream:
            async for revision, changes in stream:
                told.append((revision, *changes))
                if kills and revision >= kills[0]:
                    member.kill()
                    group.create_task(asyncio.to_thread(member.start))
                    kills.pop(0)
                if revision >= last:
                    break
        kept = sorted(await entries(store, "/w/"), key=lambda entry: entry.mod_revision)
        assert store.health().counts["watch_resumes"] > 0
    assert [revision for revision, *_ in told] == list(range(first, last + 1))
    assert [change.entry for _, change in told] == kept


async def go_away(member: Member, *, seconds: float, is_killed: bool) -> tuple[float, float]:
    """Have etcd away for so long, and return when that began and when it served again, at the latest."""
    gone = time.monotonic()
    if is_killed:
        member.kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(member.start)
    else:
        member.pause()
        await asyncio.sleep(seconds)
        member.resume()
    return gone, time.monotonic()


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "paused"])
async def test_an_outage_of_two_seconds_ends_no_lease_and_no_watch(member: Member, is_killed: bool) -> None:
    async with a_store(member) as store, traffic(store) as going_on:
        lease = await store.lease(10)
        await store.commit((), (Put("/leased", b"", lease),))
        gone, back = await go_away(member, seconds=2, is_killed=is_killed)
        await going_on.works_again(back, BACK_WITHIN_S)
        told_truly_of_an_outage(going_on, gone, gone + 2, is_killed=is_killed)
        await renewed_since(store, lease, back)
        assert await store.get("/leased") is not None
        await lease.revoke()
        assert await store.get("/leased") is None


async def test_an_outage_of_ten_seconds_ends_a_short_lease_in_time_and_no_watch(tmp_path: Path) -> None:
    # Both ways at once, on an etcd each: it takes half the time.
    with Member(tmp_path / "killed") as killed, Member(tmp_path / "paused") as paused:
        async with asyncio.TaskGroup() as group:
            group.create_task(outlast_ten_seconds(killed, is_killed=True))
            group.create_task(outlast_ten_seconds(paused, is_killed=False))


async def outlast_ten_seconds(member: Member, *, is_killed: bool) -> None:
    ttl = 5
    async with a_store(member) as store, traffic(store, every_s=0.05) as going_on:
        lease = await store.lease(ttl)
        longer = await store.lease(30)
        await store.commit((), (Put("/leased", b"", lease),))
        await store.commit((), (Put("/leased/longer", b"", longer),))
        # So that it has been renewed at least once.
        await asyncio.sleep(ttl * 0.6)
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(moment_of(lease.lost))
            away = group.create_task(go_away(member, seconds=10, is_killed=is_killed))
        gone, back = away.result()
        # A keepalive that was answered had been sent before etcd went away.
        assert gone + ttl / 4 <= lost.result() <= gone + ttl + 0.2
        await going_on.works_again(back, BACK_WITHIN_S)
        told_truly_of_an_outage(going_on, gone, gone + 10, is_killed=is_killed)
        with pytest.raises(StoreUnavailable) as caught:
            await store.commit((), (Put("/leased/late", b"", lease),))
        assert (caught.value.trouble, caught.value.maybe_applied) == (Trouble.LEASE_OVER, False)
        assert not longer.lost.is_set()
        await store.commit((), (Put("/leased/longer", b"still", longer),))


async def moment_of(event: asyncio.Event) -> float:
    await event.wait()
    return time.monotonic()


def told_truly_of_an_outage(going_on: Traffic, gone: float, back: float, *, is_killed: bool) -> None:
    """Look at what commits were told; whether it is true is checked when the traffic ends."""
    failures = going_on.failures()
    early = [one for one in going_on.commits if gone + 0.5 < one.began < one.ended < back]
    assert not [one for one in early if isinstance(one.told, int)], "nobody was there to acknowledge it"
    for one, error in failures:
        assert gone - ANSWERED_WITHIN_S < one.began
        assert error.trouble in {Trouble.UNREACHABLE, Trouble.TIMEOUT, Trouble.NO_LEADER}
        assert str(error)
    if back - gone > ANSWERED_WITHIN_S + 2:
        late = [error for one, error in failures if gone + ANSWERED_WITHIN_S < one.began]
        assert late, "nothing was tried, or nothing answered, in a long outage"
        if is_killed:
            assert not any(error.maybe_applied for error in late), "nothing could be sent to a server that is not there"
    assert going_on.store.health().trouble is None


async def test_an_outage_is_told_by_health_and_by_every_call(member: Member) -> None:
    async with a_store(member) as store:
        revision = await put(store, "/a")
        assert store.health().trouble is None
        member.kill()
        began = time.monotonic()
        calls = (store.get("/a"), store.revision(), store.compact(revision), store.lease(5), entries(store, "/"))
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, StoreUnavailable)
            assert outcome.trouble in {Trouble.UNREACHABLE, Trouble.TIMEOUT}
        assert time.monotonic() - began < ANSWERED_WITHIN_S
        health = store.health()
        assert health.trouble is Trouble.UNREACHABLE
        assert member.endpoint in health.at + health.reason
        assert health.since is not None
        assert health.errors[Trouble.UNREACHABLE] > 0
        await asyncio.to_thread(member.start)
        await back_to_work(store)
        assert store.health().trouble is None


async def back_to_work(store: EtcdStore) -> None:
    """Wait until commits are answered, as anybody would who tries again."""
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            try:
                await put(store, "/awake")
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_what_kills_and_pauses_leave_unknown_is_told_so_and_settled_by_reading_back(member: Member) -> None:
    rng = random.Random(7)
    # The last one is longer than any answer is waited for, and meanwhile thousands of commits gather.
    faults = [(True, 0.0)] * 5 + [(False, 3.5), (False, ANSWERED_WITHIN_S)]
    async with a_store(member) as store, traffic(store, every_s=0.002) as going_on:
        for is_killed, seconds in faults:
            await asyncio.sleep(0.2 + 0.3 * rng.random())
            _, back = await go_away(member, seconds=seconds, is_killed=is_killed)
            await going_on.works_again(back, BACK_WITHIN_S)
        unknown = [one for one, error in going_on.failures() if error.maybe_applied]
        assert unknown, "what was under way when etcd stood still got no answer"
        kept = {entry.key for entry in await entries(store, "/w/")}
        happened = [one for one in unknown if one.key in kept]
        print(f"{len(going_on.commits)} commits, {len(unknown)} unknown, {len(happened)} of them happened")


async def test_a_watch_goes_on_whenever_its_member_is_left(member: Member) -> None:
    async with a_store(member) as store, asyncio.TaskGroup() as group:
        for turns in range(20):
            after = await put(store, "/w/before")
            async with aclosing(store.watch("/w/", after=after)) as stream:
                waiting = group.create_task(anext(stream))
                # While it is being opened, or just was.
                for _ in range(turns):
                    await asyncio.sleep(0)
                store._members.leave(store._members.current)
                last = await put(store, "/w/last")
                async with asyncio.timeout(BACK_WITHIN_S):
                    assert (await waiting)[0] == last
