"""What a store tells of itself without being asked anything: how much there is, and what is wrong."""

from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.store import sqlite
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put, StoreHealth, StoreUnavailable, Trouble
from harpoon.store.sqlite import SqliteStore
from tests.store.implementations import HandClock
from tests.store.reading import put


async def a_file(folder: Path, clock: HandClock) -> SqliteStore:
    return await SqliteStore.open(folder / "store.db", clock=clock, synchronous="NORMAL")


async def test_a_store_in_memory_tells_what_it_holds() -> None:
    store = MemoryStore()
    await put(store, "/a")
    await put(store, "/b")
    await store.commit((), (Delete("/a"),))
    await store.commit((), (Delete("/a"),))  # there is nothing to delete, so it is no commit
    health = store.health()
    assert (health.kind, health.trouble, health.counts) == ("memory", None, {"commits": 3})
    assert (health.gauges["revision"], health.gauges["keys"]) == (3, 1)
    await store.close()
    assert store.health().trouble is Trouble.CLOSED


async def test_a_file_tells_its_size_and_what_was_written(tmp_path: Path) -> None:
    store = await a_file(tmp_path, HandClock())
    before = store.health()
    await put(store, "/a", bytes(100_000))
    await put(store, "/b")
    health = store.health()
    assert (health.kind, health.at) == ("sqlite", str(tmp_path / "store.db"))
    assert health.version.startswith("3.")
    assert (health.trouble, health.reason, health.errors) == (None, "", {})
    assert health.counts == {"commits": 2, "batches": 2}
    assert health.gauges["revision"] == 2
    assert health.gauges["db_bytes"] >= before.gauges["db_bytes"] + 100_000
    await store.close()
    assert store.health().trouble is Trouble.CLOSED


async def test_a_full_disk_is_told_until_a_commit_succeeds_again(tmp_path: Path) -> None:
    clock = HandClock()
    store = await a_file(tmp_path, clock)
    tables = store._writer._tables
    pages = {"few": "PRAGMA max_page_count = 1", "many": "PRAGMA max_page_count = 1000000"}
    tables._execute(pages["few"])
    began = clock.elapsed
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            await put(store, "/a", bytes(100_000))
        assert caught.value.trouble is Trouble.FULL
        clock.advance(timedelta(minutes=1))
    health = store.health()
    assert (health.trouble, health.since, health.errors) == (Trouble.FULL, began, {Trouble.FULL: 2})
    assert "free space on its disk" in health.reason
    tables._execute(pages["many"])
    await put(store, "/a")
    assert the_trouble(store.health()) == (None, "", None)
    assert store.health().errors == {Trouble.FULL: 2}, "what was counted stays"
    await store.close()


async def test_errors_of_one_call_are_counted_and_no_trouble_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await a_file(tmp_path, HandClock())
    lease = await store.lease(10)
    await lease.revoke()
    with pytest.raises(StoreUnavailable):
        await store.commit((), (Put("/a", b"", lease),))
    monkeypatch.setattr(sqlite, "_WAITING_MAX", 0)
    with pytest.raises(StoreUnavailable):
        await put(store, "/a")
    assert store.health().errors == {Trouble.LEASE_OVER: 1, Trouble.OVERLOADED: 1}
    assert the_trouble(store.health()) == (None, "", None)
    await store.close()


def the_trouble(health: StoreHealth) -> tuple:
    return health.trouble, health.reason, health.since
