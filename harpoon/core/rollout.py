"""Which slots of a job want a placement now, and which placements go: make before break.

It knows nothing of agents' room (`core.place`) and remembers nothing: placements and tasks say how far a migrate
has come, so that it may be interrupted, or overtaken by another one, anywhere.

Rules, slot by slot. The *current* placement is the newest live one of the present generation, else the newest dead
one; *dead* is one whose task has failed or is lost. All others are *old*.

1. A slot without placements wants one at once. A slot that is not wanted any more loses all of them.
2. An old placement that is ready goes once the current one is ready, never before; one that is not ready, as soon as a
   current one is placed. Of several old ones that are ready the newest is enough.
3. While an old one that is ready waits, its slot has two placements; over all slots, at most ``update.surge`` are
   beyond one. As long as fewer than ``update.unavailable`` slots are without a ready task, an old one goes in the
   commit that places its successor.
4. A dead current placement is replaced, elsewhere if possible: a lost one at once, a failed one after a backoff, the
   first time at once. While evicting is halted, because so many agents are lost, lost ones stay.
5. A task that finished by itself, where its restart policy allows that, is as good as ready. Where the policy is to
   run always, it was ended by somebody else, and is replaced like a failed one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from harpoon.model.decision import Drop, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job, RestartPolicy
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState

#: The wait before the second replacement in a row; each further one waits twice as long, up to `BACKOFF_MAX`.
BACKOFF_MIN = timedelta(seconds=1)
BACKOFF_MAX = timedelta(minutes=1)
#: A task that ran for so long before it failed was a good one: counting begins anew.
STEADY = timedelta(minutes=10)

_MILLISECOND = timedelta(milliseconds=1)
#: As much of a task's own reason as a placement's reason repeats.
_QUOTE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One placement of the job, and what its agent reports of it (None: nothing yet)."""

    placement: Placement
    task: Task | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What should change now, sorted by slot; at most one `Want` a slot."""

    wants: tuple[Want, ...]
    drops: tuple[Drop, ...]
    #: Span until something changes by time alone (a backoff ends); None: nothing will.
    due: timedelta | None


def rollout(job: Job, standings: Sequence[Standing], now: Instant, *, is_halted: bool = False) -> Rollout:
    """Return what brings the job's placements nearer to its spec; nothing once they are there.

    Args:
        job: As desired now.
        standings: All its placements, in any order.
        now: Only its ``wall`` matters, since what it is compared with is stored.
        is_halted: So many agents are lost at once that the fault is likelier here: nothing is evicted.
    """
    scale = 0 if job.is_terminating else job.spec.scale
    gone = "the job is unscheduled" if job.is_terminating else f"the job is scaled down to {scale}"
    records: dict[int, list[_Record]] = {slot: [] for slot in range(scale)}
    surplus: list[Drop] = []
    for standing in sorted(standings, key=lambda s: (s.placement.slot, s.placement.number)):
        if standing.placement.slot < scale:
            records[standing.placement.slot].append(_look(job, standing, is_halted=is_halted))
        else:
            surplus.append(_drop(standing.placement, gone))
    slots = [_Slot(number=number, records=known, current=_current(known, job)) for number, known in records.items()]
    wants, due = _wants(job, slots, now)
    return Rollout(wants=wants, drops=(*(drop for slot in slots for drop in _drops(slot)), *surplus), due=due)


class _Health(Enum):
    """What a placement is good for."""

    READY = auto()
    #: Finished, as its policy lets it.
    SETTLED = auto()
    #: May become ready.
    WAITING = auto()
    #: Lost, but not to be evicted now.
    HELD = auto()
    LOST = auto()
    FAILED = auto()


_DEAD = (_Health.LOST, _Health.FAILED)
_ARRIVED = (_Health.READY, _Health.SETTLED)


@dataclass(frozen=True, slots=True)
class _Record:
    """A standing, judged."""

    placement: Placement
    task: Task | None
    health: _Health


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A wanted slot: its placements, oldest first, and the current one among them."""

    number: int
    records: list[_Record]
    current: _Record | None

    @property
    def is_served(self) -> bool:
        return any(r.health is _Health.READY or (r is self.current and r.health in _ARRIVED) for r in self.records)

    @property
    def is_filled(self) -> bool:
        """Whether there is nothing to place: the current one lives, or lost ones are held on to."""
        is_live = self.current is not None and self.current.health not in _DEAD
        return is_live or any(r.health is _Health.HELD for r in self.records)


def _look(job: Job, standing: Standing, *, is_halted: bool) -> _Record:
    return _Record(standing.placement, standing.task, _health(job, standing.task, is_halted=is_halted))


def _health(job: Job, task: Task | None, *, is_halted: bool) -> _Health:
    if task is None:
        return _Health.WAITING
    match task.state:
        case TaskState.RUNNING if task.ready:
            return _Health.READY
        case TaskState.FAILED:
            return _Health.FAILED
        case TaskState.FINISHED:
            is_foul = job.spec.task.restart.policy is RestartPolicy.ALWAYS
            return _Health.FAILED if is_foul else _Health.SETTLED
        case TaskState.LOST:
            return _Health.HELD if is_halted else _Health.LOST
        case _:
            return _Health.WAITING


def _current(records: Sequence[_Record], job: Job) -> _Record | None:
    present = [record for record in records if record.placement.generation == job.generation]
    live = [record for record in present if record.health not in _DEAD]
    return next(reversed(live or present), None)


def _drops(slot: _Slot) -> Iterable[Drop]:
    """Name the old placements that go now (rule 2)."""
    current = slot.current
    olds = [record for record in slot.records if record is not current]
    newest_ready = next((old for old in reversed(olds) if old.health is _Health.READY), None)
    for old in olds:
        if current is not None and current.health in _ARRIVED:
            what = "is ready" if current.health is _Health.READY else "has finished"
            yield _drop(old.placement, f"replaced by {current.placement.task}, which {what}")
        elif old.health is _Health.READY:
            if old is not newest_ready:
                yield _drop(old.placement, "a newer one of its slot is ready")
        elif current is not None and current.health is _Health.WAITING and old.health is not _Health.HELD:
            yield _drop(old.placement, f"replaced by {current.placement.task} before it was ready")


def _drop(placement: Placement, reason: str) -> Drop:
    return Drop(task=placement.task, agent=placement.agent, reason=reason)


def _wants(job: Job, slots: Sequence[_Slot], now: Instant) -> tuple[tuple[Want, ...], timedelta | None]:
    """Choose the slots to place (rules 1, 3, 4); slots that need no allowance come at no cost to it."""
    surge = job.spec.update.surge - sum(max(0, len(slot.records) - 1) for slot in slots)
    unavailable = job.spec.update.unavailable - sum(not slot.is_served for slot in slots)
    wants: list[Want] = []
    due: timedelta | None = None
    for slot in slots:
        if slot.is_filled:
            continue
        wait = _backoff(slot.current, now)
        if wait > timedelta(0):
            due = wait if due is None else min(due, wait)
            continue
        useless = [record for record in slot.records if record.health is not _Health.READY]
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


def _want(job: Job, slot: _Slot, replaced: Sequence[_Record], now: Instant) -> Want:
    current = slot.current
    dead = (r.placement for r in slot.records if r.health in _DEAD and r.placement.generation == job.generation)
    return Want(
        slot=slot.number,
        failures=0 if current is None else _failures(current, now),
        avoid=tuple(sorted({placement.agent for placement in dead})),
        replaces=_ids(replaced),
        ended=_ids(r for r in replaced if r.task is not None and r.task.state.is_over),
        reason=_reason(job, slot),
    )


def _ids(records: Iterable[_Record]) -> tuple[TaskId, ...]:
    return tuple(record.placement.task for record in records)


def _reason(job: Job, slot: _Slot) -> str:
    if not slot.records:
        return f"slot {slot.number} has no placement"
    current = slot.current
    if current is None:
        return f"version {job.version} replaces version {slot.records[-1].placement.version}"
    assert current.task is not None, "a placement that was not reported is not dead"
    said = f": {current.task.reason[:_QUOTE_MAX]}" if current.task.reason else ""
    return f"{current.placement.task} on {current.placement.agent} is {current.task.state}{said}"


def _ended_ms(dead: _Record, now: Instant) -> int:
    """Return when a placement failed.

    Failures are dated by the agent's clock. One dated before its placement or after now is taken to have happened when
    it was placed: an agent's clock can neither stop replacements nor let them run hot.
    """
    decided_ms = dead.placement.decided_ms
    said_ms = decided_ms if dead.task is None else dead.task.since_ms
    return said_ms if decided_ms <= said_ms <= now.wall else decided_ms


def _failures(dead: _Record, now: Instant) -> int:
    """Return how many failed in a row before the successor of ``dead``."""
    if dead.health is _Health.LOST:
        return dead.placement.failures
    ran = (_ended_ms(dead, now) - dead.placement.decided_ms) * _MILLISECOND
    return 1 if ran >= STEADY else dead.placement.failures + 1


def _backoff(current: _Record | None, now: Instant) -> timedelta:
    """Return how long the successor of a failed placement has still to wait."""
    if current is None or current.health is not _Health.FAILED:
        return timedelta(0)
    failures = _failures(current, now)
    delay = timedelta(0) if failures <= 1 else min(BACKOFF_MIN * 2 ** min(failures - 2, 10), BACKOFF_MAX)
    waited = (now.wall - _ended_ms(current, now)) * _MILLISECOND
    # A clock that was set back behind the decision would make the wait endless.
    return delay - waited if timedelta(0) <= waited < delay else timedelta(0)
