"""A batch job: what came of its tasks, which of its slots want one now, and when the job has ended.

It shares with services what a placement and a want are, and nothing of when there are some. What came of the tasks has
a record of its own (`model.batch`), and all that is decided rests on that record, never on tasks alone.

Rules.

1. A task that has ended by itself is *noted* in the record before anything else is decided of its slot: as complete
   when it finished, else as a failed attempt. Only then is its placement withdrawn. So no slot that has been noted as
   complete is ever placed again, whoever schedules, and whatever becomes of its agent.
2. A task that was told to stop before it ended, as its placement was revoked, is noted as nothing.
3. A slot that is not complete, has nothing placed and has attempts left wants a task: the first time at once, after
   failures with a backoff, elsewhere if it can. Never do more than ``parallel`` tasks run or stop at once.
4. A lost task is replaced where the job does not wait for lost agents; that is no attempt, for nobody knows how it
   ended. It may run on, so that its slot may run twice. Not so where the job is exclusive: there nothing is placed
   before all that the slot had is denied.
5. The job has succeeded when every slot is complete, and failed when one has no attempts left or its deadline has
   passed. With ``on_failure: finish`` the slots without attempts fail it only when all the others are complete. Then
   nothing is placed any more, and once that is recorded, all that is still placed is withdrawn.
6. A task on an agent that is being drained goes on to its end, or to the drain's deadline, whichever comes first. One
   that goes by the deadline has made no attempt.
7. Another template is another run: its record begins empty, and what is placed of the run before is withdrawn.
8. While the job's dependencies do not hold, nothing is placed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from harpoon.core.backoff import delay_after
from harpoon.core.eviction import UNLIMITED
from harpoon.core.glance import drop, left
from harpoon.core.standing import Standing, is_evictee
from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.decision import Drop, Rollout, Want
from harpoon.model.instant import Instant
from harpoon.model.job import Job, OnSpent
from harpoon.model.task import Placement, Task, TaskState, parse_task_id
from harpoon.model.units import format_duration

#: As much of what an agent says of a failed task as is kept.
_QUOTE_MAX: Final = 200
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


def note(job: Job, known: BatchRecord | None, standings: Sequence[Standing], now: Instant) -> BatchRecord:
    """Return the record with what came of tasks that have ended (rules 1 and 2); the same if there is no news.

    Args:
        job: As desired now.
        known: Its record; None: it has none.
        standings: All its placements.
        now: Only its ``wall`` matters.
    """
    assert job.run is not None, "a batch job has a run"
    record = known
    if record is None or record.version != job.run.version:
        record = BatchRecord(namespace=job.namespace, job=job.name, version=job.run.version)
    if record.outcome is not None:
        return record
    results = {one.slot: one for one in record.results}
    for placement, task, _ in sorted(standings, key=lambda one: one.placement.number):
        if task is None or not task.state.is_over or placement.is_revoked or not _is_of_run(job, placement):
            continue
        last = results.get(placement.slot)
        if last is None or not (last.is_complete or parse_task_id(last.task).number >= placement.number):
            results[placement.slot] = _result(placement, task, 0 if last is None else last.attempts, now)
    told = tuple(sorted(results.values(), key=lambda one: one.slot))
    return record if told == record.results else replace(record, results=told)


def _result(placement: Placement, task: Task, before: int, now: Instant) -> SlotResult:
    is_complete = task.state is TaskState.FINISHED
    # An agent's clock can neither stop further attempts nor let them run hot.
    is_sound = placement.decided_ms <= task.since_ms <= now.wall
    return SlotResult(
        slot=placement.slot,
        is_complete=is_complete,
        attempts=before + 1,
        task=task.id,
        agent=task.agent,
        exit_code=task.exit_code,
        reason="" if is_complete else task.reason[:_QUOTE_MAX],
        at_ms=task.since_ms if is_sound else now.wall,
        placed_ms=placement.decided_ms,
    )


def judge(job: Job, record: BatchRecord, now: Instant) -> BatchRecord:
    """Return the record with how the job ended, if it has (rule 5); one that succeeded goes on if it grew."""
    rules, complete = job.spec.batch, completed(job, record)
    if record.outcome is Ending.SUCCEEDED and complete < rules.completions:
        record = replace(record, outcome=None, ended_ms=0)
    if record.outcome is not None:
        return record
    if complete == rules.completions:
        return replace(record, outcome=Ending.SUCCEEDED, ended_ms=now.wall)
    failed = _spent(job, record)
    goes_on = rules.on_failure is OnSpent.FINISH and complete + len(failed) < rules.completions
    if failed and not goes_on:
        return _failed(record, _why_failed(job, failed), now)
    if rules.deadline is not None and _left(job, now) <= _NOTHING:
        stands = f"{complete} of {rules.completions} slots are complete"
        return _failed(record, f"its deadline of {format_duration(rules.deadline)} has passed, and {stands}", now)
    return record


def _why_failed(job: Job, failed: Sequence[SlotResult]) -> str:
    """Say how the first of the slots ended that have no attempts left, and where all were to be tried, how many are."""
    rules, spent = job.spec.batch, failed[0]
    stands = f"slot {spent.slot} has no attempts left"
    if rules.on_failure is OnSpent.FINISH and len(failed) > 1:
        stands = f"{len(failed)} of {rules.completions} slots have no attempts left, first of them slot {spent.slot}"
    told = f"{spent.task} on {spent.agent} failed{_exit(spent)}"
    tries = f"attempt {spent.attempts} of {rules.attempts}" if rules.attempts > 1 else "its only attempt"
    return f"{stands}: {told}, {tries}" + (f": {spent.reason}" if spent.reason else "")


def _failed(record: BatchRecord, reason: str, now: Instant) -> BatchRecord:
    return replace(record, outcome=Ending.FAILED, ended_ms=now.wall, reason=reason)


def _exit(result: SlotResult) -> str:
    return "" if result.exit_code is None else f" with exit code {result.exit_code}"


def completed(job: Job, record: BatchRecord) -> int:
    """Return how many of the job's slots are complete."""
    return sum(one.is_complete and one.slot < job.spec.batch.completions for one in record.results)


def spent(job: Job, record: BatchRecord) -> int:
    """Return how many of the job's slots have no attempts left, and are not complete."""
    return len(_spent(job, record))


def is_over(job: Job, record: BatchRecord) -> bool:
    """Return whether the run that a job is in has ended, and nothing was added to it since."""
    is_this = job.run is not None and record.version == job.run.version and record.outcome is not None
    return is_this and (record.outcome is Ending.FAILED or completed(job, record) == job.spec.batch.completions)


def spent_of(job: Job, record: BatchRecord) -> SlotResult | None:
    """Return what came last of a slot that has no attempts left: of several, of the one that ended first."""
    return next(iter(_spent(job, record)), None)


def _spent(job: Job, record: BatchRecord) -> list[SlotResult]:
    """Return what came last of the slots that have no attempts left, what ended first before the others."""
    rules = job.spec.batch
    spent = (
        one
        for one in record.results
        if not one.is_complete and one.attempts >= rules.attempts and one.slot < rules.completions
    )
    return sorted(spent, key=lambda one: (one.at_ms, one.slot))


def expires_ms(job: Job, record: BatchRecord) -> int | None:
    """Return when a job that has ended is to be removed, UTC milliseconds; None: it has not ended."""
    return None if record.outcome is None else record.ended_ms + job.spec.batch.keep // _MILLISECOND


def deadline_ms(job: Job) -> int | None:
    """Return when a job's deadline passes, UTC milliseconds."""
    assert job.run is not None, "a batch job has a run"
    span = job.spec.batch.deadline
    return None if span is None else job.run.since_ms + span // _MILLISECOND


def _left(job: Job, now: Instant) -> timedelta:
    return left(deadline_ms(job), now)


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
    ends = (_left(job, now) if job.spec.batch.deadline is not None else None, *turn.dues, *turn.backoff.values())
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


def _is_of_run(job: Job, placement: Placement) -> bool:
    assert job.run is not None, "a batch job has a run"
    return placement.version >= job.run.version


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
        if not _is_of_run(job, placement):
            return f"version {self._record.version} starts over"
        if placement.slot >= self._rules.completions:
            return f"the job has {self._rules.completions} completions"
        if result is not None and result.is_complete:
            return "its slot is complete"
        if result is not None and result.task == placement.task:
            return f"it failed{_exit(result)}"
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
            reason = f"attempt {result.attempts + 1} of {self._rules.attempts}: {result.task} failed{_exit(result)}"
        return Want(
            slot=slot,
            failures=0 if result is None else result.attempts,
            avoid=tuple(sorted(avoid)),
            replaces=() if lost is None else (lost.placement.task,),
            reason=reason,
        )
