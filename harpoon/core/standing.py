"""The placements of a job, judged one by one: what each is good for, and which of its slot is the current one.

It decides nothing: what follows from it is `core.rollout`'s.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, NamedTuple

from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.task import Placement, Task, TaskState

#: A placement is not replaced for the sake of its bindings before it is so old.
REBIND_MIN = timedelta(seconds=5)

NO_BINDINGS: Final[Mapping[str, str]] = MappingProxyType({})
_MILLISECOND = timedelta(milliseconds=1)
_NOTHING = timedelta(0)
_SKEW_MAX = timedelta(seconds=5)
#: As much of a task's own reason as a placement's reason repeats.
_QUOTE_MAX = 200


class Standing(NamedTuple):
    """One placement of the job, and what its agent reports of it (None: nothing yet)."""

    placement: Placement
    task: Task | None
    #: It is to be replaced elsewhere, though its agent stays (`core.rebalance`).
    is_moving: bool = False


class Health(Enum):
    """What a placement is good for."""

    READY = auto()
    #: Finished, as its policy lets it.
    SETTLED = auto()
    #: May become ready.
    WAITING = auto()
    #: Lost, but not to be replaced, or not yet.
    HELD = auto()
    LOST = auto()
    FAILED = auto()


DEAD = (Health.LOST, Health.FAILED)


@dataclass(frozen=True, slots=True)
class Record:
    """A standing, judged."""

    placement: Placement
    task: Task | None
    health: Health
    is_present: bool
    #: Span after which its bindings make it old; None: they do not differ, or it is old already.
    fresh_for: timedelta | None
    #: Its agent is being drained, or it is to move, and it lives.
    is_leaving: bool
    #: Span until it counts as healthy, which it does at 0; None: that takes more than time.
    unproven_for: timedelta | None
    #: It is to move, and not to where it is.
    is_moving: bool

    @property
    def is_healthy(self) -> bool:
        """Whether it has been ready for long enough, or has finished as it may."""
        return self.unproven_for == _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a slot is to become."""

    job: Job
    #: Variable → value wanted now, of those whose change is to replace tasks.
    bindings: Mapping[str, str]
    #: Ready tasks of before stay beside it.
    is_canary: bool = False
    #: It is what served before the job's rollout.
    is_held_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """Why a job's rollout does not go on by itself: slots that it has not come to stay with what served before."""

    #: The job in the form that served before, with its present scale.
    form: Job
    #: As of `Aim`.
    bindings: Mapping[str, str]
    #: So many slots may have the new generation, beside the one of before; None: it is no matter of canaries.
    canaries: int | None = None
    #: No slot is given the new generation that does not have it.
    is_paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A wanted slot: its placements, oldest first, and the current one among them."""

    number: int
    aim: Aim
    records: list[Record]
    current: Record | None

    @property
    def is_served(self) -> bool:
        """Whether some task of it serves: one of before that is ready, or the current one, if it is healthy."""
        return any(r.is_healthy if r is self.current else r.health is Health.READY for r in self.records)

    @property
    def is_filled(self) -> bool:
        """Whether there is nothing to place: the current one lives, or lost ones are held on to."""
        is_live = self.current is not None and self.current.health not in DEAD
        return is_live or any(r.health is Health.HELD for r in self.records)


def look(
    job: Job,
    standing: Standing,
    bindings: Mapping[str, str],
    now: Instant,
    *,
    is_evictable: bool,
    is_leaving: bool = False,
) -> Record:
    """Judge one placement.

    Args:
        job: Whose it is.
        standing: It, and its task.
        bindings: As for `core.rollout.rollout`.
        now: As there.
        is_evictable: Whether it may be replaced now if it is lost.
        is_leaving: Whether its agent is being drained. What does not run there needs not leave.
    """
    placement = standing.placement
    fresh_for = _fresh_for(placement, bindings, now)
    health = _health(job, standing.task, is_evictable=is_evictable)
    leaves = (is_leaving or standing.is_moving) and health in (Health.READY, Health.WAITING)
    is_present = not leaves and placement.generation == job.generation and (fresh_for is None or fresh_for > _NOTHING)
    return Record(
        placement=placement,
        task=standing.task,
        health=health,
        is_present=is_present,
        fresh_for=fresh_for if is_present else None,
        is_leaving=leaves,
        unproven_for=_unproven_for(job, standing.task, health, now),
        is_moving=standing.is_moving,
    )


def aims(
    job: Job,
    standings: Iterable[Standing],
    now: Instant,
    *,
    bindings: Mapping[str, str],
    leaving: Container[str],
    brake: Brake | None,
) -> list[Aim]:
    """Return what each slot of a job is to become; where its rollout has a brake, that depends on what it has.

    A slot that has a live placement of the new generation keeps it. Of the others, the first get one as long as there
    are fewer than canaries; the rest stays with, or goes back to, what served before.
    """
    scale = 0 if job.is_terminating else job.spec.scale
    ahead = Aim(job=job, bindings=bindings, is_canary=brake is not None and brake.canaries is not None)
    if brake is None or job.is_terminating:
        return [ahead] * scale
    looked = (
        look(job, one, bindings, now, is_evictable=True, is_leaving=one.placement.agent in leaving) for one in standings
    )
    there = {
        one.placement.slot
        for one in looked
        if one.is_present and one.health not in DEAD and one.placement.slot < scale and not one.placement.is_revoked
    }
    room = 0 if brake.is_paused else (brake.canaries or 0) - len(there)
    there |= set([slot for slot in range(scale) if slot not in there][: max(0, room)])
    behind = Aim(job=brake.form, bindings=brake.bindings, is_held_back=True)
    return [ahead if slot in there else behind for slot in range(scale)]


def is_evictee(job: Job, standing: Standing) -> bool:
    """Return whether a placement is one of a lost task that is to be replaced."""
    is_lost = standing.task is not None and standing.task.state is TaskState.LOST
    return is_lost and not job.spec.waits_for_lost


def _fresh_for(placement: Placement, bindings: Mapping[str, str], now: Instant) -> timedelta | None:
    """Return how long a placement's bindings still do, 0 if they do not; None: they are those wanted."""
    known = placement.bindings or NO_BINDINGS
    if all(known.get(name, "") == value for name, value in bindings.items()):
        return None
    age = (now.wall - placement.decided_ms) * _MILLISECOND
    # A clock that was set back behind the decision would make the wait endless.
    return REBIND_MIN - age if timedelta(0) <= age < REBIND_MIN else timedelta(0)


def _unproven_for(job: Job, task: Task | None, health: Health, now: Instant) -> timedelta | None:
    """Return how long a placement has still to be watched before it counts as healthy."""
    if health is Health.SETTLED:
        return _NOTHING
    if task is None or health is not Health.READY:
        return None
    age = (now.wall - task.ready_since_ms) * _MILLISECOND
    # A clock that was set back behind the note would make the wait endless; those of two servers may differ a little.
    return max(_NOTHING, job.spec.update.healthy_for - max(_NOTHING, age)) if age > -_SKEW_MAX else _NOTHING


def _health(job: Job, task: Task | None, *, is_evictable: bool) -> Health:
    if task is None:
        return Health.WAITING
    match task.state:
        case TaskState.RUNNING if task.ready:
            return Health.READY
        case TaskState.FAILED:
            return Health.FAILED
        case TaskState.FINISHED:
            is_foul = job.spec.task.restart.policy is RestartPolicy.ALWAYS
            return Health.FAILED if is_foul else Health.SETTLED
        case TaskState.LOST:
            return Health.LOST if is_evictable and not job.spec.waits_for_lost else Health.HELD
        case _:
            return Health.WAITING


def current_of(records: Sequence[Record]) -> Record | None:
    """Return the newest live one of what is present, else the newest dead one, of a slot's records, oldest first."""
    present = [record for record in records if record.is_present]
    live = [record for record in present if record.health not in DEAD]
    return next(reversed(live or present), None)


def why_old(aim: Aim, old: Record) -> str:
    """Say why a placement that is not present is to be replaced."""
    placement, job = old.placement, aim.job
    if old.is_moving:
        return f"slot {placement.slot} leaves {placement.agent}: tasks are being rebalanced"
    if old.is_leaving:
        return f"agent {placement.agent} is being drained"
    if placement.generation == job.generation:
        return _why_rebound(aim, placement)
    if aim.is_held_back:
        return f"the rollout waits, and version {job.version} stays meanwhile"
    return f"version {job.version} replaces version {placement.version}"


def _why_rebound(aim: Aim, placement: Placement) -> str:
    """Say which of what it was made with has changed; the values are told to nobody."""
    known = placement.bindings or NO_BINDINGS
    changed = sorted(name for name, value in aim.bindings.items() if known.get(name, "") != value and "/" in name)
    if not changed:
        return "endpoints that its environment names have changed"
    more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    return f"secret {changed[0]}{more} has changed"


def why_dead(dead: Record) -> str:
    """Say how a dead placement ended."""
    assert dead.task is not None, "a placement that was not reported is not dead"
    said = f": {dead.task.reason[:_QUOTE_MAX]}" if dead.task.reason else ""
    return f"{dead.placement.task} on {dead.placement.agent} is {dead.task.state}{said}"
