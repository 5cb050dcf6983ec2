"""Jobs of attempts that are over: what a crash left of them is unscheduled, by whoever conducts the run.

An attempt that ends otherwise than by its task has the job taken away at once. What ends while nobody conducts its run,
or with a server that dies in between, is found here: the job says whose it is, and the run says whether that is open.
A job whose task has ended stays as long as it says, for its logs.
"""

from collections.abc import Sequence

import structlog

from harpoon.control.ledger_records import run_key
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.registry import Registry
from harpoon.control.runs import Runs
from harpoon.control.view import View, job_key
from harpoon.kit.errors import NotFound, Unavailable
from harpoon.kit.loop import Loop
from harpoon.model.job import Job
from harpoon.store.port import StoreUnavailable
from harpoon.store.table import RowChange

_log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps the jobs of attempts of the runs that are conducted here.

    Args:
        means: The pace, and who we are.
        metrics: Counts what fails.
        view: Shows the jobs.
        registry: Unschedules them.
        runs: Who conducts what.
    """

    def __init__(self, means: Means, metrics: Metrics, view: View, registry: Registry, runs: Runs) -> None:
        self._view = view
        self._registry = registry
        self._runs = runs
        self._instance = means.instance
        #: Keys of the jobs that are tasks of attempts.
        self._owned: set[str] = set()
        self._loop: Loop[str] = Loop(
            "sweeping",
            self._handle,
            lambda: tuple(self._owned),
            rng=means.rng,
            failures=metrics.passes_failed.labels("sweeping"),
            pace=means.pace,
            expected=(StoreUnavailable, Unavailable),
        )

    async def run(self) -> None:
        """Sweep until cancelled."""
        self._owned = {key for key, row in self._view.jobs.rows.items() if row.value.run_owner is not None}
        with self._view.mirror.listening(self._hear):
            await self._loop.run()

    def look_again(self) -> None:
        """Look at all there is once more: runs came to be conducted here."""
        for key in self._owned:
            self._loop.wake_later(key)

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        for change in changes:
            if change.table is not self._view.jobs:
                continue
            if change.new is not None and change.new.value.run_owner is not None:
                self._owned.add(change.key)
                self._loop.wake(change.key)
            else:
                self._owned.discard(change.key)

    async def _handle(self, keys: Sequence[str]) -> None:
        for key in keys:
            row = self._view.jobs.rows.get(key)
            if row is not None and self._is_left(row.value):
                _log.info("task_swept", job=key, run=row.value.run_owner)
                try:
                    await self._registry.delete(row.value.namespace, row.value.name, if_match=row.mod_revision)
                except NotFound:
                    continue

    def _is_left(self, job: Job) -> bool:
        """Whether a job's task may run, and the attempt that it is of is over."""
        owner, kept = job.run_owner, self._view.batches.rows.get(job_key(job.namespace, job.name))
        if owner is None or job.is_terminating or (kept is not None and kept.value.outcome is not None):
            return False
        key = run_key(job.namespace, owner.run)
        conductor = self._runs.conductor_of(key)
        # The view that shows the job shows who held the shard when it was made: one that has lost it in the meantime
        # knows nothing of the attempt.
        if conductor is None or self._runs.holder_of(key) != self._instance:
            return False
        conducted = conductor.runs.get(key)
        attempt = None if conducted is None else conducted.run.open.get((owner.op, owner.visit))
        return attempt is None or attempt.ref.attempt != owner.attempt
