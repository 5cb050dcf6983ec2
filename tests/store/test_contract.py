"""The contract of `store.port`: every implementation passes all of it."""

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing

import pytest

from harpoon.store.feed import QUEUED_BYTES_MAX
from harpoon.store.port import (
    COMMIT_BYTES_MAX,
    COMPARES_MAX,
    WRITES_MAX,
    Change,
    Compacted,
    Compare,
    Delete,
    Entry,
    Put,
    SlowWatcher,
    Store,
    StoreUnavailable,
)
from tests.store.conftest import Opened
from tests.store.reading import entries, told


async def put(store: Store, key: str, value: bytes = b"v") -> int:
    revision = await store.commit((), (Put(key, value),))
    assert revision is not None
    return revision


async def delete(store: Store, key: str) -> int:
    revision = await store.commit((), (Delete(key),))
    assert revision is not None
    return revision


# ---------------------------------------------------------------- commits


async def test_a_key_tells_when_it_came_to_be_and_when_it_was_last_written(store: Store) -> None:
    assert await store.get("/a") is None
    first = await put(store, "/a", b"1")
    second = await put(store, "/a", b"2")
    assert second > first
    assert await store.get("/a") == Entry("/a", b"2", first, second)
    assert await store.revision() == second


async def test_a_key_made_again_after_its_deletion_has_a_new_beginning(store: Store) -> None:
    await put(store, "/a")
    await delete(store, "/a")
    assert await store.get("/a") is None
    again = await put(store, "/a", b"")
    assert await store.get("/a") == Entry("/a", b"", again, again)


async def test_a_commit_writes_everything_at_one_revision(store: Store) -> None:
    await put(store, "/gone")
    revision = await store.commit((), (Put("/b", b"b"), Delete("/gone"), Put("/a", b"a")))
    assert revision is not None
    assert await entries(store, "/") == [
        Entry("/a", b"a", revision, revision),
        Entry("/b", b"b", revision, revision),
    ]


async def test_compares_are_on_the_last_write_or_on_the_beginning_of_a_key(store: Store) -> None:
    first = await put(store, "/a")
    second = await put(store, "/a")
    outcomes = [
        (Compare("/a", mod=second), True),
        (Compare("/a", mod=first), False),
        (Compare("/a", mod=0), False),
        (Compare("/a", create=first), True),
        (Compare("/a", create=second), False),
        (Compare("/none", mod=0), True),
        (Compare("/none", mod=first), False),
        (Compare("/none", create=first), False),
        (Compare("/none", create=0), True),
    ]
    for number, (compare, holds) in enumerate(outcomes):
        revision = await store.commit((compare,), (Put(f"/done/{number}", b""),))
        assert (revision is not None) is holds, compare
        assert (await store.get(f"/done/{number}") is not None) is holds, compare


async def test_a_commit_of_which_one_compare_fails_leaves_nothing(store: Store) -> None:
    revision = await put(store, "/a")
    compares = (Compare("/a", mod=revision), Compare("/b", mod=revision))
    assert await store.commit(compares, (Put("/a", b"new"), Put("/c", b""), Delete("/a2"))) is None
    assert await store.revision() == revision
    assert await entries(store, "/") == [Entry("/a", b"v", revision, revision)]


async def test_deleting_what_is_absent_takes_no_revision(store: Store) -> None:
    revision = await put(store, "/a")
    assert await delete(store, "/none") == revision
    assert await store.revision() == revision


@pytest.mark.parametrize(
    ("compares", "writes"),
    [
        ((), ()),
        ((), (Put("", b""),)),
        ((Compare("", mod=0),), (Put("/a", b""),)),
        ((), (Put("/a", b""), Put("/a", b"2"))),
        ((), (Put("/a", b""), Delete("/a"))),
        ([Compare(f"/{n}", mod=0) for n in range(COMPARES_MAX + 1)], (Put("/a", b""),)),
        ((), [Put(f"/{n}", b"") for n in range(WRITES_MAX + 1)]),
        ((), (Put("/a", b"x" * (COMMIT_BYTES_MAX - 1)),)),
        ((), (Put("/é", b"x" * (COMMIT_BYTES_MAX - 2)),)),
        ((), (Put("/\ud800", b""),)),
    ],
)
async def test_a_commit_beyond_the_limits_is_refused_whole(
    store: Store, compares: list[Compare], writes: list[Put]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        await store.commit(compares, writes)
    assert await store.revision() == 0
    assert await entries(store, "") == []


async def test_a_commit_at_the_limits_is_accepted(store: Store) -> None:
    compares = [Compare(f"/{n}", mod=0) for n in range(COMPARES_MAX)]
    revision = await store.commit(compares, [Put(f"/{n}", b"") for n in range(WRITES_MAX)])
    assert revision is not None
    assert len(await entries(store, "/")) == WRITES_MAX
    value = bytes(range(256)) * (COMMIT_BYTES_MAX // 256)
    large = await put(store, "/é", value[: COMMIT_BYTES_MAX - 3])
    assert await store.get("/é") == Entry("/é", value[:-3], large, large)
    assert await told(store, "/é", after=revision, until=large) == [
        (large, (Change("/é", Entry("/é", value[:-3], large, large)),))
    ]


async def test_many_large_values_are_listed_and_watched(store: Store) -> None:
    values = {f"/large/{n:02d}": bytes([n]) * 900_000 for n in range(24)}
    for key, value in values.items():
        await put(store, key, value)
    await put(store, "/large/small")
    listed = await entries(store, "/large/")
    assert {entry.key: entry.value for entry in listed} == values | {"/large/small": b"v"}
    watched = await told(store, "/large/", after=0, until=await store.revision())
    assert [changes[0].entry for _, changes in watched] == listed


async def test_a_commit_that_fails_among_many_at_once_fails_alone(store: Store) -> None:
    await put(store, "/taken")
    outcomes = await asyncio.gather(
        *(store.commit((Compare(f"/{n}", mod=0),), (Put(f"/{n}", b""),)) for n in range(20)),
        store.commit((Compare("/taken", mod=0),), (Put("/lost", b""),)),
        store.commit((), ()),
        *(store.commit((Compare(f"/{n}", mod=0),), (Put(f"/{n}", b""),)) for n in range(20, 40)),
        return_exceptions=True,
    )
    assert outcomes[20] is None
    assert isinstance(outcomes[21], ValueError)
    assert all(isinstance(outcome, int) for outcome in outcomes[:20] + outcomes[22:])
    assert len(await entries(store, "/")) == 41


async def test_of_many_that_compare_the_same_key_at_once_exactly_one_wins(store: Store) -> None:
    for _ in range(5):
        entry = await store.get("/counter")
        seen = 0 if entry is None else entry.mod_revision
        outcomes = await asyncio.gather(
            *(store.commit((Compare("/counter", mod=seen),), (Put("/counter", b"%d" % n),)) for n in range(30))
        )
        winners = [n for n, outcome in enumerate(outcomes) if outcome is not None]
        entry = await store.get("/counter")
        assert entry is not None
        assert [b"%d" % n for n in winners] == [entry.value]


async def test_a_caller_that_gives_up_does_not_hurt_the_others(store: Store) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks = [group.create_task(put(store, f"/{n}")) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
    assert all(task.cancelled() or task.result() for task in tasks)
    assert {f"/{n}" for n in range(1, 20, 2)} <= {entry.key for entry in await entries(store, "/")}


# ---------------------------------------------------------------- keys and lists


async def test_a_prefix_matches_what_begins_with_it_and_no_neighbour(store: Store) -> None:
    keys = [
        "/a",
        "/a/",
        "/a/b",
        "/a/b/c",
        "/a/\0",
        "/a/\U0010ffff",
        "/a/é",
        "/a0",
        "/a.",
        "/a0/b",
        "/b",
        "/\ud7ff",
        "/\ue000",
    ]
    for key in keys:
        await put(store, key)
    end = await store.revision()
    for prefix in ["", "/", "/a", "/a/", "/a/b", "/a/b/", "/a0", "/a/\U0010ffff", "\U0010ffff", "/\ud7ff", "/c"]:
        expected = sorted(key for key in keys if key.startswith(prefix))
        assert [entry.key for entry in await entries(store, prefix)] == expected
        watched = await told(store, prefix, after=0, until=end)
        assert sorted(change.key for _, changes in watched for change in changes) == expected


async def test_a_list_of_nothing_still_tells_the_revision(store: Store) -> None:
    revision = await put(store, "/a")
    pages = [page async for page in store.list("/none/")]
    assert [(page.revision, page.entries) for page in pages] == [(revision, ())]


async def test_a_list_of_100_000_keys_is_of_one_revision(store: Store) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(0, 100_000, WRITES_MAX):
            writes = [Put(f"/{k:06d}", b"%d" % k) for k in range(n, n + WRITES_MAX)]
            group.create_task(store.commit((), writes))
    seen = 0
    async for page in store.list("/"):
        if not seen:
            await store.commit((), (Put("/000000", b"later"), Put("/999999", b"later")))
        assert page.revision == 1_000
        assert [entry.value for entry in page.entries] == [b"%d" % k for k in range(seen, seen + len(page.entries))]
        seen += len(page.entries)
    assert seen == 100_000


# ---------------------------------------------------------------- watches


async def a_history(store: Store) -> list[tuple[int, tuple[Change, ...]]]:
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


def in_order(watched: list[tuple[int, tuple[Change, ...]]]) -> list[tuple[int, tuple[Change, ...]]]:
    return [(revision, tuple(sorted(changes, key=lambda change: change.key))) for revision, changes in watched]


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


# ---------------------------------------------------------------- leases


async def test_revoking_a_lease_deletes_its_keys_as_one_revision(store: Store) -> None:
    lease = await store.lease(10)
    await store.commit((), (Put("/l/a", b"", lease), Put("/l/free", b"")))
    before = await store.commit((), (Put("/l/b", b"", lease),))
    assert before is not None
    await lease.revoke()
    assert lease.lost.is_set()
    assert await store.revision() == before + 1
    watched = await told(store, "/l/", after=before, until=before + 1)
    assert in_order(watched) == [(before + 1, (Change("/l/a", None), Change("/l/b", None)))]
    assert [entry.key for entry in await entries(store, "/l/")] == ["/l/free"]
    await lease.revoke()
    assert await store.revision() == before + 1


async def test_a_lease_that_ran_out_takes_its_keys_along(opened: Opened) -> None:
    store = opened.store
    lease = await store.lease(10)
    revision = await store.commit((), (Put("/l/a", b"", lease), Put("/l/b", b"", lease)))
    assert revision is not None
    await opened.kind.outlast_leases(store, opened.clock)
    async with asyncio.timeout(20):
        await lease.lost.wait()
    watched = await told(store, "/l/", after=revision, until=revision + 1)
    assert in_order(watched) == [(revision + 1, (Change("/l/a", None), Change("/l/b", None)))]


async def test_a_key_written_again_without_the_lease_outlives_it(store: Store) -> None:
    first, second = await store.lease(10), await store.lease(10)
    await store.commit((), [Put(f"/{n}", b"", first) for n in range(3)])
    await store.commit((), (Put("/0", b"free"), Put("/1", b"moved", second)))
    await first.revoke()
    assert [entry.key for entry in await entries(store, "/")] == ["/0", "/1"]
    await second.revoke()
    assert [entry.key for entry in await entries(store, "/")] == ["/0"]


async def test_nothing_is_written_under_a_lease_that_is_over(store: Store) -> None:
    lease = await store.lease(10)
    await lease.revoke()
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit((), (Put("/a", b"", lease), Put("/b", b"")))
    assert not caught.value.maybe_applied
    assert await entries(store, "/") == []


async def test_a_lease_of_another_store_is_refused(store: Store) -> None:
    class Foreign:
        lost = asyncio.Event()

        async def revoke(self) -> None:
            """Nothing to revoke."""

    with pytest.raises(ValueError, match="lease"):
        await store.commit((), (Put("/a", b"", Foreign()),))


async def test_a_lease_with_more_keys_than_a_page_ends_as_one_revision(store: Store) -> None:
    lease = await store.lease(10)
    for n in range(0, 2_500, 100):
        await store.commit((), [Put(f"/l/{k:05d}", b"", lease) for k in range(n, n + 100)])
    revision = await store.revision()
    await lease.revoke()
    await put(store, "/l/after")
    watched = await told(store, "/l/", after=revision - 1, until=revision + 2)
    assert [len(changes) for _, changes in watched] == [100, 2_500, 1]


async def test_leases_do_not_outlive_the_store(opened: Opened) -> None:
    lease = await opened.store.lease(10)
    revision = await opened.store.commit((), (Put("/l/a", b"", lease), Put("/b", b"")))
    await opened.reopen()
    assert lease.lost.is_set()
    assert await entries(opened.store, "/l/") == []
    if opened.kind.is_durable:
        assert revision is not None
        assert await told(opened.store, "/", after=revision, until=revision + 1) == [
            (revision + 1, (Change("/l/a", None),))
        ]


async def test_an_idle_store_stands_still(store: Store) -> None:
    lease = await store.lease(0.2)
    revision = await store.commit((), (Put("/l/a", b"", lease),))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), aclosing(store.watch("/", after=revision or 0)) as stream:
            await anext(stream)
    assert await store.revision() == revision
    assert not lease.lost.is_set()


# ---------------------------------------------------------------- the end


async def test_closing_finishes_what_is_in_flight_and_ends_watches(opened: Opened) -> None:
    store = opened.store
    await put(store, "/a")

    async def outcome(call: Awaitable[object]) -> object:
        try:
            return await call
        except StoreUnavailable as error:
            return error

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        watch = group.create_task(outcome(told(store, "/none/", after=1, until=99)))
        commits = [group.create_task(outcome(put(store, f"/{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        await store.close()
    assert isinstance(watch.result(), StoreUnavailable)
    kept = set()
    if opened.kind.is_durable:
        opened.store = await opened.kind.open(opened.folder, opened.clock)
        kept = {entry.key for entry in await entries(opened.store, "/")}
    for n, commit in enumerate(commits):
        result = commit.result()
        if isinstance(result, StoreUnavailable):
            assert result.maybe_applied or f"/{n}" not in kept
        elif opened.kind.is_durable:
            assert f"/{n}" in kept


async def test_a_closed_store_says_so(opened: Opened) -> None:
    store = opened.store
    await store.close()
    await store.close()
    calls = [
        store.get("/a"),
        anext(aiter(store.list("/"))),
        anext(aiter(store.watch("/", after=0))),
        store.commit((), (Put("/a", b""),)),
        store.lease(1),
        store.compact(0),
        store.revision(),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
