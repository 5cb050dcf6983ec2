"""The contract of `store.port`, its commits and lists: every implementation passes all of it."""

import asyncio

import pytest

from harpoon.store.port import (
    COMMIT_BYTES_MAX,
    COMPARES_MAX,
    WRITES_MAX,
    Change,
    Compare,
    Delete,
    Entry,
    Put,
    Store,
)
from tests.store.conftest import Opened
from tests.store.reading import delete, entries, put, told


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
    store: Store, base: int, compares: list[Compare], writes: list[Put]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        await store.commit(compares, writes)
    assert await store.revision() == base
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


async def test_many_large_values_are_listed_and_watched(store: Store, base: int) -> None:
    values = {f"/large/{n:02d}": bytes([n]) * 900_000 for n in range(24)}
    for key, value in values.items():
        await put(store, key, value)
    await put(store, "/large/small")
    listed = await entries(store, "/large/")
    assert {entry.key: entry.value for entry in listed} == values | {"/large/small": b"v"}
    watched = await told(store, "/large/", after=base, until=await store.revision())
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


async def test_a_prefix_matches_what_begins_with_it_and_no_neighbour(store: Store, base: int) -> None:
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
    for prefix in ["", "/", "/a", "/a/", "/a/b", "/a/b/", "/a0", "/a/\U0010ffff", "\U0010ffff", "/\ud7ff", "/c"]:
        expected = sorted(key for key in keys if key.startswith(prefix))
        assert [entry.key for entry in await entries(store, prefix)] == expected
        keys.append(f"{prefix}~")
        watched = await told(store, prefix, after=base, until=await put(store, keys[-1]))
        expected = [key for key in keys if key.startswith(prefix)]
        assert [change.key for _, changes in watched for change in changes] == expected


async def test_a_list_of_nothing_still_tells_the_revision(store: Store) -> None:
    revision = await put(store, "/a")
    pages = [page async for page in store.list("/none/")]
    assert [(page.revision, page.entries) for page in pages] == [(revision, ())]


async def test_a_list_of_100_000_keys_is_of_one_revision(opened: Opened) -> None:
    store = opened.store
    async with asyncio.TaskGroup() as group:
        for n in range(0, 100_000, WRITES_MAX):
            writes = [Put(f"/{k:06d}", b"%d" % k) for k in range(n, n + WRITES_MAX)]
            group.create_task(store.commit((), writes))
    revision = await store.revision()
    assert revision == opened.base + 1_000 or not opened.kind.is_one_by_one
    seen = 0
    async for page in store.list("/"):
        if not seen:
            await store.commit((), (Put("/000000", b"later"), Put("/999999", b"later")))
        assert page.revision == revision
        assert [entry.value for entry in page.entries] == [b"%d" % k for k in range(seen, seen + len(page.entries))]
        seen += len(page.entries)
    assert seen == 100_000
