"""Why a job, a task or an agent stands as it does: the view, put into the words of `model.why`. It changes nothing.

The scheduler's verbs are asked again beside the event loop, on a copy of the index, because that may take a while.
"""

import asyncio
from collections.abc import Iterable, Sequence
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
    preemptor_of,
    reserved,
    slot_cause,
    task_causes,
)
from harpoon.control.cron_status import cron_causes
from harpoon.control.drain import reason_to_stay
from harpoon.control.members import whole
from harpoon.control.planning import bookings_of
from harpoon.control.references import bindings, replacing, unmet
from harpoon.control.rollouts import brake_after
from harpoon.control.running import lingering
from harpoon.control.standings import standings_of
from harpoon.control.status import job_status, unreported
from harpoon.control.view import View, job_key
from harpoon.core.held import NoSecret, Unmet
from harpoon.core.members import unmet_by
from harpoon.core.rebalance import heeded
from harpoon.core.waits import Case
from harpoon.core.why import explain, explain_on
from harpoon.model.agent import Agent, LinkState
from harpoon.model.dependency import Condition
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState, parse_task_id
from harpoon.model.why import DependencyWhy, Reason, ReasonCode, SlotsWhy, TaskWhy, Why
from harpoon.store.table import Row

#: Tasks told of one job or agent, the longest troubled first.
TASKS_MAX: Final = 50
#: Jobs that are asked why none of their slots is on an agent.
JOBS_MAX: Final = 10
#: Slots that a reason lists; how many there are is told beside.
SLOTS_MAX: Final = 100
_NOT: Final = {Condition.READY: "is not ready", Condition.SUCCEEDED: "has not succeeded"}
_IMMINENT: Final = Reason(code=ReasonCode.IMMINENT, sentence="it is about to be placed")


async def explain_job(view: View, row: Row[Job], known: Bookings | None, now: Instant) -> Why:
    """Return why a job stands as it does; ``known`` is the index that slots are placed by, if one is kept."""
    revision, job, status = view.external(view.revision), row.value, job_status(view, row)
    lacking = unmet(view, job)
    missing = {one.name: one.found for one in lacking if isinstance(one, Unmet)}
    tasks = _troubled(view, job_key(job.namespace, job.name), job, now)
    dependencies = tuple(
        DependencyWhy(
            job=one.job or "",
            run=one.run or "",
            wanted=one.wanted.value,
            found=missing.get(one.label, one.wanted.value),
            is_met=one.label not in missing,
        )
        for one in job.spec.depends_on
    )
    slots = (
        () if job.is_terminating or (status.is_done and status.pending is None) else await _slots(view, job, known, now)
    )
    causes: list[Reason] = []
    if job.is_terminating:
        said = "it is being unscheduled: its tasks are stopped first"
        causes.append(Reason(code=ReasonCode.TERMINATING, sentence=said, evidence={"tasks": len(tasks)}))
    if job.run is not None:
        causes += ended_causes(record_of(view, job))
    if not status.is_done:
        causes += [
            Reason(
                code=ReasonCode.DEPENDENCY,
                sentence=f"{one.dependency.kind} {one.dependency.name} {_NOT[one.dependency.wanted]}: {one.found}",
                evidence={one.dependency.kind: one.dependency.name, "wanted": one.wanted, "found": one.found},
            )
            for one in lacking
            if isinstance(one, Unmet)
        ]
        causes += [
            Reason(
                code=ReasonCode.NO_SECRET,
                sentence=f"secret {one.name} is not set: {one.found}",
                evidence={"secret": one.name, "found": one.found},
            )
            for one in lacking
            if isinstance(one, NoSecret)
        ]
    # A batch job that names its agents has numbers for its slots, as any other.
    names = whole(view, job, now).members if job.spec.type is JobType.SYSTEM else ()
    causes += [_told(one, names) for one in slots]
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
        dependencies=dependencies,
    )
    return _because(told, causes)


async def explain_slot(view: View, row: Row[Job], slot: int, known: Bookings | None, now: Instant) -> Why:
    """Return why a slot has no task."""
    revision, job = view.external(view.revision), row.value
    record = None if job.run is None else record_of(view, job)
    done = None if record is None else slot_cause(record, slot, job.spec.batch.attempts)
    if done is not None:
        is_complete = done.code is ReasonCode.COMPLETE
        return _because(
            Why(
                revision=revision,
                subject=f"task/{job.namespace}.{job.name}.{slot}",
                state=(TaskState.FINISHED if is_complete else TaskState.FAILED).value,
                summary=f"slot {slot} of job {job.name} {'is complete' if is_complete else 'has failed'}",
                is_fine=is_complete,
                reasons=(),
            ),
            [done],
        )
    slots = await _slots_of(view, job, slot, known, now)
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
    return _because(told, [_reason(one) for one in slots] or [*ended] or [_IMMINENT])


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
        slots = await _slots_of(view, row.value, job.members.index(agent.name), known, now)
        return _because(replace(told, slots=slots), [_reason(one) for one in slots] or [_IMMINENT])
    tag = unmet_by(job, agent)
    if tag:
        said = f"agent {agent.name} does not meet the requirement on {tag}: the job is not for it"
        return _because(replace(told, is_fine=True), [Reason(code=ReasonCode.NO_MEMBER, sentence=said)])
    cordon = view.cordons.rows.get(agent.name)
    causes = [] if cordon is None else [*cordon_causes(view, cordon.value)]
    return _because(told, causes or [_IMMINENT])


async def explain_task_and_slot(view: View, task_id: TaskId, known: Bookings | None, now: Instant) -> Why | None:
    """Return why a task stands as it does, with what its slot waits for; None: there is none of that id."""
    why, name = explain_task(view, task_id, now), parse_task_id(task_id)
    row = view.jobs.rows.get(job_key(name.namespace, name.job))
    if why is None or why.is_fine or row is None or row.value.is_terminating:
        return why
    members = whole(view, row.value, now).members
    slot = members.index(name.agent) if name.agent in members else name.slot
    slots = await _slots_of(view, row.value, slot, known, now) if not name.agent or name.agent in members else ()
    more = [
        replace(reason, sentence=f"slot {name.place}: {reason.sentence}")
        for reason in map(_reason, slots)
        if not any(reason.sentence.endswith(told) or told.endswith(reason.sentence) for told in why.reasons)
    ]
    return _because(replace(why, slots=slots), (*why.causes, *more))


def explain_task(view: View, task_id: TaskId, now: Instant) -> Why | None:
    """Return why a task stands as it does; None: there is none of that id."""
    reported, placed = view.task(task_id), view.placement(task_id)
    placement = None if placed is None else placed.value
    task = None if placement is None else unreported(placement)
    if reported is not None:
        task = reported.value
    if task is None:
        return None
    causes = [*task_causes(view, task, placement, now)]
    links = [*link_causes(view, task.agent, None)]
    causes += links
    cordon = view.cordons.rows.get(task.agent)
    if cordon is not None and cordon.value.is_draining and not task.is_over:
        stays = reason_to_stay(view, task.agent, task_id)
        said = f"agent {task.agent} is being drained; it {stays.sentence}"
        evidence = {**stays.evidence, "agent": task.agent, "because": stays.code.value}
        causes.append(Reason(code=ReasonCode.DRAINING, sentence=said, evidence=evidence))
    causes += _fate(view, task, placement)
    told = Why(
        revision=view.external(view.revision),
        subject=f"task/{task_id}",
        state=task.state.value,
        summary=f"{_state(task)} on {task.agent}",
        is_fine=_is_fine(view, task, placement) and not links,
        reasons=(),
        tasks=(_task_why(view, task, placement, now),),
    )
    return _because(told, causes)


def _is_fine(view: View, task: Task, placement: Placement | None) -> bool:
    if placement is None:
        return task.state is TaskState.FINISHED and view.is_noted(task.id)
    return task.ready and not placement.is_revoked


def _fate(view: View, task: Task, placement: Placement | None) -> Iterable[Reason]:
    """Yield whether a task is to be where it is, and why."""
    if task.state is TaskState.UNCLAIMED:
        said = "it was placed in an earlier life of the registry, before a backup was restored: nobody touches it"
        yield Reason(code=ReasonCode.UNCLAIMED, sentence=said)
        return
    if placement is None and view.is_noted(task.id):
        said = "it is kept for its logs as long as its job is, and is not run again"
        yield Reason(code=ReasonCode.NOTED, sentence=said)
        return
    if placement is None:
        preemptor = preemptor_of(view, task.id)
        why = "" if preemptor is None else f": it makes room for job {preemptor}, whose priority is higher"
        yield Reason(code=ReasonCode.WITHDRAWN, sentence=f"its placement was withdrawn, so it is to stop{why}")
        return
    if placement.is_revoked:
        said = f"its placement was revoked, so it is to stop: {placement.reason}"
        yield Reason(code=ReasonCode.WITHDRAWN, sentence=said, evidence={"since_ms": placement.decided_ms})
        return
    yield Reason(
        code=ReasonCode.PLACED,
        sentence=f"it was placed on {placement.agent} because {placement.reason}",
        evidence={"agent": placement.agent, "since_ms": placement.decided_ms, "revision": placement.revision},
    )
    key = job_key(placement.namespace, placement.job)
    move, job = view.moves_of(key).get(task.id), view.jobs.rows.get(key)
    if move is not None:
        told = move.value.move
        yield Reason(
            code=ReasonCode.MOVING,
            sentence=f"it is to be replaced elsewhere, for tasks are being rebalanced: {told.reason}",
            evidence={"agent": told.agent, "to": told.to, "since_ms": move.value.at_ms},
        )
    if job is not None and placement.generation != job.value.generation:
        yield Reason(
            code=ReasonCode.OUTDATED,
            sentence=f"it runs version {placement.version}; version {job.value.version} is to replace it",
            evidence={"version": placement.version, "wanted": job.value.version},
        )


async def explain_agent(
    view: View, agent: Agent, known: Bookings | None, now: Instant, lost_after: timedelta | None = None
) -> Why:
    """Return why an agent stands as it does, what is reserved on it, and why jobs that wait are not placed there."""
    index = await bookings_of(view, known)
    revision = view.external(view.revision)
    state = link_state(view, agent.name)
    placed = [row.value for row in view.placements_on(agent.name).values()]
    bad = (row.value for row in view.tasks_on(agent.name).values() if not _is_well(row.value))
    tasks = _worst(view, bad, now)
    cordon = view.cordons.rows.get(agent.name)
    causes = [*link_causes(view, agent.name, lost_after), *loss_causes(view, agent.name)]
    causes += [] if cordon is None else cordon_causes(view, cordon.value)
    causes.append(reserved(agent, placed))
    if not placed:
        causes.append(Reason(code=ReasonCode.EMPTY, sentence="no task is placed on it"))
    slots = await _refused(view, agent, index, now)
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
    return _because(told, (*causes, *map(_reason, slots)))


def _because(told: Why, causes: Iterable[Reason]) -> Why:
    """Return what is told with these reasons, each sentence once."""
    once = {one.sentence: one for one in reversed((*causes,))}
    ordered = tuple(reversed(once.values()))
    return replace(told, causes=ordered, reasons=tuple(one.sentence for one in ordered))


def _reason(slots: SlotsWhy) -> Reason:
    return Reason(code=slots.code, sentence=slots.reason, evidence=slots.evidence)


async def _slots_of(view: View, job: Job, slot: int, known: Bookings | None, now: Instant) -> tuple[SlotsWhy, ...]:
    return tuple(one for one in await _slots(view, job, known, now) if slot in one.slots)


async def _slots(view: View, job: Job, known: Bookings | None, now: Instant) -> tuple[SlotsWhy, ...]:
    index = await bookings_of(view, known)
    case, fleet = _case(view, job, index, now), index.fleet.fork()
    fleet.release(job)
    return await asyncio.to_thread(explain, case, fleet)


def _case(view: View, declared: Job, index: Bookings, now: Instant) -> Case:
    job = whole(view, declared, now)
    standings = standings_of(view, job)
    brake = None if job.run is not None else brake_after(view, job, standings, now)
    return Case(
        job=job,
        standings=heeded(standings, brake),
        links={name: row.value for name, row in view.links.rows.items()},
        now=now,
        evictable=index.evictable(now),
        halted=view.halted,
        leaving={} if job.spec.type is JobType.SYSTEM else dict(index.fleet.leaving),
        unmet=unmet(view, job),
        replacing=replacing(job, bindings(view, job)),
        brake=brake,
        batch=None if job.run is None else record_of(view, job),
        lingering=() if job.run is None else lingering(view, job),
    )


async def _refused(view: View, agent: Agent, index: Bookings, now: Instant) -> tuple[SlotsWhy, ...]:
    """Return what the agent lacks for jobs that have slots which fit nowhere."""
    jobs = [row.value for key in list(view.pending.rows)[:JOBS_MAX] if (row := view.jobs.rows.get(key)) is not None]
    cases, fleet = [_case(view, job, index, now) for job in jobs], index.fleet.fork()
    # Of each it is told what lacks here as if room were kept for none of them.
    for job in jobs:
        fleet.release(job)

    def ask() -> tuple[SlotsWhy, ...]:
        told = ((case.job, one) for case in cases for one in explain_on(case, fleet, agent.name))
        return tuple(
            SlotsWhy(
                slots=one.slots,
                code=ReasonCode.REFUSES,
                evidence={"job": f"{job.namespace}/{job.name}"},
                reason=f"job {job.namespace}/{job.name} cannot be placed on it: "
                + " and ".join(f"{f.predicate} {f.wanted} (found {f.found})" for f in one.groups[0].failed),
                groups=one.groups,
                fix=one.fix,
            )
            for job, one in told
            if one.groups
        )

    return await asyncio.to_thread(ask)


def _troubled(view: View, key: str, job: Job, now: Instant) -> tuple[TaskWhy, ...]:
    """Return the tasks of a job that are not as they should be, also those that have not been reported yet."""
    placed, reported = view.placements_of(key), view.tasks_of(key)
    tasks = [row.value for row in reported.values()]
    bad = [
        task
        for task in tasks
        if not _is_well(task)
        or not (_is_placed(placed.get(task.id)) or view.is_noted(task.id))
        or task.generation != job.generation
        or job.is_terminating
    ]
    silent = [unreported(row.value) for task, row in placed.items() if task not in reported and not row.value.is_denied]
    return _worst(view, [*bad, *silent], now)


def _is_placed(row: Row[Placement] | None) -> bool:
    return row is not None and not row.value.is_revoked


def _worst(view: View, tasks: Iterable[Task], now: Instant) -> tuple[TaskWhy, ...]:
    ordered = sorted(tasks, key=lambda task: (_is_well(task), task.since_ms, task.id))
    placed = ((task, view.placement(task.id)) for task in ordered[:TASKS_MAX])
    return tuple(_task_why(view, task, None if row is None else row.value, now) for task, row in placed)


def _is_well(task: Task) -> bool:
    return task.ready or task.state is TaskState.FINISHED


def _task_why(view: View, task: Task, placement: Placement | None, now: Instant) -> TaskWhy:
    return TaskWhy(
        id=task.id,
        agent=task.agent,
        state=task.state.value,
        ready=task.ready,
        reason=task.reason,
        since_ms=task.since_ms,
        restarts=task.restarts,
        checks=task.checks,
        causes=tuple(task_causes(view, task, placement, now)),
    )


def _state(task: Task) -> str:
    return "ready" if task.ready else task.state.value


def _told(slots: SlotsWhy, names: Sequence[str]) -> Reason:
    """Return a reason with the slots that it is of; some name their slot themselves."""
    told = tuple(names[slot] if names else str(slot) for slot in slots.slots)
    named, reason = _named(told), _reason(slots)
    sentence = slots.reason if slots.reason.startswith(f"{named} ") else f"{named}: {slots.reason}"
    return replace(reason, sentence=sentence, evidence={**slots.evidence, "of": told[:SLOTS_MAX]})


def _named(slots: Sequence[str]) -> str:
    more = f" and {len(slots) - 8} more" if len(slots) > 8 else ""
    return f"{'slot' if len(slots) == 1 else 'slots'} {', '.join(slots[:8])}{more}"
