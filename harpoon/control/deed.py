"""What the scheduler writes for one job: units that belong together, packed into commits."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from harpoon.control.occupancy import Succession, align, take
from harpoon.control.placing import Choice
from harpoon.control.rollouts import Course
from harpoon.control.view import (
    BATCHES,
    CRON,
    JOBS,
    MOVES,
    PENDING,
    PLACEMENTS,
    ROLLOUTS,
    VERSIONS,
    View,
    job_key_of,
    placement_key,
)
from harpoon.core.exclusive import revoked
from harpoon.kit import codec
from harpoon.model.decision import Drop, Pending, Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement
from harpoon.store.port import Compare, Delete, Put, Write

#: Writes of one commit of ours: under the store's limit, and small enough that others get their turn.
WRITES_AT_ONCE: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What one pass decided for one job: commits, each all or nothing, and what they book."""

    key: str
    compares: tuple[Compare, ...]
    #: Writes that belong together.
    units: tuple[tuple[Write, ...], ...]
    #: Key of a write → what it places.
    placements: Mapping[str, Placement] = field(default_factory=dict)
    #: Those of the placements' tasks that replace a lost one.
    evictions: frozenset[TaskId] = frozenset()
    #: Keys of other jobs whose tasks are dropped.
    others: frozenset[str] = frozenset()
    #: Key → what holds when it is written: it must not bring back what somebody else has deleted meanwhile, say.
    guards: Mapping[str, tuple[Compare, ...]] = field(default_factory=dict)

    def compares_for(self, writes: Iterable[Write]) -> tuple[Compare, ...]:
        """Return what one of the commits compares."""
        guards = (compare for write in writes for compare in self.guards.get(write.key, ()))
        return (*self.compares, *dict.fromkeys(guards))

    def commits(self) -> Iterable[list[Write]]:
        """Pack the units into commits."""
        writes: list[Write] = []
        compares = 0
        for unit in self.units:
            more = sum(len(self.guards.get(write.key, ())) for write in unit)
            if max(len(writes) + len(unit), compares + more) > WRITES_AT_ONCE:
                yield writes
                writes, compares = [], 0
            writes += unit
            compares += more
        yield writes


def compose(
    view: View, job: tuple[str, tuple[Compare, ...]], choice: Choice, now: Instant, course: Course
) -> Deed | None:
    """Return what is written of all that one pass decided; None: nothing.

    Args:
        view: What it was decided on.
        job: The key of the job, and what every commit compares.
        choice: Which slots change, and where they go.
        now: When that was decided.
        course: What the job's rollout means for it.
    """
    (key, compares), rolled, decision = job, choice.rolled, choice.decision
    placed, drops = decision.placements, (*rolled.drops, *decision.drops)
    wants = {want.slot: want for want in rolled.wants}
    taken = {one.task: take(view, one) for one in placed if one.is_exclusive}
    occupants = tuple(align(view, key, {one.slot for one in placed}, {drop.task for drop in drops}))
    units = [
        *(put_unit(view, one, wants[one.slot], taken.get(one.task)) for one in placed),
        *(drop_unit(view, drop, now) for drop in drops),
        *((one.write,) for one in occupants),
        # Of what was left off it is not known yet whether it will be pending.
        pending_unit(view, key, decision.pending) if decision.is_whole else (),
        course.writes,
        *moves_over(view, key, choice.given_up),
    ]
    if not any(units):
        return None
    return Deed(
        key=key,
        compares=compares,
        units=tuple(unit for unit in units if unit),
        placements={unit[0].key: one for unit, one in zip(units, placed, strict=False)},
        evictions=frozenset(one.task for one in placed if one.slot in rolled.evictions),
        guards={**guards(view, key, drops, (*taken.values(), *occupants)), **course.guards},
        others=frozenset(job_key_of(drop.task) for drop in drops) - {key},
    )


def put_unit(view: View, placement: Placement, want: Want, taken: Succession | None) -> tuple[Write, ...]:
    """Return what makes a placement, gives its slot to it if it is exclusive, and deletes those that it replaces."""
    put = Put(placement_key(placement), codec.dump(placement))
    view.placements.expect(put.key.removeprefix(PLACEMENTS), placement, put.value)
    replaced = (view.placement(task) for task in want.replaces)
    slot = () if taken is None else (taken.write,)
    return (put, *slot, *(Delete(placement_key(row.value)) for row in replaced if row is not None))


def drop_unit(view: View, drop: Drop, now: Instant) -> tuple[Write, ...]:
    """Return what withdraws a placement: an exclusive one is revoked first, and deleted once it is denied."""
    row = view.placement(drop.task)
    assert row is not None, "a drop names a placement of the view it was decided on"
    placement = row.value
    if placement.is_exclusive and not placement.is_denied:
        assert not placement.is_revoked, "what is revoked waits for its agent, and is not dropped again"
        return (Put(placement_key(placement), codec.dump(revoked(placement, drop, now))),)
    return (Delete(placement_key(placement)),)


def guards(
    view: View, key: str, drops: Iterable[Drop], occupants: Iterable[Succession]
) -> dict[str, tuple[Compare, ...]]:
    """Return what holds of the records that dropping rewrites, of the occupants of slots, and of jobs preempted."""
    guarded: dict[str, tuple[Compare, ...]] = {}
    for drop in drops:
        row, other = view.placement(drop.task), job_key_of(drop.task)
        assert row is not None, "a drop names a placement of the view it was decided on"
        at, job = placement_key(row.value), view.jobs.rows.get(other)
        rewritten = row.value.is_exclusive and not row.value.is_denied
        own = (Compare(at, mod=row.mod_revision),) if rewritten else ()
        # Its priority is what it was.
        foreign = () if other == key else (Compare(JOBS + other, mod=0 if job is None else job.mod_revision),)
        if own or foreign:
            guarded[at] = (*own, *foreign)
    return guarded | {one.write.key: one.compares for one in occupants}


def pending_unit(view: View, key: str, pending: Pending | None) -> tuple[Write, ...]:
    """Return the write that brings a job's pending record up to date, if it needs one."""
    row = view.pending.rows.get(key)
    if pending is None:
        return () if row is None else (Delete(PENDING + key),)
    if row is not None:
        pending = replace(pending, since_ms=row.value.since_ms)
        if pending == row.value:
            return ()
    return (Put(PENDING + key, codec.dump(pending)),)


def moves_over(view: View, key: str, given_up: Iterable[TaskId]) -> Iterator[tuple[Write, ...]]:
    """Yield the writes that delete the moves of a job which are done or given up."""
    placed = view.placements_of(key)
    for task, row in view.moves_of(key).items():
        if task not in placed or task in given_up:
            yield (Delete(f"{MOVES}{row.value.move.agent}/{task}"),)


def abandon(view: View, key: str) -> Rollout:
    """Return the dropping of all that is placed for a job that is gone: it went with what a view had not shown."""
    placed = (row.value for row in view.placements_of(key).values())
    goes = (one for one in placed if one.is_denied or not one.is_revoked)
    drops = tuple(Drop(task=one.task, agent=one.agent, reason="its job is gone") for one in goes)
    return Rollout(wants=(), drops=drops, held=(), due=None, is_complete=False)


def farewell(view: View, key: str, job: Job) -> tuple[Write, ...]:
    """Return what deletes a job of which nothing is left."""
    versions = (f"{key}/{number}" for number in range(job.version, 0, -1))
    kept = [Delete(VERSIONS + version) for version in versions if version in view.versions.rows]
    pending = [Delete(PENDING + key)] if key in view.pending.rows else []
    rollout = [Delete(ROLLOUTS + key)] if key in view.rollouts.rows else []
    batch = [Delete(BATCHES + key)] if key in view.batches.rows else []
    cron = [Delete(CRON + key)] if key in view.cron.rows else []
    return (Delete(JOBS + key), *pending, *rollout, *batch, *cron, *kept[: WRITES_AT_ONCE - 5])
