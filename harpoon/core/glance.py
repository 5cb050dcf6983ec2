"""The slots of a job at a glance, so that what is decided of it costs what there is to decide, and not what there is.

It decides nothing but what goes in any case: placements of slots that are not wanted any more, and those that a drain
does not wait for any longer. The rest is `core.rollout`'s.
"""

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from typing import Final

from harpoon.core.standing import Aim, Slot, Standing, current_of, look
from harpoon.model.decision import Drop
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType
from harpoon.model.task import Placement, TaskState

#: States in which a task needs nothing done as long as it is what it should be.
LIVING: Final = frozenset({TaskState.STARTING, TaskState.RUNNING, TaskState.STOPPING, TaskState.UNCLAIMED})
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(slots=True)
class Scan:
    """The slots of a job, sorted by how much there is to decide of each: of most there is little."""

    #: Those with more than one placement, or one that is neither plainly good nor plainly old.
    odd: dict[int, Slot] = field(default_factory=dict)
    #: Those whose only placement is of another generation, and ready.
    old: dict[int, Standing] = field(default_factory=dict)
    #: Those without any.
    empty: list[int] = field(default_factory=list)
    #: How many there are, of the others, whose task is not ready yet.
    starting: int = 0
    drops: list[Drop] = field(default_factory=list)


def scan(
    job: Job,
    aimed: Sequence[Aim],
    standings: Sequence[Standing],
    now: Instant,
    evictees: Collection[int],
    leaving: Mapping[str, int | None],
) -> Scan:
    """Sort the slots of a job, and drop what is in none of them, or stays in vain.

    Args:
        job: As desired now.
        aimed: What each slot is to become.
        standings: All its placements.
        now: As of `core.rollout.rollout`.
        evictees: Slots whose lost tasks may be replaced now.
        leaving: As of `core.rollout.rollout`.
    """
    scale = len(aimed)
    gone = "the job is unscheduled" if job.is_terminating else f"the job is scaled down to {scale}"
    slots: list[list[Standing]] = [[] for _ in range(scale)]
    surplus = []
    for standing in standings:
        if standing.placement.slot < scale:
            slots[standing.placement.slot].append(standing)
        else:
            surplus.append(standing.placement)
    found = Scan()
    if job.spec.type is JobType.SYSTEM and not job.is_terminating:
        gone = "its agent is none that the job is for now"
    watched_ms = job.spec.update.healthy_for // _MILLISECOND
    for number, (aim, there) in enumerate(zip(aimed, slots, strict=True)):
        kind = _kind(aim, there, now.wall - watched_ms, leaving)
        if kind is _Kind.STARTING:
            found.starting += 1
        elif kind is _Kind.OLD:
            found.old[number] = there[0]
        elif kind is _Kind.EMPTY:
            found.empty.append(number)
        elif kind is _Kind.ODD:
            found.odd[number] = _look(number, aim, there, now, found.drops, leaving, is_evictee=number in evictees)
    found.drops += [drop(one, gone) for one in sorted(surplus, key=lambda one: (one.slot, one.number))]
    return found


class _Kind(Enum):
    """What a slot is, at a glance."""

    EMPTY = auto()
    #: It has what it should, and that serves.
    FINE = auto()
    #: It has what it should, and that may come to serve.
    STARTING = auto()
    OLD = auto()
    ODD = auto()


def _kind(aim: Aim, there: Sequence[Standing], proven_ms: int, leaving: Container[str]) -> _Kind:
    if len(there) != 1:
        return _Kind.ODD if there else _Kind.EMPTY
    placement, task, is_moving = there[0]
    if is_moving or placement.agent in leaving:
        return _Kind.ODD
    is_ready = task is not None and task.ready and task.state is TaskState.RUNNING
    if placement.generation != aim.job.generation:
        return _Kind.OLD if is_ready and not aim.is_canary else _Kind.ODD
    if aim.bindings:
        return _Kind.ODD
    if is_ready:
        assert task is not None
        return _Kind.FINE if task.ready_since_ms <= proven_ms else _Kind.ODD
    return _Kind.STARTING if task is None or task.state in LIVING else _Kind.ODD


def _look(  # noqa: PLR0913 as above
    number: int,
    aim: Aim,
    there: Sequence[Standing],
    now: Instant,
    drops: list[Drop],
    leaving: Mapping[str, int | None],
    *,
    is_evictee: bool,
) -> Slot:
    """Judge a slot's placements, and drop those that a drain does not wait for any longer."""
    records = []
    for standing in sorted(there, key=lambda one: one.placement.number):
        placement = standing.placement
        leaves = placement.agent in leaving
        record = look(aim.job, standing, aim.bindings, now, is_evictable=is_evictee, is_leaving=leaves)
        if record.is_leaving and left(leaving.get(placement.agent), now) <= timedelta(0):
            drops.append(drop(placement, f"agent {placement.agent} is being drained, and its deadline has passed"))
        else:
            records.append(record)
    return Slot(number=number, aim=aim, records=records, current=current_of(records))


def left(deadline_ms: int | None, now: Instant) -> timedelta:
    """Return the span until a deadline."""
    return timedelta.max if deadline_ms is None else (deadline_ms - now.wall) * _MILLISECOND


def drop(placement: Placement, reason: str) -> Drop:
    """Return that a placement goes."""
    return Drop(task=placement.task, agent=placement.agent, reason=reason)
