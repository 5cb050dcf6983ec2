"""A registry's way through a backup, and what a controller finds in its next life."""

from pathlib import Path

from harpoon.store import backup, cluster
from harpoon.store.cluster import CLUSTER
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from harpoon.store.restore import restore


async def back_up(store: Store, path: Path) -> Path:
    """Write a store's registry into a file."""
    entry = await store.get(CLUSTER)
    assert entry is not None
    pieces = backup.write(store, cluster.read(entry.value), at_ms=1, version="1")
    path.write_bytes(b"".join([piece async for piece in pieces]))
    return path


async def restored(path: Path, life: int) -> MemoryStore:
    """A fresh store that holds a backup, in a life that begins so many seconds after all clocks'."""
    store = MemoryStore()
    await restore(path, store, by="restorer", now_ms=life * 1000)
    return store
