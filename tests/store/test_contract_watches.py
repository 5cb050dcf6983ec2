"""The contract of `store.port`, its watches: every implementation passes all of it."""

import asyncio
from contextlib import aclosing, suppress

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
from tests.store.reading import Told, entries, in_order, put, told, told_up_to


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


async def test_a_watch_resumed_at_any_point_tells_the_rest_whole(store: Store, base: int) -> None:
    expected = await a_history(store)
    end = await store.revision()
    for after in range(base, end + 1):
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


async def test_watches_begun_while_others_write_miss_nothing_and_repeat_nothing(opened: Opened) -> None:
    store, base = opened.store, opened.base
    written: dict[int, set[str]] = {}

    async def write(worker: int) -> None:
        for n in range(30):
            key = f"/w/{worker}/{n}"
            written.setdefault(await put(store, key), set()).add(key)

    async with asyncio.TaskGroup() as group:
        watches = []
        async with asyncio.TaskGroup() as writing:
            for worker in range(10):
                writing.create_task(write(worker))
                watches.append(group.create_task(told_up_to(store, "/w/", "/w/last", after=base)))
                await asyncio.sleep(0.005)
        end = await put(store, "/w/last")
    assert sorted(written) == list(range(base + 1, end)), "no revision is of nothing"
    assert len(written) == 300 or not opened.kind.is_one_by_one
    for watch in watches:
        seen = [(revision, {change.key for change in changes}) for revision, changes in watch.result()]
        assert seen == [*sorted(written.items()), (end, {"/w/last"})]


async def test_a_watch_may_begin_ahead_of_the_present(store: Store, base: int) -> None:
    await put(store, "/a")
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(told(store, "/", after=base + 3, until=base + 4))
        for _ in range(4):
            await asyncio.sleep(0.001)
            await put(store, "/a")
    assert [revision for revision, _ in watch.result()] == [base + 4]


async def test_history_that_was_compacted_cannot_be_watched(store: Store, base: int) -> None:
    for n in range(10):
        await put(store, f"/{n}")
    await store.compact(base + 6)
    await store.compact(base + 4)
    for after in (base, base + 5):
        with pytest.raises(Compacted) as caught:
            await anext(aiter(store.watch("/", after=after)))
        assert caught.value.oldest == base + 6
    watched = await told(store, "/", after=base + 6, until=base + 10)
    assert [revision - base for revision, _ in watched] == [7, 8, 9, 10]
    assert len(await entries(store, "/")) == 10
    assert await store.revision() == base + 10


async def test_compaction_does_not_disturb_a_live_watch(store: Store, base: int) -> None:
    await put(store, "/a")
    async with aclosing(store.watch("/", after=base)) as stream:
        assert (await anext(stream))[0] == base + 1
        await put(store, "/a")
        await store.compact(base + 2)
        await put(store, "/a")
        assert [(await anext(stream))[0], (await anext(stream))[0]] == [base + 2, base + 3]


async def test_everything_can_be_compacted_and_revisions_go_on(opened: Opened) -> None:
    for _ in range(5):
        await put(opened.store, "/a")
    end = opened.base + 5
    await opened.store.compact(end)
    if opened.kind.is_durable:
        await opened.reopen()
    assert await opened.store.revision() == end
    assert await put(opened.store, "/a") == end + 1
    assert [revision for revision, _ in await told(opened.store, "/", after=end, until=end + 1)] == [end + 1]


async def test_what_has_not_happened_cannot_be_compacted(store: Store) -> None:
    revision = await put(store, "/a")
    with pytest.raises(ValueError, match="yet to come"):
        await store.compact(revision + 1)


async def test_a_slow_watcher_is_cut_off_alone_and_can_resume(opened: Opened) -> None:
    store, base = opened.store, opened.base
    value = b"x" * 1_000_000
    count = QUEUED_BYTES_MAX // len(value) + 2
    async with (
        aclosing(store.watch("/", after=base)) as slow,
        aclosing(store.watch("/", after=base)) as quick,
        aclosing(store.watch("/quiet/", after=base)) as quiet,
    ):
        first = await put(store, "/first")
        assert [(await anext(stream))[0] for stream in (slow, quick)] == [first, first]
        for n in range(1, count + 1):
            assert await put(store, "/large", value) == first + n
            assert (await anext(quick))[0] == first + n
        late: list[int] = []
        with pytest.raises(SlowWatcher) if opened.kind.cuts_slow_watchers else suppress(SlowWatcher):
            async with asyncio.timeout(20):
                while len(late) < count:
                    late.append((await anext(slow))[0])
        assert late == ([] if opened.kind.cuts_slow_watchers else list(range(first + 1, first + 1 + len(late))))
        end = await put(store, "/quiet/a")
        watched = await told(store, "/", after=first, until=end)
        assert [revision for revision, _ in watched] == list(range(first + 1, end + 1))
        async with asyncio.timeout(20):
            while not (await anext(quiet))[1]:
                pass
