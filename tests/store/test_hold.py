"""Holds: one holder at a time, and a token that rises."""

import pytest

from harpoon.model.token import Token
from harpoon.store.hold import acquire
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put, Store, StoreUnavailable
from tests.store.conftest import Opened


async def test_a_hold_is_one_instances_at_a_time(store: Store) -> None:
    first = await acquire(store, await store.lease(10), "scheduler", "one", 1)
    assert first is not None
    assert await acquire(store, await store.lease(10), "scheduler", "two", 1) is None
    assert await acquire(store, first.lease, "scheduler", "one", 1) is None
    assert await acquire(store, first.lease, "another", "one", 1) is not None
    entry = await store.get("/h/1/ctl/holds/scheduler")
    assert entry is not None
    assert (entry.value, entry.create_revision) == (b'{"instance":"one"}', first.token.revision)


async def test_a_released_hold_can_be_taken_with_a_higher_token(store: Store, base: int) -> None:
    lease = await store.lease(10)
    first = await acquire(store, lease, "scheduler", "one", 7)
    assert first is not None
    assert first.token == Token(incarnation=7, revision=base + 1)
    await first.release(store)
    second = await acquire(store, lease, "scheduler", "one", 7)
    assert second is not None
    assert second.token > first.token
    await first.release(store)
    assert await store.get(second.key) is not None, "what is another's is not released"


async def test_whoever_lost_a_hold_can_no_longer_write_by_it(opened: Opened) -> None:
    store = opened.store
    first = await acquire(store, await store.lease(2), "scheduler", "one", 1)
    assert first is not None
    assert await store.commit((first.compare,), (Put("/work", b"one"),)) is not None
    await opened.outlast_leases()
    await first.lost.wait()
    second = await acquire(store, await store.lease(10), "scheduler", "two", 1)
    assert second is not None
    assert await store.commit((first.compare,), (Put("/work", b"one"),)) is None
    assert await store.commit((second.compare,), (Put("/work", b"two"),)) is not None
    assert not second.lost.is_set()


async def test_nothing_is_held_by_a_lease_that_is_over(store: Store) -> None:
    lease = await store.lease(10)
    await lease.revoke()
    with pytest.raises(StoreUnavailable):
        await acquire(store, lease, "scheduler", "one", 1)
    assert await store.get("/h/1/ctl/holds/scheduler") is None


class Forgetful(MemoryStore):
    """Commits, and loses the answer; or loses the commit."""

    commits = True

    async def commit(self, *arguments: object) -> int | None:
        if self.commits:
            await super().commit(*arguments)
        raise StoreUnavailable("the answer was lost", maybe_applied=True)


async def test_after_a_lost_answer_the_key_tells_whose_the_hold_is() -> None:
    store = Forgetful()
    lease = await store.lease(10)
    store.commits = False
    assert await acquire(store, lease, "scheduler", "one", 1) is None
    store.commits = True
    hold = await acquire(store, lease, "scheduler", "one", 1)
    assert hold is not None
    assert hold.token == Token(incarnation=1, revision=1)
    assert await acquire(store, lease, "scheduler", "two", 1) is None
