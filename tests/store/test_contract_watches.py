"""The contract of `store.port`, its watches: every implementation passes all of it."""

import asyncio
from contextlib import aclosing

import pytest

from harpoon.store.feed import QUEUED_BYTES_MAX
from harpoon.store.port import (
    Change,
    Compacted,
    Delete,
    Put,
    SlowWatcher,
    Store,
)
from tests.store.conftest import Opened
from tests.store.reading import Told, entries, in_order, put, told


async def a_history(store: Store) -> Told:
    """Write some revisions, and return what a watch of /w/ must tell."""
    expected = []
    for n in range(1, 31):
        writes = [Put(f"/w/{n % 7}", b"%d" % n), Put("/other", b""), Put(f"/w/{n}/x", b"")]
        if n % 5 == 0:
            writes = [Delete(f"/w/{n - 1}/x"), Put("/w/0", b"again")]
        if n % 11 == 0:
            await put(store, "/other")
            continue
        keys = {write.key for write in writes if write.key.startswith("/w/")}
        revision = await store.commit((), writes)
        assert revision is not None
        found = {entry.key: entry for entry in await entries(store, "/w/")}
        expected.append((revision, {key: found.get(key) for key in keys}))
    return [
        (revision, tuple(Change(key, entry) for key, entry in sorted(changes.items())))
        for revision, changes in expected
    ]


async def test_a_watch_resumed_at_any_point_tells_the_rest_whole(store: Store) -> None:
    expected = await a_history(store)
    end = await store.revision()
    for after in range(end + 1):
        rest = [told_then for told_then in expected if told_then[0] > after]
        last = await put(store, "/w/last") if after == end else end
        watched = await told(store, "/w/", after=after, until=last)
        assert in_order(watched)[: len(rest)] == rest
        assert len(watched) - len(rest) == (after == end)


async def test_a_live_watch_tells_the_same_as_the_history(store: Store) -> None:
    after = await put(store, "/w/before")
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        live = group.create_task(told(store, "/w/", after=after, until=after + 30))
        await asyncio.sleep(0)
        expected = await a_history(store)
        while not live.done():
            await put(store, "/w/end")
    assert in_order(live.result())[: len(expected)] == expected


async def test_watches_begun_while_others_write_miss_nothing_and_repeat_nothing(store: Store) -> None:
    total = 300

    async def write(worker: int) -> None:
        for n in range(total // 10):
            await put(store, f"/w/{worker}/{n}")

    async with asyncio.TaskGroup() as group:
        watches = []
        for worker in range(10):
            group.create_task(write(worker))
            watches.append(group.create_task(told(store, "/w/", after=0, until=total)))
            await asyncio.sleep(0.005)
    for watch in watches:
        assert [revision for revision, _ in watch.result()] == list(range(1, total + 1))


async def test_a_watch_may_begin_ahead_of_the_present(store: Store) -> None:
    await put(store, "/a")
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(told(store, "/", after=3, until=4))
        for _ in range(4):
            await asyncio.sleep(0.001)
            await put(store, "/a")
    assert [revision for revision, _ in watch.result()] == [4]


async def test_history_that_was_compacted_cannot_be_watched(store: Store) -> None:
    for n in range(10):
        await put(store, f"/{n}")
    await store.compact(6)
    await store.compact(4)
    for after in (0, 5):
        with pytest.raises(Compacted) as caught:
            await anext(aiter(store.watch("/", after=after)))
        assert caught.value.oldest == 6
    assert [revision for revision, _ in await told(store, "/", after=6, until=10)] == [7, 8, 9, 10]
    assert len(await entries(store, "/")) == 10
    assert await store.revision() == 10


async def test_compaction_does_not_disturb_a_live_watch(store: Store) -> None:
    await put(store, "/a")
    async with aclosing(store.watch("/", after=0)) as stream:
        assert (await anext(stream))[0] == 1
        await put(store, "/a")
        await store.compact(2)
        await put(store, "/a")
        assert [(await anext(stream))[0], (await anext(stream))[0]] == [2, 3]


async def test_everything_can_be_compacted_and_revisions_go_on(opened: Opened) -> None:
    for _ in range(5):
        await put(opened.store, "/a")
    await opened.store.compact(5)
    if opened.kind.is_durable:
        await opened.reopen()
    assert await opened.store.revision() == 5
    assert await put(opened.store, "/a") == 6
    assert [revision for revision, _ in await told(opened.store, "/", after=5, until=6)] == [6]


async def test_what_has_not_happened_cannot_be_compacted(store: Store) -> None:
    await put(store, "/a")
    with pytest.raises(ValueError, match="yet to come"):
        await store.compact(2)


async def test_a_slow_watcher_is_cut_off_alone_and_can_resume(store: Store) -> None:
    value = b"x" * 1_000_000
    count = QUEUED_BYTES_MAX // len(value) + 2
    async with (
        aclosing(store.watch("/", after=0)) as slow,
        aclosing(store.watch("/", after=0)) as quick,
        aclosing(store.watch("/quiet/", after=0)) as quiet,
    ):
        await put(store, "/first")
        assert [(await anext(stream))[0] for stream in (slow, quick)] == [1, 1]
        for n in range(2, count + 2):
            await put(store, "/large", value)
            assert (await anext(quick))[0] == n
        with pytest.raises(SlowWatcher):
            await anext(slow)
        await put(store, "/quiet/a")
        assert (await told(store, "/", after=1, until=count + 2))[-1][0] == count + 2
        async with asyncio.timeout(20):
            while not (await anext(quiet))[1]:
                pass
