"""Which slots of a batch job want a task now, and which of its placements go: by the rules of `core.batch`.

It rests on the record of what came of tasks, which `core.batch.note` makes, and never on tasks alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from harpoon.core.backoff import delay_after
from harpoon.core.batch import exit_said, is_of_run, judge, time_left
from harpoon.core.eviction import UNLIMITED
from harpoon.core.glance import drop, left
from harpoon.core.standing import Standing, is_evictee
from harpoon.model.batch import BatchRecord, SlotResult
from harpoon.model.decision import Drop, Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.task import Placement, Task, TaskState

_MILLISECOND: Final = timedelta(milliseconds=1)
_NOTHING: Final = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batched:
    """What of a batch job should change now, and what its slots wait for that have nothing."""

    rolled: Rollout
    #: Slots that wait until fewer tasks run.
    turn: tuple[int, ...] = ()
    #: Slots that wait before they are tried again → how long.
    backoff: Mapping[int, timedelta] = field(default_factory=dict)


def roll_batch(  # noqa: PLR0913 what it is decided on, all of it
    job: Job,
    record: BatchRecord,
    standings: Sequence[Standing],
    now: Instant,
    *,
    lingering: int = 0,
    evictable: int = UNLIMITED,
    is_held: bool = False,
    leaving: Mapping[str, int | None],
) -> Batched:
    """Return which slots of a batch job want a task, and which placements go.

    Args:
        job: As desired now.
        record: What came of its tasks, as it is stored: `note` has nothing to add.
        standings: All its placements.
        now: Only its ``wall`` matters.
        lingering: How many tasks of it still run, or stop, that have no placement any more.
        evictable: As of `core.rollout.rollout`.
        is_held: A dependency of the job does not hold.
        leaving: As of `core.rollout.rollout`.
    """
    lost = sorted({one.placement.slot for one in standings if is_evictee(job, one)})
    turn = _Turn(job, record, now, leaving=leaving, evictees=frozenset(lost[:evictable]))
    for standing in sorted(standings, key=lambda one: (one.placement.slot, one.placement.number)):
        turn.see(standing)
    if not (job.is_terminating or record.outcome or judge(job, record, now).outcome):
        turn.choose(lingering=lingering, is_held=is_held)
    ends = (time_left(job, now) if job.spec.batch.deadline is not None else None, *turn.dues, *turn.backoff.values())
    dues = [due for due in ends if due is not None and due > _NOTHING and record.outcome is None]
    wants = tuple(turn.wants)
    rolled = Rollout(
        wants=wants,
        drops=tuple(turn.drops),
        held=tuple(turn.held),
        due=min(dues, default=None),
        evictions=frozenset(want.slot for want in wants if want.slot in turn.evictees),
        limited=tuple(slot for slot in lost[evictable:] if slot in turn.filled),
    )
    return Batched(rolled=rolled, turn=tuple(turn.turn), backoff=turn.backoff)


class _Turn:
    """Goes through the placements, then through the slots, and gathers what is decided."""

    def __init__(
        self,
        job: Job,
        record: BatchRecord,
        now: Instant,
        *,
        leaving: Mapping[str, int | None],
        evictees: frozenset[int],
    ) -> None:
        self._job = job
        self._rules = job.spec.batch
        self._record = record
        self._results = {one.slot: one for one in record.results}
        self._now = now
        self._leaving = leaving
        self.evictees = evictees
        #: Slots that have something which may run, or stops.
        self.filled: set[int] = set()
        #: Lost tasks that are to be replaced, by slot.
        self._lost: dict[int, Standing] = {}
        #: How many tasks may run, or stop.
        self._busy = 0
        self.wants: list[Want] = []
        self.drops: list[Drop] = []
        self.held: list[int] = []
        self.turn: list[int] = []
        self.backoff: dict[int, timedelta] = {}
        self.dues: list[timedelta] = []

    def see(self, standing: Standing) -> None:
        """Decide whether a placement goes, and count it while it may run."""
        placement, task, _ = standing
        if placement.is_denied:
            self.drops.append(drop(placement, "its agent has forgotten it"))
            return
        is_over = task is not None and task.state.is_over
        self._busy += not is_over
        reason = self._why_gone(placement, task)
        if placement.is_revoked:
            self.filled.add(placement.slot)
        elif reason:
            self.drops.append(drop(placement, reason))
            # An exclusive one is only revoked by that, and has its slot until it is denied.
            if placement.is_exclusive or not is_over:
                self.filled.add(placement.slot)
        elif placement.slot in self.evictees and task is not None and task.state is TaskState.LOST:
            self._lost[placement.slot] = standing
            self._busy -= 1
        else:
            self.filled.add(placement.slot)

    def _why_gone(self, placement: Placement, task: Task | None) -> str:
        job, result = self._job, self._results.get(placement.slot)
        if job.is_terminating:
            return "the job is unscheduled"
        if self._record.outcome is not None:
            return f"the job has {self._record.outcome}"
        if not is_of_run(job, placement):
            return f"version {self._record.version} starts over"
        if placement.slot >= self._rules.completions:
            return f"the job has {self._rules.completions} completions"
        if result is not None and result.is_complete:
            return "its slot is complete"
        if result is not None and result.task == placement.task:
            return f"it failed{exit_said(result)}"
        if placement.agent in self._leaving and not (task is not None and task.state is TaskState.LOST):
            span = left(self._leaving[placement.agent], self._now)
            if span <= _NOTHING:
                return f"agent {placement.agent} is being drained, and its deadline has passed"
            self.dues += [span] if self._leaving[placement.agent] is not None else []
        return ""

    def choose(self, *, lingering: int, is_held: bool) -> None:
        """Choose the slots to place."""
        room = self._rules.parallel - self._busy - lingering
        for slot in self._open():
            if is_held:
                self.held.append(slot)
            elif room > 0:
                room -= 1
                self.wants.append(self._want(slot))
            else:
                self.turn.append(slot)

    def _open(self) -> Iterator[int]:
        """Yield the slots that may be placed now as far as they alone are concerned."""
        for slot in range(self._rules.completions):
            result = self._results.get(slot)
            is_spent = result is not None and (result.is_complete or result.attempts >= self._rules.attempts)
            if slot in self.filled or is_spent:
                continue
            wait = _NOTHING if result is None else self._wait(result)
            if wait > _NOTHING:
                self.backoff[slot] = wait
            else:
                yield slot

    def _wait(self, result: SlotResult) -> timedelta:
        delay = delay_after(result.attempts)
        waited = (self._now.wall - result.at_ms) * _MILLISECOND
        # A clock that was set back behind the failure would make the wait endless.
        return delay - waited if _NOTHING <= waited < delay else _NOTHING

    def _want(self, slot: int) -> Want:
        result, lost = self._results.get(slot), self._lost.get(slot)
        avoid = {one for one in (result and result.agent, lost and lost.placement.agent) if one}
        reason = f"slot {slot} has not run"
        if lost is not None:
            reason = f"{lost.placement.task} on {lost.placement.agent} is lost"
        elif result is not None:
            reason = f"attempt {result.attempts + 1} of {self._rules.attempts}: {result.task} failed{exit_said(result)}"
        return Want(
            slot=slot,
            failures=0 if result is None else result.attempts,
            avoid=tuple(sorted(avoid)),
            replaces=() if lost is None else (lost.placement.task,),
            reason=reason,
        )
