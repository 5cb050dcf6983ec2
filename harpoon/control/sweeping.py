"""What is left of orders whose attempts are over: swept by whoever conducts their runs.

An attempt that ends otherwise than by its task has the task's job taken away at once. What ends while nobody conducts
its run, or with a server that dies in between, is found here: the order says whose it is, and the run says whether that
is open. A job whose task has ended stays as long as it says, for its logs; then the order is forgotten.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.registry import Registry
from harpoon.control.runs import Runs
from harpoon.control.view import ORDERS, View, job_key
from harpoon.kit.errors import NotFound, Unavailable
from harpoon.kit.loop import Loop
from harpoon.model.owner import OrderRecord
from harpoon.store.port import Compare, Delete, StoreUnavailable
from harpoon.store.table import Row, RowChange

#: A closing takes less, as a rule; where it takes longer, the next resync finds what is left.
SOON: Final = timedelta(milliseconds=500)

_log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps what is left of orders of the runs that are conducted here.

    Args:
        means: The store, the pace, and who we are.
        metrics: Counts what fails.
        view: Shows orders and jobs.
        registry: Unschedules jobs.
        runs: Who conducts what.
    """

    def __init__(self, means: Means, metrics: Metrics, view: View, registry: Registry, runs: Runs) -> None:
        self._store = means.store
        self._view = view
        self._registry = registry
        self._runs = runs
        self._instance = means.instance
        self._loop: Loop[str] = Loop(
            "sweeping",
            self._handle,
            lambda: tuple(view.orders.rows),
            rng=means.rng,
            failures=metrics.passes_failed.labels("sweeping"),
            pace=means.pace,
            expected=(StoreUnavailable, Unavailable),
        )

    async def run(self) -> None:
        """Sweep until cancelled."""
        with self._view.mirror.listening(self._hear):
            await self._loop.run()

    def soon(self, key: str) -> None:
        """Look at an order whose attempt is about to be closed, once it has been."""
        self._loop.wake_after(key, SOON)

    def look_again(self) -> None:
        """Look at all there is once more: runs came to be conducted here."""
        for key in self._view.orders.rows:
            self._loop.wake_later(key)

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        for change in changes:
            if change.table is self._view.orders and change.new is not None:
                self._loop.wake(change.key)

    async def _handle(self, keys: Sequence[str]) -> None:
        for key in keys:
            row = self._view.orders.rows.get(key)
            conductor = None if row is None else self._over_by(row.value)
            if row is None or conductor is None:
                continue
            # What is decided of the attempt may not be durable yet.
            await conductor.ledger.drained()
            if self._over_by(row.value) is conductor:
                await self._sweep(key, row, conductor)

    async def _sweep(self, key: str, row: Row[OrderRecord], conductor: Conductor) -> None:
        record = row.value
        at = job_key(record.namespace, record.job)
        job, kept = self._view.jobs.rows.get(at), self._view.batches.rows.get(at)
        is_task = job is not None and job.value.run_owner == record.owner and not job.value.is_terminating
        if is_task and (kept is None or kept.value.outcome is None):
            _log.info("task_swept", job=at, order=key)
            with suppress(NotFound):
                await self._registry.delete(record.namespace, record.job)
        compares = (Compare(ORDERS + key, mod=row.mod_revision), conductor.ledger.hold.compare)
        await self._store.commit(compares, (Delete(ORDERS + key),))

    def _over_by(self, record: OrderRecord) -> Conductor | None:
        """Return who conducts the run of an order here and knows that the attempt is over; None: nobody does."""
        owner, key = record.owner, run_key(record.namespace, record.owner.run)
        conductor = self._runs.conductor_of(key)
        # The view that shows the order shows who held the shard when it was made: one that has lost it in the meantime
        # knows nothing of the attempt.
        if conductor is None or self._runs.holder_of(key) != self._instance:
            return None
        conducted = conductor.runs.get(key)
        attempt = None if conducted is None else conducted.run.open.get((owner.op, owner.visit))
        is_open = attempt is not None and attempt.ref.attempt == owner.attempt
        return None if is_open else conductor
