"""The scheduler: which slots should exist, and where. It writes placements; it never talks to an agent.

Rules of this file:

1. It decides by `core.rollout` and `core.place` alone, on one revision of the view.
2. Every write compares the scheduler's hold and the job it was decided for.
3. A job whose last write the view does not show yet is left alone; the view's reaching it wakes the job again. So is
   one of which a task was preempted.
4. What a decision takes from an agent is booked at once, and given back if the commit fails.
5. After a commit of which nobody knows whether it happened, the hold is sealed and the view waited for before anything
   else is decided: else it could come true behind that. What it booked stays booked until then.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.awaiting import Awaiting
from harpoon.control.batches import Batches
from harpoon.control.bookings import Bookings
from harpoon.control.cron import Crons
from harpoon.control.deed import Deed, abandon, compose, farewell
from harpoon.control.evidence import Evidence
from harpoon.control.means import HoldLost, Means
from harpoon.control.members import drained_in, whole
from harpoon.control.metrics import Metrics
from harpoon.control.placing import Choice, choose, choose_batch
from harpoon.control.references import References, bindings, replacing, run_mark, secret_mark
from harpoon.control.rollouts import Course, Rollouts
from harpoon.control.standings import standings_of
from harpoon.control.view import DEAD, JOBS, View, job_key, job_key_of, parent_of, placement_key
from harpoon.kit.loop import Loop
from harpoon.model.decision import Drop
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType
from harpoon.model.task import Placement, TaskState
from harpoon.store import settle
from harpoon.store.hold import Hold, seal
from harpoon.store.port import Compare, Delete, StoreUnavailable, Write
from harpoon.store.table import Row, RowChange

#: Deciding goes on for so long at a stretch.
SLICE: Final = timedelta(milliseconds=5)
#: States of a task that need no decision as long as its job has nothing to replace.
_LIVING: Final = frozenset({TaskState.STARTING, TaskState.RUNNING, TaskState.STOPPING})

_log = structlog.get_logger(__name__)


class Scheduler:
    """Places the slots of all jobs, by virtue of one hold."""

    def __init__(self, means: Means, metrics: Metrics, view: View, hold: Hold) -> None:
        self._store = means.store
        self._instance = means.instance
        self._view = view
        self._hold = hold
        self._clock = means.clock
        self._metrics = metrics
        self._bookings = Bookings(view)
        self._is_loaded = False
        self._references = References()
        self._wrote: dict[str, int] = {}
        #: Booked by commits of which nobody knows whether they happened; None: there are no such commits.
        self._doubtful: list[Placement] | None = None
        self._is_ousted = asyncio.Event()
        #: Whether so many agents were lost that nothing was replaced, when that was looked at last.
        self._is_halted = False
        #: Jobs that wait until more lost tasks may be replaced.
        self._limited: set[str] = set()
        #: Jobs that have just what they should: one placement a slot, all of the present generation, nothing to do.
        self._complete: set[str] = set()
        #: System jobs, which have a slot on each agent.
        self._system: set[str] = set()
        self._loop: Loop[str] = Loop(
            "scheduler",
            self._handle,
            lambda: list(dict.fromkeys((*view.jobs.rows, *view.jobs_placed(), *view.jobs_moving()))),
            rng=means.rng,
            failures=metrics.passes_failed.labels("scheduler"),
            pace=means.pace,
            expected=(StoreUnavailable,),
        )
        self._evidence = Evidence(means, view, self._loop.wake)
        self._rollouts = Rollouts(metrics, view, self._evidence)
        self._batches = Batches(metrics, view, self._evidence)
        self._crons = Crons(means, metrics, view, lambda: self._hold, self._is_ousted.set)
        self._awaiting = Awaiting(means, metrics, view, self._references, lambda: self._hold, self._is_ousted.set)

    @property
    def bookings(self) -> Bookings | None:
        """The index it places by, for reading; None: it has not begun."""
        return self._bookings if self._is_loaded else None

    async def run(self) -> None:
        """Schedule until cancelled.

        Raises:
            HoldLost: Another instance schedules now.
        """
        self._references.load(self._view)
        rows = self._view.jobs.rows.items()
        self._system = {key for key, row in rows if row.value.spec.type is JobType.SYSTEM}
        with self._view.mirror.listening(self._hear):
            await self._bookings.load()
            self._is_loaded, self._is_halted = True, self._view.halted is not None
            async with asyncio.TaskGroup() as group:
                group.create_task(self._loop.run())
                group.create_task(self._evidence.run())
                group.create_task(self._crons.run())
                group.create_task(self._awaiting.run())
                await self._is_ousted.wait()
                raise HoldLost("the scheduler's hold is gone")

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        view = self._view
        has_grown = self._bookings.hear(changes)
        if has_grown:
            # Before those whose tasks have gone, so that what was preempted does not come back at once.
            self._wake_pending()
        for change in changes:
            if change.table is view.jobs:
                self._hear_job(change)
            elif change.table is view.placements or change.table is view.moves:
                self._wake(job_key_of(change.key.partition("/")[2]))
                self._wake_last_on(change.key.partition("/")[0])
            elif change.table in (view.pending, view.occupants, view.rollouts, view.batches):
                # What it waits for may have come before this was heard of, and while it was being written.
                self._loop.wake("/".join(change.key.split("/")[:2]))
            elif change.table is view.actual:
                self._hear_task(change)
                self._wake_last_on(change.key.partition("/")[0])
            else:
                self._hear_other(change)
        self._hear_halt()

    def _wake_pending(self) -> None:
        for key in sorted(self._view.pending.rows, key=self._urgency):
            self._loop.wake(key)

    def _urgency(self, key: str) -> int:
        """Return by what jobs are sorted that decide together: the lowest first."""
        row = self._view.jobs.rows.get(key)
        return 0 if row is None else -row.value.spec.priority

    def _hear_other(self, change: RowChange) -> None:
        view = self._view
        if change.table is view.links:
            self._hear_link(change.key)
        elif change.table in (view.cordons, view.dead, view.agents):
            self._wake_jobs_on(change.key)
            self._wake_system()
        elif change.table is view.secrets:
            self._wake_users(secret_mark(change.key))
        elif change.table is view.awaited:
            self._wake_users(run_mark(change.key))

    def _hear_job(self, change: RowChange) -> None:
        self._references.hear(change)
        for one in (change.old, change.new):
            if one is not None:
                for run in one.value.spec.runs():
                    self._awaiting.wake(job_key(one.value.namespace, run))
        self._note_system(change)
        self._wake(change.key)
        if change.old is not None and change.old.value.owner is not None:
            # A cron job goes after its children.
            self._loop.wake(parent_of(change.old.value))

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

    def _hear_link(self, agent: str) -> None:
        if agent in self._view.lost:
            self._wake_jobs_on(agent)

    def _hear_halt(self) -> None:
        """Have all that is lost replaced once that is halted no longer."""
        was_halted, self._is_halted = self._is_halted, self._view.halted is not None
        self._metrics.evictions_halted.set(self._is_halted)
        if was_halted and not self._is_halted:
            for agent in self._view.lost:
                self._wake_jobs_on(agent)

    def _note_system(self, change: RowChange) -> None:
        """Keep in mind which jobs have a slot on each agent."""
        if change.new is not None and change.new.value.spec.type is JobType.SYSTEM:
            self._system.add(change.key)
        else:
            self._system.discard(change.key)

    def _wake_system(self) -> None:
        for key in self._system:
            self._loop.wake(key)

    def _wake_last_on(self, agent: str) -> None:
        """Wake the system jobs when what they wait for leaves an agent that is being drained."""
        cordon = self._view.cordons.rows.get(agent)
        if cordon is not None and cordon.value.is_draining:
            self._wake_system()

    def _wake_jobs_on(self, agent: str) -> None:
        for task in self._view.placements_on(agent):
            self._loop.wake(job_key_of(task))

    async def _handle(self, keys: Sequence[str]) -> None:
        if self._doubtful is not None:
            await self._resolve(self._doubtful)
        if self._is_ousted.is_set():
            return
        begun = self._clock.now()
        commits: list[asyncio.Task[StoreUnavailable | None]] = []
        async with asyncio.TaskGroup() as group:
            for key in sorted(keys, key=self._urgency):
                now = self._clock.now()
                deed = self._decide(key, now)
                if deed is not None:
                    commits += [group.create_task(self._commit(deed, writes)) for writes in deed.commits()]
                if now.elapsed - begun.elapsed > SLICE:
                    self._metrics.decision_seconds.observe((now.elapsed - begun.elapsed).total_seconds())
                    # Each decision is whole by itself, so that others may have their turn in between.
                    await asyncio.sleep(0)
                    begun = self._clock.now()
        self._metrics.decision_seconds.observe((self._clock.now().elapsed - begun.elapsed).total_seconds())
        for commit in commits:
            error = commit.result()
            if error is not None:
                # One that fails breaks off none of the others: whether they happened would not be known either.
                raise error

    async def _resolve(self, doubtful: Sequence[Placement]) -> None:
        """See all that was written; nothing more will come of it."""
        sealed = await seal(self._store, self._hold, self._instance)
        if sealed is None:
            self._is_ousted.set()
            return
        self._hold = sealed
        await self._view.mirror.reached(sealed.sealed)
        self._doubtful = None
        self._unbook(doubtful)

    def _decide(self, key: str, now: Instant) -> Deed | None:
        view = self._view
        if self._wrote.get(key, 0) > view.revision:
            return None
        self._wrote.pop(key, None)
        self._complete.discard(key)
        self._limited.discard(key)
        if any(key in table.unreadable for table in (view.jobs, view.rollouts, view.batches)):
            return None
        row = view.jobs.rows.get(key)
        compares = (self._hold.compare, Compare(JOBS + key, mod=0 if row is None else row.mod_revision))
        placements = view.placements_of(key)
        dead = [placed.value for placed in placements.values() if self._is_dead(placed.value.agent)]
        if dead:
            # One that has registered again since is not dead any more, and may run what was placed on it.
            still = {placement_key(one): (self._is_still_dead(one.agent),) for one in dead}
            return Deed(key=key, compares=compares, units=tuple(map(self._mourn, dead)), guards=still)
        if row is None:
            gone = abandon(view, key)
            self._note(gone.drops)
            return compose(view, (key, compares), Choice(rolled=gone), now, Course())
        is_left = placements or view.is_left(key) or view.occupants_of(key) or view.children_of(key)
        if row.value.is_terminating and not is_left:
            return Deed(key=key, compares=compares, units=(farewell(view, key, row.value),))
        return self._reconcile(key, row, compares, now)

    def _reconcile(self, key: str, row: Row[Job], compares: tuple[Compare, ...], now: Instant) -> Deed | None:
        view, bookings, job = self._view, self._bookings, whole(self._view, row.value, now)
        row = replace(row, value=job)
        standings = standings_of(view, job)
        if job.run is not None:
            course = self._batches.course(row, standings, now)
        else:
            course = self._rollouts.course(row, standings, replacing(job, bindings(view, job)), now)
        compares += course.compares
        if course.is_turned:
            return Deed(key=key, compares=compares, units=(course.writes,), guards=course.guards)
        if course.record is not None:
            choice = choose_batch(view, bookings, job, course.record, standings, now)
        else:
            choice = choose(view, bookings, job, course.brake, standings, now)
        rolled, decision = choice.rolled, choice.decision
        drained = drained_in(view, job, now) if job.spec.type is JobType.SYSTEM else None
        for due in (rolled.due, course.due, drained):
            if due is not None:
                self._loop.wake_after(key, due)
        bookings.evict(sum(one.slot in rolled.evictions for one in decision.placements), now)
        if rolled.limited:
            self._wait_for_more(key, now)
        if rolled.is_complete and not (rolled.wants or rolled.held or rolled.due or rolled.limited or course.is_open):
            self._complete.add(key)
        self._note((*rolled.drops, *decision.drops))
        return compose(view, (key, compares), choice, now, course)

    def _is_dead(self, agent: str) -> bool:
        return agent in self._view.dead.rows and agent not in self._view.agents.rows

    def _is_still_dead(self, agent: str) -> Compare:
        return Compare(DEAD + agent, mod=self._view.dead.rows[agent].mod_revision)

    def _mourn(self, placement: Placement) -> tuple[Write, ...]:
        """Delete what was placed on an agent by one who had not heard yet that it was declared dead."""
        self._metrics.drops.inc()
        reason = f"agent {placement.agent} was declared dead"
        _log.info("placement_dropped", task=placement.task, agent=placement.agent, reason=reason)
        return (Delete(placement_key(placement)),)

    def _wait_for_more(self, key: str, now: Instant) -> None:
        """Look at a job again when there is one more replacement for each that waits: in turn, not all at once."""
        self._limited.add(key)
        span = self._bookings.evictable_after(len(self._limited), now)
        # While there are any to be had, what is wanted fits nowhere: it is woken when something may.
        if span:
            self._loop.wake_after(key, span)

    def _note(self, drops: Iterable[Drop]) -> None:
        for drop in drops:
            self._metrics.drops.inc()
            _log.info("placement_dropped", task=drop.task, agent=drop.agent, reason=drop.reason)

    async def _commit(self, deed: Deed, writes: list[Write]) -> StoreUnavailable | None:
        """Commit a part of a deed; return why the store could not."""
        booked = [deed.placements[write.key] for write in writes if write.key in deed.placements]
        compares = deed.compares_for(writes)
        try:
            revision = await self._store.commit(compares, writes)
        except StoreUnavailable as error:
            if error.maybe_applied:
                self._doubt(booked)
            else:
                self._unbook(booked)
                self._bookings.see_pending(deed.key)
            return error
        except asyncio.CancelledError:
            self._doubt(booked)
            raise
        if revision is None:
            self._unbook(booked)
            self._bookings.see_pending(deed.key)
            return await self._see_others(deed.key, compares)
        for key in (deed.key, *deed.others):
            self._wrote[key] = max(revision, self._wrote.get(key, 0))
        self._metrics.placements.inc(len(booked))
        self._metrics.evictions.inc(sum(placement.task in deed.evictions for placement in booked))
        _log.info("reconciled", job=deed.key, placed=len(booked), writes=len(writes), revision=revision)
        return None

    def _doubt(self, booked: Iterable[Placement]) -> None:
        self._doubtful = [*(self._doubtful or ()), *booked]

    def _unbook(self, placements: Iterable[Placement]) -> None:
        for placement in placements:
            self._bookings.unbook(placement)

    async def _see_others(self, key: str, compares: tuple[Compare, ...]) -> StoreUnavailable | None:
        """Have a job decided again once the view shows who was faster; if nobody was, the hold is gone.

        What the view lacks of itself it shows once it has been compared with the store: that wakes the job.
        """
        try:
            entry = await self._store.get(self._hold.key)
            if entry is None or entry.create_revision != self._hold.token.revision:
                self._is_ousted.set()
                return None
            is_seen = await settle.see_others(self._store, self._view.mirror, compares)
        except StoreUnavailable as error:
            return error
        if is_seen:
            self._loop.wake(key)
        else:
            _log.warning("job_waits_for_view", job=key, reason="the store refuses what the view allows")
        return None
