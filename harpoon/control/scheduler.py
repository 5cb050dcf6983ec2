"""The scheduler: which slots should exist, and where. It writes placements; it never talks to an agent.

Rules of this file:

1. It decides by `core.rollout` and `core.place` alone, on one revision of the view.
2. Every write compares the scheduler's hold and the job it was decided for.
3. A job whose last write the view does not show yet is left alone; the view's reaching it wakes the job again.
4. What a decision takes from an agent is booked at once, and given back if the commit fails.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.bookings import Bookings
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.references import References, bindings, replacing, unmet
from harpoon.control.view import JOBS, PENDING, PLACEMENTS, VERSIONS, View, job_key_of, placement_key
from harpoon.core.held import hold_back
from harpoon.core.place import Decision, place
from harpoon.core.rollout import Rollout, rollout
from harpoon.core.standing import Standing
from harpoon.kit import codec
from harpoon.kit.loop import Loop
from harpoon.model.agent import LinkState
from harpoon.model.decision import Drop, Pending, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.task import Placement, TaskState
from harpoon.store.hold import Hold
from harpoon.store.port import Compare, Delete, Put, Write
from harpoon.store.table import RowChange

#: Writes of one commit of ours: under the store's limit, and small enough that others get their turn.
WRITES_AT_ONCE: Final = 90
#: Deciding goes on for so long at a stretch.
SLICE: Final = timedelta(milliseconds=5)
#: States of a task that need no decision as long as its job has nothing to replace.
_LIVING: Final = frozenset({TaskState.STARTING, TaskState.RUNNING, TaskState.STOPPING})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deed:
    """What one pass decided for one job: commits, each all or nothing, and what they book."""

    key: str
    compares: tuple[Compare, ...]
    #: Writes that belong together.
    units: tuple[tuple[Write, ...], ...]
    placements: tuple[Placement, ...] = ()

    def commits(self) -> Iterable[list[Write]]:
        """Pack the units into commits."""
        writes: list[Write] = []
        for unit in self.units:
            if len(writes) + len(unit) > WRITES_AT_ONCE:
                yield writes
                writes = []
            writes += unit
        yield writes


class Scheduler:
    """Places the slots of all jobs, by virtue of one hold."""

    def __init__(self, means: Means, metrics: Metrics, view: View, hold: Hold) -> None:
        self._store = means.store
        self._view = view
        self._hold = hold
        self._clock = means.clock
        self._metrics = metrics
        self._bookings = Bookings(view)
        self._is_loaded = False
        self._references = References()
        self._wrote: dict[str, int] = {}
        #: Jobs that have just what they should: one placement a slot, all of the present generation, nothing to do.
        self._complete: set[str] = set()
        self._loop: Loop[str] = Loop(
            "scheduler",
            self._handle,
            lambda: list(view.jobs.rows),
            rng=means.rng,
            failures=metrics.passes_failed.labels("scheduler"),
            pace=means.pace,
        )

    @property
    def bookings(self) -> Bookings | None:
        """The index it places by, for reading; None: it has not begun."""
        return self._bookings if self._is_loaded else None

    async def run(self) -> None:
        """Schedule until cancelled."""
        self._references.load(self._view)
        self._view.mirror.listen(self._hear)
        await self._bookings.load()
        self._is_loaded = True
        await self._loop.run()

    def _hear(self, revision: int, changes: tuple[RowChange, ...]) -> None:
        view = self._view
        self._metrics.revision.set(revision)
        has_grown = self._bookings.hear(changes)
        for change in changes:
            if change.table is view.jobs:
                self._references.hear(change)
                self._wake(change.key)
            elif change.table is view.placements:
                self._wake(job_key_of(change.key.partition("/")[2]))
            elif change.table is view.actual:
                self._hear_task(change)
            elif change.table is view.links:
                self._wake_jobs_of_lost_agents()
        if has_grown:
            for key in view.pending.rows:
                self._loop.wake(key)

    def _hear_task(self, change: RowChange) -> None:
        """Wake a task's job, unless it is complete and the task lives: then no decision depends on the news."""
        key = job_key_of(change.key.partition("/")[2])
        lives = change.new is not None and change.new.value.state in _LIVING
        if not (lives and key in self._complete):
            self._loop.wake(key)
        self._wake_users(key)

    def _wake(self, key: str) -> None:
        """Wake a job, and those that refer to it."""
        self._loop.wake(key)
        self._wake_users(key)

    def _wake_users(self, key: str) -> None:
        for user in self._references.users(key):
            self._loop.wake(user)

    def _wake_jobs_of_lost_agents(self) -> None:
        for name, link in self._view.links.rows.items():
            if link.value.state is LinkState.LOST:
                for task in self._view.placements_on(name):
                    self._loop.wake(job_key_of(task))

    async def _handle(self, keys: Sequence[str]) -> None:
        begun = self._clock.now()
        async with asyncio.TaskGroup() as group:
            for key in keys:
                now = self._clock.now()
                deed = self._decide(key, now, is_halted=self._bookings.is_halted())
                if deed is not None:
                    for writes in deed.commits():
                        group.create_task(self._commit(deed, writes))
                if now.elapsed - begun.elapsed > SLICE:
                    self._metrics.decision_seconds.observe((now.elapsed - begun.elapsed).total_seconds())
                    # Each decision is whole by itself, so that others may have their turn in between.
                    await asyncio.sleep(0)
                    begun = self._clock.now()
        self._metrics.decision_seconds.observe((self._clock.now().elapsed - begun.elapsed).total_seconds())

    def _decide(self, key: str, now: Instant, *, is_halted: bool) -> _Deed | None:
        view = self._view
        if self._wrote.get(key, 0) > view.revision:
            return None
        self._wrote.pop(key, None)
        self._complete.discard(key)
        row = view.jobs.rows.get(key)
        if row is None:
            return None
        job = row.value
        compares = (self._hold.compare, Compare(JOBS + key, mod=row.mod_revision))
        placements, tasks = view.placements_of(key), view.tasks_of(key)
        if job.is_terminating and not placements and not tasks:
            return _Deed(key=key, compares=compares, units=(self._farewell(key, job),))
        standings = [
            Standing(placement=placed.value, task=tasks[task].value if task in tasks else None)
            for task, placed in placements.items()
        ]
        bound, missing = bindings(view, job), unmet(view, job)
        rolled = rollout(
            job, standings, now, is_halted=is_halted, is_held=bool(missing), bindings=replacing(job, bound)
        )
        if rolled.due is not None:
            self._loop.wake_after(key, rolled.due)
        decision = place(
            job,
            rolled.wants,
            self._bookings.fleet,
            now,
            incarnation=view.incarnation,
            revision=view.revision,
            bindings=bound,
        )
        if rolled.held:
            decision = replace(decision, pending=hold_back(job, rolled.held, missing, decision.pending, now))
        return self._deed(key, job, rolled, decision, compares)

    def _deed(
        self, key: str, job: Job, rolled: Rollout, decision: Decision, compares: tuple[Compare, ...]
    ) -> _Deed | None:
        wants = {want.slot: want for want in rolled.wants}
        units = [self._put_unit(placement, wants[placement.slot]) for placement in decision.placements]
        units += [self._drop_unit(drop) for drop in (*rolled.drops, *decision.drops)]
        if not (rolled.wants or rolled.drops or rolled.held or rolled.due) and self._is_complete(job, key):
            self._complete.add(key)
        pending = self._pending_unit(key, decision.pending)
        units += [pending] if pending else []
        if not units:
            return None
        for placement in decision.placements:
            self._bookings.book(placement)
        return _Deed(key=key, compares=compares, units=tuple(units), placements=decision.placements)

    def _is_complete(self, job: Job, key: str) -> bool:
        placed = self._view.placements_of(key).values()
        return len(placed) == job.spec.scale and all(row.value.generation == job.generation for row in placed)

    async def _commit(self, deed: _Deed, writes: list[Write]) -> None:
        booked = {placement_key(placement): placement for placement in deed.placements}
        revision = None
        try:
            revision = await self._store.commit(deed.compares, writes)
        finally:
            if revision is None:
                for write in writes:
                    if write.key in booked:
                        self._bookings.unbook(booked[write.key])
        if revision is None:
            self._loop.wake(deed.key)
            return
        self._wrote[deed.key] = max(revision, self._wrote.get(deed.key, 0))
        placed = sum(write.key in booked for write in writes)
        self._metrics.placements.inc(placed)
        _log.info("reconciled", job=deed.key, placed=placed, writes=len(writes), revision=revision)

    def _put_unit(self, placement: Placement, want: Want) -> tuple[Write, ...]:
        put = Put(placement_key(placement), codec.dump(placement))
        self._view.placements.expect(put.key.removeprefix(PLACEMENTS), placement, put.value)
        replaced = (self._view.placement(task) for task in want.replaces)
        return (put, *(Delete(placement_key(row.value)) for row in replaced if row is not None))

    def _drop_unit(self, drop: Drop) -> tuple[Write, ...]:
        self._metrics.drops.inc()
        _log.info("placement_dropped", task=drop.task, agent=drop.agent, reason=drop.reason)
        row = self._view.placement(drop.task)
        assert row is not None, "a drop names a placement of the view it was decided on"
        return (Delete(placement_key(row.value)),)

    def _pending_unit(self, key: str, pending: Pending | None) -> tuple[Write, ...]:
        """Return the write that brings the job's pending record up to date, if it needs one."""
        row = self._view.pending.rows.get(key)
        if pending is None:
            return () if row is None else (Delete(PENDING + key),)
        if row is not None:
            pending = replace(pending, since_ms=row.value.since_ms)
            if pending == row.value:
                return ()
        return (Put(PENDING + key, codec.dump(pending)),)

    def _farewell(self, key: str, job: Job) -> tuple[Write, ...]:
        versions = (f"{key}/{number}" for number in range(job.version, 0, -1))
        kept = [Delete(VERSIONS + version) for version in versions if version in self._view.versions.rows]
        pending = [Delete(PENDING + key)] if key in self._view.pending.rows else []
        return (Delete(JOBS + key), *pending, *kept[: WRITES_AT_ONCE - 2])
