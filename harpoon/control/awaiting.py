"""Runs that jobs wait for: how each stands is kept in a record of the control keyspace, beside the jobs.

So the scheduler, every plan and every `why` read one revision, and what a job once waited for is known when the run is
long deleted. The records are written with whoever schedules, by the same hold. Nothing is asked again and again: of
each shard in which there is an awaited run the headers are watched, and of those only the awaited ones are read. They
are written when a run begins and when it ends, not for a step in between.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from harpoon.control.awaited_runs import look_up
from harpoon.control.ledger_records import RUNS, prefix_of, shard_of
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.references import References, run_mark
from harpoon.control.run_reader import RunReader
from harpoon.control.view import AWAITED, View
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.kit.loop import Loop
from harpoon.store.hold import Hold
from harpoon.store.port import (
    Compacted,
    Compare,
    Delete,
    Put,
    Rewound,
    SlowWatcher,
    StoreUnavailable,
    Trouble,
    Write,
)

_ENDING: Final = frozenset({Trouble.CLOSED, Trouble.ROLLED_BACK})

_log = structlog.get_logger(__name__)


class Awaiting:
    """Keeps the records of awaited runs, by virtue of the scheduler's hold.

    Args:
        means: The store and the pace.
        metrics: Counts what fails.
        view: What there is.
        references: Which jobs wait for which runs; kept by the scheduler.
        hold: Returns the hold as it is now.
        oust: Called when it is gone.
    """

    def __init__(
        self,
        means: Means,
        metrics: Metrics,
        view: View,
        references: References,
        hold: Callable[[], Hold],
        oust: Callable[[], None],
    ) -> None:
        self._store = means.store
        self._retry = means.pace.retry
        self._view = view
        self._references = references
        self._hold = hold
        self._oust = oust
        self._reader = RunReader(means.store)
        #: Shard → what follows its headers, for as long as there is an awaited run in it.
        self._followers: dict[int, asyncio.Task[None]] = {}
        self._is_changed = asyncio.Event()
        self._loop: Loop[str] = Loop(
            "awaiting",
            self._handle,
            lambda: list(dict.fromkeys((*references.runs(), *view.awaited.rows))),
            rng=means.rng,
            failures=metrics.passes_failed.labels("awaiting"),
            pace=means.pace,
            expected=(StoreUnavailable,),
        )

    def wake(self, key: str) -> None:
        """Have a run looked at that a job began, or ceased, to wait for, or whose record has changed."""
        self._loop.wake(key)
        self._is_changed.set()

    async def run(self) -> None:
        """Keep the records until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop.run(), name="awaiting")
            while True:
                self._is_changed.clear()
                shards = {shard_of(key) for key in self._references.runs()}
                for shard in self._followers.keys() - shards:
                    self._followers.pop(shard).cancel()
                for shard in shards - self._followers.keys():
                    self._followers[shard] = group.create_task(self._follow(shard), name=f"awaiting-{shard}")
                await self._is_changed.wait()

    async def _follow(self, shard: int) -> None:
        """Have the awaited runs of a shard looked at whenever their headers change, until cancelled."""
        prefix = prefix_of(RUNS, shard)
        while True:
            try:
                after = await self._store.revision()
                for key in self._references.runs():
                    if shard_of(key) == shard:
                        self._loop.wake(key)
                async for _, changes in self._store.watch(prefix, after=after):
                    for key in (change.key.removeprefix(prefix) for change in changes):
                        if self._references.users(run_mark(key)):
                            self._loop.wake(key)
            except (Compacted, Rewound, SlowWatcher):
                continue
            except StoreUnavailable as error:
                if error.trouble in _ENDING:
                    raise
                await asyncio.sleep(self._retry.total_seconds())

    async def _handle(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self._pass(key)

    async def _pass(self, key: str) -> None:
        """Look at one run, and write what is found."""
        view = self._view
        if key in view.awaited.unreadable:
            return
        row = view.awaited.rows.get(key)
        known = None if row is None else row.value
        if not self._references.users(run_mark(key)):
            if row is not None:
                await self._write(key, row.mod_revision, Delete(AWAITED + key))
            return
        if known is not None and known.has_succeeded:
            # What succeeded once did, whatever becomes of the run.
            return
        try:
            found = await look_up(self._reader, key)
        except Invalid as error:
            _log.error("awaited_run_unreadable", run=key, reason=str(error))
            return
        if found != known:
            _log.info("awaited_run", run=key, status=found.status)
            mod = 0 if row is None else row.mod_revision
            await self._write(key, mod, Put(AWAITED + key, codec.dump(found)))

    async def _write(self, key: str, mod: int, write: Write) -> None:
        hold = self._hold()
        if await self._store.commit((hold.compare, Compare(AWAITED + key, mod=mod)), (write,)) is not None:
            return
        entry = await self._store.get(hold.key)
        if entry is None or entry.create_revision != self._hold().token.revision:
            self._oust()
        else:
            # The view does not show yet what was written before, or the hold was sealed meanwhile.
            self._loop.wake_after(key, self._retry)
