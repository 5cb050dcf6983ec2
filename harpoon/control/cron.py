"""Cron jobs fired: at each due a child is made of the job, once. It runs with whoever schedules, by the same hold.

Rules of this file:

1. It decides by `core.cron_due` alone, on one revision of the view, with the wall clock of this instance.
2. Every write compares the scheduler's hold, the cron job and its record; what makes a child, that there is none of
   its name. Of two firings of one due, one fails, be they tried by two instances, or by one that lost an answer.
3. A timer only wakes. A clock that is set is found out at the next resync; one that is set back fires nothing twice.
4. A cron job that is being unscheduled takes its children with it, and goes after them.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.crontab import Crontab, child_of, running_children, unscheduled
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.quotas import Draft
from harpoon.control.view import View, job_key, parent_of
from harpoon.core.cron_due import CronDecision, decide, refused
from harpoon.kit.errors import Exceeded, Invalid, Unavailable
from harpoon.kit.loop import Loop
from harpoon.model.cron import CronRecord
from harpoon.model.job import Job
from harpoon.store.hold import Hold
from harpoon.store.port import StoreUnavailable
from harpoon.store.table import RowChange

#: Children unscheduled in one commit; hearing of it wakes the job for the rest.
STOPPED_AT_ONCE: Final = 40
#: What is due later than that is found out by a resync before.
_TIMER_MAX: Final = timedelta(days=1)
_MILLISECOND: Final = timedelta(milliseconds=1)

_log = structlog.get_logger(__name__)


class Crons:
    """Fires the cron jobs of all namespaces, by virtue of the scheduler's hold.

    Args:
        means: The store, the clock and the pace.
        metrics: Where firings are counted.
        view: What there is.
        hold: Returns the hold as it is now.
        oust: Called when it is gone.
    """

    def __init__(
        self, means: Means, metrics: Metrics, view: View, hold: Callable[[], Hold], oust: Callable[[], None]
    ) -> None:
        self._store = means.store
        self._clock = means.clock
        self._retry = means.pace.retry
        self._metrics = metrics
        self._view = view
        self._hold = hold
        self._oust = oust
        self._crontab = Crontab(means.store, view, means.clock)
        #: Keys of jobs with a schedule.
        self._scheduled: set[str] = set()
        self._loop: Loop[str] = Loop(
            "cron",
            self._handle,
            lambda: list(dict.fromkeys((*self._scheduled, *view.cron.rows, *view.parents()))),
            rng=means.rng,
            failures=metrics.passes_failed.labels("cron"),
            pace=means.pace,
            expected=(StoreUnavailable, Unavailable),
        )

    async def run(self) -> None:
        """Fire what is due until cancelled."""
        self._scheduled = {key for key, row in self._view.jobs.rows.items() if row.value.spec.cron is not None}
        with self._view.mirror.listening(self._hear):
            await self._loop.run()

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        view = self._view
        for change in changes:
            if change.table is view.jobs:
                self._hear_job(change)
            elif change.table is view.cron:
                self._loop.wake(change.key)
            elif change.table is view.batches:
                row = view.jobs.rows.get(change.key)
                if row is not None and row.value.owner is not None:
                    self._loop.wake(parent_of(row.value))

    def _hear_job(self, change: RowChange) -> None:
        if change.new is not None and change.new.value.spec.cron is not None:
            self._scheduled.add(change.key)
            self._loop.wake(change.key)
        elif change.key in self._scheduled:
            self._scheduled.discard(change.key)
            self._loop.wake(change.key)
        for row in (change.old, change.new):
            if row is not None and row.value.owner is not None:
                self._loop.wake(parent_of(row.value))

    async def _handle(self, keys: Sequence[str]) -> None:
        async with asyncio.TaskGroup() as group:
            passes = [group.create_task(self._try(key)) for key in keys]
        for one in passes:
            error = one.result()
            if error is not None:
                # One that fails breaks off none of the others.
                raise error

    async def _try(self, key: str) -> Exception | None:
        try:
            if await self._pass(key):
                return None
            # Another writes for this hold, or has it, or has changed the job.
            entry = await self._store.get(self._hold().key)
            if entry is None or entry.create_revision != self._hold().token.revision:
                self._oust()
            else:
                # What the view lacks, it may lack for a while.
                self._loop.wake_after(key, self._retry)
        except (StoreUnavailable, Unavailable) as error:
            return error
        return None

    async def _pass(self, key: str) -> bool:
        """Look at one cron job, and write what is decided; return whether nobody was faster."""
        view = self._view
        if key in view.jobs.unreadable or key in view.cron.unreadable:
            return True
        row, kept = view.jobs.rows.get(key), view.cron.rows.get(key)
        job, known = None if row is None else row.value, None if kept is None else kept.value
        if job is None or job.is_terminating:
            return await self._end(key, is_recorded=kept is not None)
        if job.spec.cron is None:
            return kept is None or await self._write(key, None, ()) is not None
        now_ms = self._clock.now().wall
        running = running_children(view, key)
        decision = decide(job, job.spec.cron, known, running, now_ms)
        if decision.look_ms is not None:
            span = min(max(decision.look_ms - now_ms, 1) * _MILLISECOND, _TIMER_MAX)
            self._loop.wake_after(key, span)
        if decision.stops:
            return await self._stop(key, decision.stops, decision.record)
        if decision.fires is not None:
            return await self._fire(key, job, known, decision)
        if decision.record == known:
            return True
        return await self._write(key, decision.record, ()) is not None and self._told(key, known, decision)

    async def _fire(self, key: str, job: Job, known: CronRecord | None, decision: CronDecision) -> bool:
        """Make the child that is due, or note why it cannot be made."""
        firing, view = decision.fires, self._view
        assert firing is not None, "something is fired"
        child = child_of(job, firing)
        at = job_key(child.namespace, child.name)
        if at in view.jobs.rows or at in view.jobs.unreadable:
            return await self._refuse(key, known, decision, f"there is a job {child.name} already; unschedule that one")
        try:
            revision = await self._write(key, decision.record, ((child, None),))
        except (Exceeded, Invalid) as error:
            return await self._refuse(key, known, decision, str(error))
        if revision is None:
            return False
        self._metrics.cron_fired.inc()
        _log.info("cron_fired", job=key, child=child.name, due_ms=firing.due_ms, revision=revision)
        return self._told(key, known, decision)

    async def _refuse(self, key: str, known: CronRecord | None, decision: CronDecision, reason: str) -> bool:
        decision = refused(decision, known, reason)
        return await self._write(key, decision.record, ()) is not None and self._told(key, known, decision)

    async def _stop(self, key: str, names: Sequence[str], record: CronRecord) -> bool:
        """Unschedule children for the one that is to come, if they are not being unscheduled already."""
        namespace = key.partition("/")[0]
        drafts = self._unscheduling([job_key(namespace, name) for name in names])
        return not drafts or await self._write(key, record, drafts) is not None

    async def _end(self, key: str, *, is_recorded: bool) -> bool:
        """Take the children of a cron job that goes with it, and its record before."""
        drafts = self._unscheduling(sorted(self._view.children_of(key)))
        if not drafts and not is_recorded:
            return True
        return await self._write(key, None, drafts) is not None

    def _unscheduling(self, keys: Sequence[str]) -> list[Draft]:
        now_ms = self._clock.now().wall
        rows = [row for key in keys if (row := self._view.jobs.rows.get(key)) is not None]
        going = [row for row in rows if not row.value.is_terminating][:STOPPED_AT_ONCE]
        return [(unscheduled(row.value, now_ms), row) for row in going]

    async def _write(self, key: str, record: CronRecord | None, drafts: Sequence[Draft]) -> int | None:
        return await self._crontab.write(key, record, drafts=drafts, compares=(self._hold().compare,))

    def _told(self, key: str, known: CronRecord | None, decision: CronDecision) -> bool:
        """Log what was skipped; return True."""
        skipped = decision.record.skipped
        if skipped is not None and (known is None or skipped != known.skipped):
            self._metrics.cron_skipped.inc()
            _log.info("cron_skipped", job=key, due_ms=skipped.due_ms, reason=skipped.reason)
        return True
