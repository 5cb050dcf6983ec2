"""Which slots of a job want a placement now, and which placements go: make before break.

It knows nothing of agents' room (`core.place`) and remembers nothing: placements and tasks say how far a migrate
has come, so that it may be interrupted, or overtaken by another one, anywhere.

Rules, slot by slot. A placement is *present* when it is of the job's generation and was made with the bindings wanted
now. The *current* placement is the newest live one that is present, else the newest dead one; *dead* is one whose task
has failed or is lost. All others are *old*.

1. A slot without placements wants one at once. A slot that is not wanted any more loses all of them.
2. An old placement that is ready goes once the current one is ready, never before; one that is not ready, as soon as a
   current one is placed. Of several old ones that are ready the newest is enough.
3. While an old one that is ready waits, its slot has two placements; over all slots, at most ``update.surge`` are
   beyond one. As long as fewer than ``update.unavailable`` slots are without a ready task, an old one goes in the
   commit that places its successor.
4. A dead current placement is replaced, elsewhere if possible: a lost one at once, a failed one after a backoff, the
   first time at once. Where the job waits for lost agents, and beyond the number that may be replaced now, lost ones
   stay.
5. While a job's dependencies do not hold, slots without a current placement are held back; what is placed stays.
6. Bindings that changed make a placement old, but no sooner than `core.standing.REBIND_MIN` after it was decided:
   what others' endpoints do in the course of a migrate is to be followed in few steps.
7. A task that finished by itself, where its restart policy allows that, is as good as ready. Where the policy is to
   run always, it was ended by somebody else, and is replaced like a failed one.
8. A live placement on an agent that is being drained is old. One that fits nowhere else stays, since it goes with or
   after its successor's coming only (2, 3); but not beyond the drain's deadline: then it is dropped all the same.

An exclusive job has rules of its own: `core.exclusive`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from harpoon.core.backoff import backoff, count_failures
from harpoon.core.eviction import UNLIMITED
from harpoon.core.exclusive import roll_exclusive
from harpoon.core.standing import (
    ARRIVED,
    DEAD,
    NO_BINDINGS,
    Health,
    Record,
    Slot,
    Standing,
    current_of,
    is_evictee,
    look,
    why_dead,
    why_old,
)
from harpoon.model.decision import Drop, Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, TaskState

#: States in which a task needs nothing done as long as it is what it should be.
_LIVING: Final = frozenset({TaskState.STARTING, TaskState.RUNNING, TaskState.STOPPING, TaskState.UNCLAIMED})
#: No agent is being drained.
NOBODY: Final[Mapping[str, int | None]] = MappingProxyType({})
_MILLISECOND = timedelta(milliseconds=1)


def rollout(  # noqa: PLR0913 what it is decided on, all of it
    job: Job,
    standings: Sequence[Standing],
    now: Instant,
    *,
    evictable: int = UNLIMITED,
    is_held: bool = False,
    bindings: Mapping[str, str] = NO_BINDINGS,
    leaving: Mapping[str, int | None] = NOBODY,
) -> Rollout:
    """Return what brings the job's placements nearer to its spec; nothing once they are there.

    Args:
        job: As desired now.
        standings: All its placements, in any order.
        now: Only its ``wall`` matters, since what it is compared with is stored.
        evictable: How many slots with lost tasks may be placed anew now; 0 also while so many agents are lost at once
            that the fault is likelier here.
        is_held: A dependency of the job does not hold.
        bindings: Variable → value wanted now, of those whose change is to replace tasks.
        leaving: Agents that are being drained → when what is left there goes all the same, UTC milliseconds, if ever.
    """
    if _is_settled(job, standings, bindings, leaving):
        return _NOTHING_TO_DO
    roll = roll_exclusive if job.spec.exclusive else _roll
    return roll(job, standings, now, evictable=evictable, is_held=is_held, bindings=bindings, leaving=leaving)


def _is_settled(
    job: Job, standings: Sequence[Standing], bindings: Mapping[str, str], leaving: Mapping[str, int | None]
) -> bool:
    """Return whether all is plainly as it should be, which it mostly is: to find that out by `_roll` takes longer."""
    if len(standings) != job.spec.scale or job.is_terminating or bindings:
        return False
    slots = set()
    for placement, task in standings:
        if placement.generation != job.generation or placement.is_revoked:
            return False
        if task is not None and task.state not in _LIVING:
            return False
        if placement.agent in leaving:
            return False
        slots.add(placement.slot)
    return len(slots) == len(standings) == max(slots, default=-1) + 1


def _roll(  # noqa: PLR0913 as above
    job: Job,
    standings: Sequence[Standing],
    now: Instant,
    *,
    evictable: int,
    is_held: bool,
    bindings: Mapping[str, str],
    leaving: Mapping[str, int | None],
) -> Rollout:
    scale = 0 if job.is_terminating else job.spec.scale
    gone = "the job is unscheduled" if job.is_terminating else f"the job is scaled down to {scale}"
    records: dict[int, list[Record]] = {slot: [] for slot in range(scale)}
    surplus: list[Drop] = []
    lost = sorted({one.placement.slot for one in standings if one.placement.slot < scale and is_evictee(job, one)})
    evictees = frozenset(lost[:evictable])
    for standing in sorted(standings, key=lambda s: (s.placement.slot, s.placement.number)):
        placement = standing.placement
        if placement.slot >= scale:
            surplus.append(_drop(placement, gone))
            continue
        is_evictable, leaves = placement.slot in evictees, placement.agent in leaving
        record = look(job, standing, bindings, now, is_evictable=is_evictable, is_leaving=leaves)
        if record.is_leaving and _left(leaving[placement.agent], now) <= timedelta(0):
            surplus.append(_drop(placement, f"agent {placement.agent} is being drained, and its deadline has passed"))
        else:
            records[placement.slot].append(record)
    slots = [Slot(number=number, records=known, current=current_of(known)) for number, known in records.items()]
    drops = (*(drop for slot in slots for drop in _drops(slot)), *surplus)
    free = [slot for slot in slots if not (is_held and slot.current is None)]
    wants, due = _wants(job, free, now)
    held = tuple(slot.number for slot in slots if is_held and slot.current is None and not slot.is_filled)
    known = [record for slot in slots for record in slot.records]
    dues = [due, *(one.fresh_for for one in known), *_deadlines(known, leaving, now)]
    return Rollout(
        wants=wants,
        drops=drops,
        held=held,
        due=min((one for one in dues if one is not None), default=None),
        evictions=frozenset(want.slot for want in wants if want.slot in evictees),
        limited=tuple(lost[evictable:]),
        is_complete=not surplus and all(slot.is_filled and slot.records == [slot.current] for slot in slots),
    )


_NOTHING_TO_DO: Final = Rollout(wants=(), drops=(), held=(), due=None, is_complete=True)


def _left(deadline_ms: int | None, now: Instant) -> timedelta:
    """Return the span until a deadline."""
    return timedelta.max if deadline_ms is None else (deadline_ms - now.wall) * _MILLISECOND


def _deadlines(records: Iterable[Record], leaving: Mapping[str, int | None], now: Instant) -> Iterator[timedelta]:
    """Yield the spans until those that still leave their agents go all the same."""
    for agent in {record.placement.agent for record in records if record.is_leaving}:
        if leaving[agent] is not None:
            yield _left(leaving[agent], now)


def _drops(slot: Slot) -> Iterable[Drop]:
    """Name the old placements that go now (rule 2)."""
    current = slot.current
    olds = [record for record in slot.records if record is not current]
    newest_ready = next((old for old in reversed(olds) if old.health is Health.READY), None)
    for old in olds:
        if current is not None and current.health in ARRIVED:
            what = "is ready" if current.health is Health.READY else "has finished"
            yield _drop(old.placement, f"replaced by {current.placement.task}, which {what}")
        elif old.health is Health.READY:
            if old is not newest_ready:
                yield _drop(old.placement, "a newer one of its slot is ready")
        elif current is not None and current.health is Health.WAITING and old.health is not Health.HELD:
            yield _drop(old.placement, f"replaced by {current.placement.task} before it was ready")


def _drop(placement: Placement, reason: str) -> Drop:
    return Drop(task=placement.task, agent=placement.agent, reason=reason)


def _wants(job: Job, slots: Sequence[Slot], now: Instant) -> tuple[tuple[Want, ...], timedelta | None]:
    """Choose the slots to place (rules 1, 3, 4); slots that need no allowance come at no cost to it."""
    surge = job.spec.update.surge - sum(max(0, len(slot.records) - 1) for slot in slots)
    unavailable = job.spec.update.unavailable - sum(not slot.is_served for slot in slots)
    wants: list[Want] = []
    due: timedelta | None = None
    for slot in slots:
        if slot.is_filled:
            continue
        wait = backoff(slot.current, now)
        if wait > timedelta(0):
            due = wait if due is None else min(due, wait)
            continue
        useless = [record for record in slot.records if record.health is not Health.READY]
        if useless or not slot.records:
            wants.append(_want(job, slot, useless, now))
        elif len(slot.records) > 1:
            continue  # all are ready: what is too much goes first
        elif unavailable > 0:
            unavailable -= 1
            wants.append(_want(job, slot, slot.records, now))
        elif surge > 0:
            surge -= 1
            wants.append(_want(job, slot, [], now))
    return tuple(wants), due


def _want(job: Job, slot: Slot, replaced: Sequence[Record], now: Instant) -> Want:
    current = slot.current
    dead = (record.placement for record in slot.records if record.health in DEAD and record.is_present)
    return Want(
        slot=slot.number,
        failures=0 if current is None else count_failures(current, now),
        avoid=tuple(sorted({placement.agent for placement in dead})),
        replaces=_ids(replaced),
        ended=_ids(r for r in replaced if r.task is not None and r.task.state.is_over),
        reason=_reason(job, slot),
    )


def _ids(records: Iterable[Record]) -> tuple[TaskId, ...]:
    return tuple(record.placement.task for record in records)


def _reason(job: Job, slot: Slot) -> str:
    if not slot.records:
        return f"slot {slot.number} has no placement"
    if slot.current is None:
        return why_old(job, slot.records[-1])
    return why_dead(slot.current)
