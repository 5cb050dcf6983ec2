"""Waiting for runs to begin, end, pause or resume: for what their headers tell, which stand in the store.

The store is watched for as long as somebody waits, since no view mirrors runs. What cannot be watched any more is read:
whoever waits looks again in any case.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from aiohttp import web

from harpoon.api.blocking import read_after, read_wait
from harpoon.api.doors import DOORS
from harpoon.api.holders import status_of
from harpoon.api.stay import STAYS
from harpoon.control.ledger_records import RUNS, prefix_of, run_key, shard_of
from harpoon.model.header import Header
from harpoon.store.port import Compacted, Rewound, SlowWatcher


async def run_changed(request: web.Request, namespace: str, run: str, header: Header) -> None:
    """Wait, if asked to, until the header of a run is written again; not for one that is over.

    Raises:
        Invalid: It is no duration, or too long.
        StoreUnavailable: The store was closed.
    """
    if header.status.is_over:
        return
    key = run_key(namespace, run)
    place = f"{prefix_of(RUNS, shard_of(key))}{key}"
    after = await request.app[DOORS].store.revision()
    # It may have ended between being read and this.
    now = await status_of(request).existing(namespace, run)
    if now == header:
        await _changed(request, place, lambda name: name == place, after, read_wait(request))


async def runs_changed(request: web.Request, namespace: str | None) -> None:
    """Wait, if asked to, until the header of any run of a namespace, or of all, is written.

    Raises:
        Invalid: It is no duration, or too long; or it is no revision.
        Gone: It is a revision of another incarnation.
        StoreUnavailable: The store was closed.
    """
    wait, after = read_wait(request), read_after(request)
    if not wait:
        return
    start = await request.app[DOORS].store.revision() if after is None else after

    def concerns(name: str) -> bool:
        return namespace is None or name.removeprefix(RUNS).partition("/")[2].startswith(f"{namespace}/")

    await _changed(request, RUNS, concerns, start, wait)


async def _changed(
    request: web.Request, prefix: str, concerns: Callable[[str], bool], after: int, wait: timedelta
) -> None:
    """Wait until a key that concerns somebody is written after a revision, for so long at most."""
    store = request.app[DOORS].store

    async def watch() -> None:
        try:
            async for _, changes in store.watch(prefix, after=after):
                if any(concerns(change.key) for change in changes):
                    return
        except (Compacted, Rewound, SlowWatcher):
            return

    with request.app[STAYS].admit(request) as stay:
        try:
            async with asyncio.timeout(wait.total_seconds()):
                await stay.run(watch)
        except TimeoutError:
            return
