"""Every kind of store is backed up while it is written to, and restored into."""

import asyncio
from pathlib import Path

from harpoon.store import backup, cluster
from harpoon.store.cluster import CLUSTER, COPYING
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put, Store
from harpoon.store.restore import restore
from tests.store.copying import NOW_MS, RECORD, a_source, content, many
from tests.store.reading import put

COUNT = 1_500


async def written(store: Store, path: Path) -> Path:
    pieces = backup.write(store, cluster.Cluster("c1", 3), at_ms=NOW_MS, version="1")
    path.write_bytes(b"".join([piece async for piece in pieces]))
    return path


async def test_it_is_backed_up_at_one_revision_though_it_is_written_to(store: Store, tmp_path: Path) -> None:
    await put(store, CLUSTER, RECORD)
    keys = sorted(many(COUNT))
    for start in range(0, COUNT, 100):
        await store.commit((), [Put(key, b"0") for key in keys[start : start + 100]])
    is_over = asyncio.Event()

    async def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            # Both at once, at either end of the list.
            await store.commit((), [Put(keys[0], str(number).encode()), Put(keys[-1], str(number).encode())])

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for _ in range(5):
            path, target = await written(store, tmp_path / "backup"), MemoryStore()
            done = await restore(path, target, by="restorer", now_ms=NOW_MS)
            found = await content(target)
            assert done.whole.records == COUNT
            assert found[keys[0]] == found[keys[-1]]
            assert {found[key] for key in keys[1:-1]} == {b"0"}
        is_over.set()


async def test_a_backup_is_restored_into_it_exactly(store: Store, tmp_path: Path) -> None:
    values = many(COUNT) | {"/h/1/ctl/z": b"\xff\x00", "/h/1/ctl/large": b"x" * 500_000}
    path = await written(await a_source(values), tmp_path / "backup")
    await put(store, "/others/key")
    done = await restore(path, store, by="restorer", now_ms=NOW_MS)
    found = await content(store)
    assert found.pop("/others/key") == b"v"
    assert (await cluster.found(store, "fresh")) == ("c1", done.incarnation)
    del found[CLUSTER]
    assert found == values
    assert await store.get(COPYING) is None
