"""Opening a store that may be refused, and using all of one that is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harpoon.kit.clock import SystemClock
from harpoon.store.etcd.store import EtcdStore
from harpoon.store.port import Lease, Put, StoreUnavailable
from harpoon.store.url import EtcdUrl
from tests.store.reading import entries, put, told

#: What cannot be opened is refused within so long.
REFUSED_WITHIN_S = 8.0


@asynccontextmanager
async def opened(url: EtcdUrl) -> AsyncIterator[EtcdStore]:
    store = await EtcdStore.open(url, clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def refusal(url: EtcdUrl) -> StoreUnavailable:
    """Return why a store cannot be opened, which is told soon."""
    async with asyncio.timeout(REFUSED_WITHIN_S):
        with pytest.raises(StoreUnavailable) as caught:
            async with opened(url):
                pass
    assert not caught.value.maybe_applied
    return caught.value


async def check_all_ways(store: EtcdStore) -> None:
    """Use a store by every call that it makes of etcd."""
    lease = await store.lease(2)
    first = await store.commit((), (Put("/h/tls/a", b"1", lease),))
    assert first is not None
    second = await put(store, "/h/tls/b")
    assert [entry.key for entry in await entries(store, "/h/tls/")] == ["/h/tls/a", "/h/tls/b"]
    assert [revision for revision, _ in await told(store, "/h/tls/", after=first - 1, until=second)] == [first, second]
    await store.compact(first)
    await is_renewed(store, lease)
    await lease.revoke()
    assert await store.get("/h/tls/a") is None


async def is_renewed(store: EtcdStore, lease: Lease) -> None:
    """Wait until a lease is renewed once more."""
    before = store.health().counts.get("lease_renewals", 0)
    async with asyncio.timeout(10):
        while store.health().counts.get("lease_renewals", 0) == before:
            await asyncio.sleep(0.02)
    assert not lease.lost.is_set()
