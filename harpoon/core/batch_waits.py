"""What slots of a batch job wait for that `core.batch_roll` does not want placed yet, in sentences."""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Final

from harpoon.core.batch_roll import Batched, roll_batch
from harpoon.core.case import Case
from harpoon.core.standing import Standing
from harpoon.core.waits import LISTED, NAMED, held, kept, waits_for_agents
from harpoon.model.batch import BatchRecord, SlotResult
from harpoon.model.task import TaskState
from harpoon.model.why import Fix, ReasonCode, SlotsWhy

_MILLISECOND: Final = timedelta(milliseconds=1)


def batched(case: Case, record: BatchRecord) -> Batched:
    """Return what the scheduler's verb says of a batch job."""
    return roll_batch(
        case.job,
        record,
        case.standings,
        case.now,
        lingering=len(case.lingering),
        evictable=case.evictable,
        is_held=bool(case.unmet),
        leaving=case.leaving,
    )


def batch_waits(case: Case, record: BatchRecord, found: Batched) -> Iterator[SlotsWhy]:
    """Yield what every slot waits for that is not complete, has nothing that may run, and is not to be placed now.

    Args:
        case: The job, and what its placing depends on.
        record: What came of its tasks.
        found: What `batched` says of just that.
    """
    if found.rolled.held:
        yield held(case, found.rolled.held)
    told = {*found.rolled.held, *(want.slot for want in found.rolled.wants)}
    if case.job.spec.exclusive:
        yield from waits_for_agents(case, told)
    if found.turn:
        yield _turn(case, found.turn)
    for slot, span in sorted(found.backoff.items(), key=lambda one: (one[1], one[0])):
        yield _backoff(case, _result(record, slot), span)
    if record.outcome is None and not case.job.spec.exclusive and (lost := _lost(case, told)):
        yield kept(case, lost)


def _turn(case: Case, slots: tuple[int, ...]) -> SlotsWhy:
    parallel = case.job.spec.batch.parallel
    placed = sorted((one for one in case.standings if _may_run(one)), key=lambda one: one.placement.slot)
    awaited = [str(task) for task in (*(one.placement.task for one in placed), *case.lingering)]
    more = f" (and {len(awaited) - NAMED} more)" if len(awaited) > NAMED else ""
    return SlotsWhy(
        slots=slots,
        code=ReasonCode.PARALLEL,
        reason=f"parallel {parallel} lets no more tasks run at once; it waits for {_and(awaited[:NAMED])}{more} to end",
        evidence={"parallel": parallel, "awaited": tuple(awaited[:LISTED])},
        fix=Fix(agent=None, sentence="more could run at once", steps=(f"raise parallel above {parallel}",)),
    )


def _and(names: Sequence[str]) -> str:
    return " and ".join(names) or "those that are about to be placed"


def _may_run(one: Standing) -> bool:
    return not one.placement.is_denied and not (one.task is not None and one.task.state.is_over)


def _backoff(case: Case, last: SlotResult, span: timedelta) -> SlotsWhy:
    attempts = case.job.spec.batch.attempts
    seconds = max(0.1, round(span / timedelta(seconds=1), 1))
    return SlotsWhy(
        slots=(last.slot,),
        code=ReasonCode.BACKOFF,
        reason=(
            f"it is tried again in {seconds:g} s, attempt {last.attempts + 1} of {attempts}: {last.task} on "
            f"{last.agent} failed, and each further attempt waits longer"
        ),
        evidence={
            "due_ms": case.now.wall + span // _MILLISECOND,
            "failures": last.attempts,
            "tasks": (str(last.task),),
        },
    )


def _result(record: BatchRecord, slot: int) -> SlotResult:
    return next(one for one in record.results if one.slot == slot)


def _lost(case: Case, told: Collection[int]) -> tuple[int, ...]:
    found = {
        one.placement.slot
        for one in case.standings
        if one.task is not None and one.task.state is TaskState.LOST and one.placement.slot not in told
    }
    return tuple(sorted(found))
