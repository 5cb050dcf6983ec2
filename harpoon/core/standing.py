"""The placements of a job, judged one by one: what each is good for, and which of its slot is the current one.

It decides nothing: what follows from it is `core.rollout`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, NamedTuple

from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.template import RestartPolicy

#: A placement is not replaced for the sake of its bindings before it is so old.
REBIND_MIN = timedelta(seconds=5)

NO_BINDINGS: Final[Mapping[str, str]] = MappingProxyType({})
_MILLISECOND = timedelta(milliseconds=1)
_NOTHING = timedelta(0)
#: As much of a task's own reason as a placement's reason repeats.
_QUOTE_MAX = 200


class Standing(NamedTuple):
    """One placement of the job, and what its agent reports of it (None: nothing yet)."""

    placement: Placement
    task: Task | None


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
ARRIVED = (Health.READY, Health.SETTLED)


@dataclass(frozen=True, slots=True)
class Record:
    """A standing, judged."""

    placement: Placement
    task: Task | None
    health: Health
    is_present: bool
    #: Span after which its bindings make it old; None: they do not differ, or it is old already.
    fresh_for: timedelta | None
    #: Its agent is being drained, and it lives.
    is_leaving: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A wanted slot: its placements, oldest first, and the current one among them."""

    number: int
    records: list[Record]
    current: Record | None

    @property
    def is_served(self) -> bool:
        """Whether some task of it serves, of whatever generation, or the current one has finished as it may."""
        return any(r.health is Health.READY or (r is self.current and r.health in ARRIVED) for r in self.records)

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
    leaves = is_leaving and health in (Health.READY, Health.WAITING)
    is_present = not leaves and placement.generation == job.generation and (fresh_for is None or fresh_for > _NOTHING)
    return Record(placement, standing.task, health, is_present, fresh_for if is_present else None, leaves)


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


def why_old(job: Job, old: Record) -> str:
    """Say why a placement that is not present is to be replaced."""
    placement = old.placement
    if old.is_leaving:
        return f"agent {placement.agent} is being drained"
    if placement.generation == job.generation:
        return "endpoints that its environment names have changed"
    return f"version {job.version} replaces version {placement.version}"


def why_dead(dead: Record) -> str:
    """Say how a dead placement ended."""
    assert dead.task is not None, "a placement that was not reported is not dead"
    said = f": {dead.task.reason[:_QUOTE_MAX]}" if dead.task.reason else ""
    return f"{dead.placement.task} on {dead.placement.agent} is {dead.task.state}{said}"
