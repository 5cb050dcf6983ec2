"""Registries to copy, and a store at which things go wrong while they are copied."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from harpoon.store.cluster import CLUSTER, REGISTRY
from harpoon.store.copy import Copied, copy
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compare, Page, Put, Store, StoreUnavailable, Write
from harpoon.store.sqlite import SqliteStore
from tests.store.implementations import HandClock
from tests.store.reading import entries, put

NOW_MS = 1_800_000_000_123
RECORD = json.dumps({"cluster": "c1", "incarnation": 3, "more": "kept"}).encode()


async def a_source(records: dict[str, bytes] | None = None) -> MemoryStore:
    """A store that holds a registry."""
    store = MemoryStore()
    await put(store, CLUSTER, RECORD)
    for key, value in (records or {"/h/1/ctl/jobs/default/web": b"{}"}).items():
        await put(store, key, value)
    return store


def many(count: int) -> dict[str, bytes]:
    return {f"/h/1/ctl/jobs/default/j{number:05}": str(number).encode() for number in range(count)}


async def content(store: Store, prefix: str = "") -> dict[str, bytes]:
    return {entry.key: entry.value for entry in await entries(store, prefix)}


async def copied(source: Store, target: Store, by: str = "copier") -> Copied:
    return await copy(source, target, by=by, now_ms=NOW_MS)


@asynccontextmanager
async def files(folder: Path, *names: str) -> AsyncIterator[list[SqliteStore]]:
    async with AsyncExitStack() as stack:
        stores = [
            await SqliteStore.open(folder / name, clock=HandClock(), synchronous="NORMAL", kept_for=HandClock().elapsed)
            for name in names
        ]
        for store in stores:
            stack.push_async_callback(store.close)
        yield stores


class Disturbed:
    """A store at which something goes wrong at its n-th commit, and every one after it if it is to stay away.

    Args:
        store: The one behind it.
        at: The commit, counted from 1; None: none.
        is_applied: Whether that commit happens all the same, and only its answer is lost.
    """

    def __init__(self, store: Store, at: int | None = None, *, is_applied: bool = False) -> None:
        self._store = store
        self._at = at
        self._is_applied = is_applied
        self.commits = 0
        #: What happens to the value of a put.
        self.spoil = lambda _key, value: value
        #: Called before each list of the registry, and before each commit with its number.
        self.before_list = _nothing
        self.before_commit = _nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        if prefix == REGISTRY:
            await self.before_list()
        async for page in self._store.list(prefix):
            yield page

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        self.commits += 1
        await self.before_commit(self.commits)
        if self._at is None or self.commits < self._at:
            spoilt = [Put(w.key, self.spoil(w.key, w.value)) if isinstance(w, Put) else w for w in writes]
            return await self._store.commit(compares, spoilt)
        is_the_one = self.commits == self._at
        if is_the_one and self._is_applied:
            await self._store.commit(compares, writes)
        raise StoreUnavailable("the connection broke", maybe_applied=is_the_one)


async def _nothing(_number: int = 0) -> None:
    """Nothing happens."""
