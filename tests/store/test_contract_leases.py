"""The contract of `store.port`, its leases and its end: every implementation passes all of it."""

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing

import pytest

from harpoon.store.port import (
    Change,
    Put,
    Store,
    StoreUnavailable,
)
from tests.store.conftest import Opened
from tests.store.reading import entries, in_order, put, told


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
    lease = await store.lease(2)
    revision = await store.commit((), (Put("/l/a", b"", lease), Put("/l/b", b"", lease)))
    assert revision is not None
    await opened.outlast_leases()
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


async def test_closing_ends_the_leases_at_once_where_it_can(opened: Opened) -> None:
    for key in ("/l/a", "/l/b"):
        await opened.store.commit((), (Put(key, b"", await opened.store.lease(100)), Put("/free", b"")))
    await opened.store.close()
    if opened.kind.revokes_on_close:
        assert opened.ground.etcd is not None
        assert "leases" not in opened.ground.etcd.ask("lease/leases", {})
    if opened.kind.is_durable:
        await opened.open_again()
        assert [entry.key for entry in await entries(opened.store, "/")] == ["/free"]


async def test_an_idle_store_stands_still(opened: Opened) -> None:
    store, ttl_s = opened.store, opened.kind.shortest_lease_s
    lease = await store.lease(ttl_s)
    revision = await store.commit((), (Put("/l/a", b"", lease),))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5 * ttl_s), aclosing(store.watch("/", after=revision or 0)) as stream:
            while not (await anext(stream))[1]:
                pass
    assert await store.revision() == revision
    assert not lease.lost.is_set()


async def test_closing_finishes_what_is_in_flight_and_ends_watches(opened: Opened) -> None:
    store = opened.store
    await put(store, "/a")

    async def outcome(call: Awaitable[object]) -> object:
        try:
            return await call
        except StoreUnavailable as error:
            return error

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        watch = group.create_task(outcome(told(store, "/none/", after=opened.base + 1, until=opened.base + 99)))
        commits = [group.create_task(outcome(put(store, f"/{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        await store.close()
    assert isinstance(watch.result(), StoreUnavailable)
    kept = set()
    if opened.kind.is_durable:
        await opened.open_again()
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
        anext(aiter(store.watch("/", after=opened.base))),
        store.commit((), (Put("/a", b""),)),
        store.lease(1),
        store.compact(0),
        store.revision(),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
