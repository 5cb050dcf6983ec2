"""Stores of each kind, for what is to be the same on all of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harpoon.kit.clock import SystemClock
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from harpoon.store.sqlite import SqliteStore
from harpoon.store.url import EtcdUrl
from tests.etcd.members import Member
from tests.etcd.opening import opened


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store of each kind in turn, with nothing in it."""
    if request.param == "etcd":
        member: Member = request.getfixturevalue("etcd")
        member.wipe()
        async with opened(EtcdUrl(endpoints=(member.endpoint,))) as store:
            yield store
        return
    is_memory = request.param == "memory"
    kept: Store = MemoryStore() if is_memory else await SqliteStore.open(tmp_path / "store", clock=SystemClock())
    try:
        yield kept
    finally:
        await kept.close()
