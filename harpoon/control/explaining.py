"""Why a job, a slot or an agent stands as it does: the view, put into the words of `model.why`. It changes nothing.

What is to be said of slots that are not placed is `harpoon.control.slot_whys`; of tasks, `harpoon.control.task_whys`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from harpoon.control.batches import record_of
from harpoon.control.bookings import Bookings
from harpoon.control.causes import (
    cordon_causes,
    ended_causes,
    link_causes,
    link_state,
    loss_causes,
    reserved,
    slot_cause,
)
from harpoon.control.cron_status import cron_causes
from harpoon.control.members import whole
from harpoon.control.planning import bookings_of
from harpoon.control.references import unmet
from harpoon.control.slot_whys import cause_of, named_cause, whys_of_agent, whys_of_job, whys_of_slot
from harpoon.control.status import job_status
from harpoon.control.task_whys import explain_task, is_well, troubled, worst
from harpoon.control.view import View, job_key
from harpoon.core.held import Missing, NoSecret, Unmet
from harpoon.core.members import unmet_by
from harpoon.model.agent import Agent, LinkState
from harpoon.model.dependency import Condition
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState, parse_task_id
from harpoon.model.why import DependencyWhy, Reason, ReasonCode, Why
from harpoon.store.table import Row

_NOT: Final = {Condition.READY: "is not ready", Condition.SUCCEEDED: "has not succeeded"}
_IMMINENT: Final = Reason(code=ReasonCode.IMMINENT, sentence="it is about to be placed")


async def explain_job(view: View, row: Row[Job], known: Bookings | None, now: Instant) -> Why:
    """Return why a job stands as it does; ``known`` is the index that slots are placed by, if one is kept."""
    revision, job, status = view.external(view.revision), row.value, job_status(view, row)
    lacking = unmet(view, job)
    tasks = troubled(view, job_key(job.namespace, job.name), job, now)
    is_placed = job.is_terminating or (status.is_done and status.pending is None)
    slots = () if is_placed else await whys_of_job(view, job, known, now)
    causes: list[Reason] = []
    if job.is_terminating:
        said = "it is being unscheduled: its tasks are stopped first"
        causes.append(Reason(code=ReasonCode.TERMINATING, sentence=said, evidence={"tasks": len(tasks)}))
    if job.run is not None:
        causes += ended_causes(record_of(view, job))
    if not status.is_done:
        causes += _lacks(lacking)
    # A batch job that names its agents has numbers for its slots, as any other.
    names = whole(view, job, now).members if job.spec.type is JobType.SYSTEM else ()
    causes += [named_cause(one, names) for one in slots]
    if job.spec.cron is not None and status.cron is not None:
        causes += cron_causes(job.spec.cron, status.cron)
    said_of_pending = None if status.pending is None else status.pending.reason
    told_already = {one.sentence for one in causes} | ({said_of_pending} if slots else set())
    causes += [Reason(code=ReasonCode.WAITING, sentence=one) for one in status.waiting if one not in told_already]
    if not causes:
        said = "every slot has a ready task, and nothing older is left"
        causes.append(Reason(code=ReasonCode.SETTLED, sentence=said))
    told = Why(
        revision=revision,
        subject=f"job/{job.name}",
        state=status.state.value,
        summary=status.summary,
        is_fine=status.is_done,
        reasons=(),
        slots=slots,
        tasks=tasks,
        dependencies=_dependencies(job, lacking),
    )
    return told.because(causes)


async def explain_slot(view: View, row: Row[Job], slot: int, known: Bookings | None, now: Instant) -> Why:
    """Return why a slot has no task."""
    revision, job = view.external(view.revision), row.value
    record = None if job.run is None else record_of(view, job)
    done = None if record is None else slot_cause(record, slot, job.spec.batch.attempts)
    if done is not None:
        is_complete = done.code is ReasonCode.COMPLETE
        told = Why(
            revision=revision,
            subject=f"task/{job.namespace}.{job.name}.{slot}",
            state=(TaskState.FINISHED if is_complete else TaskState.FAILED).value,
            summary=f"slot {slot} of job {job.name} {'is complete' if is_complete else 'has failed'}",
            is_fine=is_complete,
            reasons=(),
        )
        return told.because([done])
    slots = await whys_of_slot(view, job, slot, known, now)
    told = Why(
        revision=revision,
        subject=f"task/{job.namespace}.{job.name}.{slot}",
        state=TaskState.PENDING.value,
        summary=f"slot {slot} of job {job.name} is not placed",
        is_fine=False,
        reasons=(),
        slots=slots,
    )
    ended = () if record is None else ended_causes(record)
    return told.because([cause_of(one) for one in slots] or [*ended] or [_IMMINENT])


async def explain_member(view: View, row: Row[Job], agent: Agent, known: Bookings | None, now: Instant) -> Why:
    """Return why a system job has no task on an agent."""
    job = whole(view, row.value, now)
    told = Why(
        revision=view.external(view.revision),
        subject=f"task/{job.namespace}.{job.name}.{agent.name}",
        state=TaskState.PENDING.value,
        summary=f"system job {job.name} has no task on {agent.name}",
        is_fine=False,
        reasons=(),
    )
    if agent.name in job.members:
        slots = await whys_of_slot(view, row.value, job.members.index(agent.name), known, now)
        return replace(told, slots=slots).because([cause_of(one) for one in slots] or [_IMMINENT])
    tag = unmet_by(job, agent)
    if tag:
        said = f"agent {agent.name} does not meet the requirement on {tag}: the job is not for it"
        return replace(told, is_fine=True).because([Reason(code=ReasonCode.NO_MEMBER, sentence=said)])
    cordon = view.cordons.rows.get(agent.name)
    causes = [] if cordon is None else [*cordon_causes(view, cordon.value)]
    return told.because(causes or [_IMMINENT])


async def explain_task_and_slot(view: View, task_id: TaskId, known: Bookings | None, now: Instant) -> Why | None:
    """Return why a task stands as it does, with what its slot waits for; None: there is none of that id."""
    why, name = explain_task(view, task_id, now), parse_task_id(task_id)
    row = view.jobs.rows.get(job_key(name.namespace, name.job))
    if why is None or why.is_fine or row is None or row.value.is_terminating:
        return why
    members = whole(view, row.value, now).members
    slot = members.index(name.agent) if name.agent in members else name.slot
    slots = await whys_of_slot(view, row.value, slot, known, now) if not name.agent or name.agent in members else ()
    more = [
        replace(reason, sentence=f"slot {name.place}: {reason.sentence}")
        for reason in map(cause_of, slots)
        if not any(reason.sentence.endswith(told) or told.endswith(reason.sentence) for told in why.reasons)
    ]
    return replace(why, slots=slots).because((*why.causes, *more))


async def explain_agent(
    view: View, agent: Agent, known: Bookings | None, now: Instant, lost_after: timedelta | None = None
) -> Why:
    """Return why an agent stands as it does, what is reserved on it, and why jobs that wait are not placed there."""
    index = await bookings_of(view, known)
    revision = view.external(view.revision)
    state = link_state(view, agent.name)
    placed = [row.value for row in view.placements_on(agent.name).values()]
    bad = (row.value for row in view.tasks_on(agent.name).values() if not is_well(row.value))
    tasks = worst(view, bad, now)
    cordon = view.cordons.rows.get(agent.name)
    causes = [*link_causes(view, agent.name, lost_after), *loss_causes(view, agent.name)]
    causes += [] if cordon is None else cordon_causes(view, cordon.value)
    causes.append(reserved(agent, placed))
    if not placed:
        causes.append(Reason(code=ReasonCode.EMPTY, sentence="no task is placed on it"))
    slots = await whys_of_agent(view, agent, index, now)
    told = Why(
        revision=revision,
        subject=f"agent/{agent.name}",
        state=state.value,
        summary=f"{state}, {len(placed)} placed",
        is_fine=state is LinkState.CONNECTED and not tasks and (cordon is None or not cordon.value.is_draining),
        reasons=(),
        slots=slots,
        tasks=tasks,
    )
    return told.because((*causes, *map(cause_of, slots)))


def _dependencies(job: Job, lacking: Sequence[Missing]) -> tuple[DependencyWhy, ...]:
    """Return what a job depends on, and how that stands."""
    missing = {one.name: one.found for one in lacking if isinstance(one, Unmet)}
    return tuple(
        DependencyWhy(
            job=one.job or "",
            run=one.run or "",
            wanted=one.wanted.value,
            found=missing.get(one.label, one.wanted.value),
            is_met=one.label not in missing,
        )
        for one in job.spec.depends_on
    )


def _lacks(lacking: Sequence[Missing]) -> Iterator[Reason]:
    """Yield what a job lacks beside agents: first what it depends on, then its secrets."""
    for one in lacking:
        if isinstance(one, Unmet):
            yield Reason(
                code=ReasonCode.DEPENDENCY,
                sentence=f"{one.dependency.kind} {one.dependency.name} {_NOT[one.dependency.wanted]}: {one.found}",
                evidence={one.dependency.kind: one.dependency.name, "wanted": one.wanted, "found": one.found},
            )
    for one in lacking:
        if isinstance(one, NoSecret):
            yield Reason(
                code=ReasonCode.NO_SECRET,
                sentence=f"secret {one.name} is not set: {one.found}",
                evidence={"secret": one.name, "found": one.found},
            )
