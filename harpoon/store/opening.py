"""From a store's URL to an open store."""

import os
from datetime import timedelta

from harpoon.kit.clock import Clock
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from harpoon.store.retention import KEPT_FOR
from harpoon.store.sqlite import SqliteStore
from harpoon.store.url import MemoryUrl, SqliteUrl, StoreUrl


async def open_store(url: StoreUrl, *, clock: Clock, kept_for: timedelta = KEPT_FOR) -> Store:
    """Open a store; whoever does closes it.

    Args:
        url: Where it is.
        clock: What leases and history are timed by.
        kept_for: How long history is kept for watchers that resume, unless it becomes too much.

    Raises:
        StoreUnavailable: It cannot be used, or not now.
        ValueError: A file that the URL names cannot be read.
    """
    match url:
        case MemoryUrl():
            return MemoryStore(clock=clock)
        case SqliteUrl(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return await SqliteStore.open(path, clock=clock, kept_for=kept_for)
        case _:
            # gRPC writes to stderr what its errors tell as well, in lines that are none of ours.
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            from harpoon.store.etcd.store import EtcdStore  # noqa: PLC0415 gRPC takes its time to load

            return await EtcdStore.open(url, clock=clock, kept_for=kept_for)
