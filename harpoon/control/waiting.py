"""Waiting for anything of one job to change, without asking again and again."""

import asyncio

from harpoon.control.view import View, job_key_of
from harpoon.store.table import RowChange


class Waiters:
    """Those who wait, by the key of the job they wait for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        view.mirror.listen(self._hear)

    async def changed(self, key: str, after: int) -> None:
        """Return once anything of the job has changed after a revision; perhaps earlier, so look again."""
        if self._view.revision > after:
            return
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(key, set())
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(key) is waiters:
                del self._waiters[key]

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        if not self._waiters:
            return
        view = self._view
        for change in changes:
            if change.table is view.placements or change.table is view.actual:
                key = job_key_of(change.key.partition("/")[2])
            elif change.table is view.jobs or change.table is view.pending:
                key = change.key
            else:
                continue
            for waiter in self._waiters.get(key, ()):
                if not waiter.done():
                    waiter.set_result(None)
