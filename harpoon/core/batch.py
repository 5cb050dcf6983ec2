"""A batch job: the rules it goes by, what came of its tasks, and when it has ended.

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

Which slots want a task by these rules is `core.batch_roll`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from harpoon.core.glance import left
from harpoon.core.standing import Standing
from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.instant import Instant
from harpoon.model.job import Job, OnSpent
from harpoon.model.task import Placement, Task, TaskState, parse_task_id
from harpoon.model.units import format_duration

#: As much of what an agent says of a failed task as is kept.
_QUOTE_MAX: Final = 200
_MILLISECOND: Final = timedelta(milliseconds=1)
_NOTHING: Final = timedelta(0)


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
        if task is None or not task.state.is_over or placement.is_revoked or not is_of_run(job, placement):
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
    if rules.deadline is not None and time_left(job, now) <= _NOTHING:
        stands = f"{complete} of {rules.completions} slots are complete"
        return _failed(record, f"its deadline of {format_duration(rules.deadline)} has passed, and {stands}", now)
    return record


def _why_failed(job: Job, failed: Sequence[SlotResult]) -> str:
    """Say how the first of the slots ended that have no attempts left, and where all were to be tried, how many are."""
    rules, spent = job.spec.batch, failed[0]
    stands = f"slot {spent.slot} has no attempts left"
    if rules.on_failure is OnSpent.FINISH and len(failed) > 1:
        stands = f"{len(failed)} of {rules.completions} slots have no attempts left, first of them slot {spent.slot}"
    told = f"{spent.task} on {spent.agent} failed{exit_said(spent)}"
    tries = f"attempt {spent.attempts} of {rules.attempts}" if rules.attempts > 1 else "its only attempt"
    return f"{stands}: {told}, {tries}" + (f": {spent.reason}" if spent.reason else "")


def _failed(record: BatchRecord, reason: str, now: Instant) -> BatchRecord:
    return replace(record, outcome=Ending.FAILED, ended_ms=now.wall, reason=reason)


def exit_said(result: SlotResult) -> str:
    """Say with which code what ended; empty: there is none."""
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


def time_left(job: Job, now: Instant) -> timedelta:
    """Return how long it is until a job's deadline."""
    return left(deadline_ms(job), now)


def is_of_run(job: Job, placement: Placement) -> bool:
    """Whether a placement is of the run that its job is in."""
    assert job.run is not None, "a batch job has a run"
    return placement.version >= job.run.version
