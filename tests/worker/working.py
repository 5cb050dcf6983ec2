"""A worker that runs on the test's event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from harpoon.worker import Settings, Worker
from harpoon.worker.serving import serve
from tests.worker.exchange import Site


class Working:
    def __init__(self, stop: asyncio.Event, task: "asyncio.Task[None]") -> None:
        self.stop = stop
        self.task = task

    async def end(self) -> None:
        """Have it drain, and return once it has."""
        self.stop.set()
        await self.task


@asynccontextmanager
async def working(app: Worker, *sites: Site, grace_s: float = 10, **told) -> AsyncIterator[Working]:
    """Run a worker while the block runs; then drain it."""
    stop = asyncio.Event()
    settings = Settings(
        servers=tuple(site.url for site in sites),
        grace=timedelta(seconds=grace_s),
        **{"token": "0123456789abcdef", **told},
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(app, settings, stop=stop))
        try:
            yield Working(stop, task)
        finally:
            stop.set()
