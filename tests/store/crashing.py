"""A process that commits as fast as it can and tells each commit acknowledged, until it is killed.

It is run as ``python -m tests.store.crashing <file> <round>``; each line it prints is ``<key> <revision>``.
"""

import asyncio
import sys

from harpoon.kit.clock import SystemClock
from harpoon.store.port import Put
from harpoon.store.sqlite import SqliteStore


async def main(path: str, attempt: str) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    lease = await store.lease(10)
    await store.commit((), (Put(f"/leased/{attempt}", b"", lease),))

    async def write(worker: int) -> None:
        number = 0
        while True:
            key = f"/{attempt}/{worker}/{number}"
            revision = await store.commit((), (Put(key, key.encode()), Put(f"/last/{worker}", key.encode())))
            print(key, revision, flush=True)
            number += 1

    async with asyncio.TaskGroup() as group:
        for worker in range(16):
            group.create_task(write(worker))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
