"""Why a job, a task or an agent stands as it does: the view, put into the words of `model.why`. It changes nothing.

The scheduler's verbs are asked again beside the event loop, on a copy of the index, because that may take a while.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from harpoon.control.bookings import Bookings
from harpoon.control.drain import drain_status, stays
from harpoon.control.planning import bookings_of
from harpoon.control.references import bindings, replacing, unmet
from harpoon.control.standings import standings_of
from harpoon.control.status import job_status, unreported
from harpoon.control.view import View, job_key
from harpoon.core.blockers import about_size, moment
from harpoon.core.exclusive import waits_for_agent
from harpoon.core.why import Case, explain, explain_on
from harpoon.model.agent import Agent, Cordon, LinkState
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState, parse_task_id
from harpoon.model.units import format_cpu
from harpoon.model.why import DependencyWhy, SlotsWhy, TaskWhy, Why
from harpoon.store.table import Row

#: Tasks told of one job or agent, the longest troubled first.
TASKS_MAX: Final = 50
#: Jobs that are asked why none of their slots is on an agent.
JOBS_MAX: Final = 10


async def explain_job(view: View, row: Row[Job], known: Bookings | None, now: Instant) -> Why:
    """Return why a job stands as it does; ``known`` is the index that slots are placed by, if one is kept."""
    revision, job, status = view.external(view.revision), row.value, job_status(view, row)
    missing = {one.dependency.job: one.found for one in unmet(view, job)}
    tasks = _troubled(view, job_key(job.namespace, job.name), job)
    dependencies = tuple(
        DependencyWhy(
            job=one.job,
            wanted=one.is_.value,
            found=missing.get(one.job, one.is_.value),
            is_met=one.job not in missing,
        )
        for one in job.spec.depends_on
    )
    slots = (
        () if job.is_terminating or (status.is_done and status.pending is None) else await _slots(view, job, known, now)
    )
    reasons = [*(["it is being unscheduled: its tasks are stopped first"] if job.is_terminating else [])]
    reasons += [f"job {name} is not ready: {found}" for name, found in missing.items() if not status.is_done]
    reasons += [_told(one) for one in slots]
    reasons += [one for one in status.waiting if status.pending is None or one != status.pending.reason]
    return Why(
        revision=revision,
        subject=f"job/{job.name}",
        state=status.state.value,
        summary=status.summary,
        is_fine=status.is_done,
        reasons=tuple(dict.fromkeys(reasons)) or ("every slot has a ready task, and nothing older is left",),
        slots=slots,
        tasks=tasks,
        dependencies=dependencies,
    )


async def explain_slot(view: View, row: Row[Job], slot: int, known: Bookings | None, now: Instant) -> Why:
    """Return why a slot has no task."""
    revision, job = view.external(view.revision), row.value
    slots = tuple(one for one in await _slots(view, job, known, now) if slot in one.slots)
    return Why(
        revision=revision,
        subject=f"task/{job.namespace}.{job.name}.{slot}",
        state=TaskState.PENDING.value,
        summary=f"slot {slot} of job {job.name} is not placed",
        is_fine=False,
        reasons=tuple(one.reason for one in slots) or ("it is about to be placed",),
        slots=slots,
    )


def explain_task(view: View, task_id: TaskId) -> Why | None:
    """Return why a task stands as it does; None: there is none of that id."""
    reported, placed = view.task(task_id), view.placement(task_id)
    placement = None if placed is None else placed.value
    task = None if placement is None else unreported(placement)
    if reported is not None:
        task = reported.value
    if task is None:
        return None
    name = parse_task_id(task_id)
    job = view.jobs.rows.get(job_key(name.namespace, name.job))
    reasons = [f"it is {_state(task)}: {task.reason or 'no reason was reported'}"]
    waits = "" if placement is None else waits_for_agent(placement, None if reported is None else reported.value)
    reasons += [waits] if waits else []
    reasons += [f"check {one.name} fails: {one.detail}" for one in task.checks if not one.is_passing]
    reasons += _link_reasons(view, task.agent)
    cordon = view.cordons.rows.get(task.agent)
    if cordon is not None and cordon.value.is_draining and not task.is_over:
        reasons.append(f"agent {task.agent} is being drained; it {stays(view, task.agent, task_id)}")
    if task.state is TaskState.UNCLAIMED:
        reasons.append(
            "it was placed in an earlier life of the registry, before a backup was restored: nobody touches it"
        )
    elif placement is None:
        reasons.append("its placement was withdrawn, so it is to stop")
    elif placement.is_revoked:
        reasons.append(f"its placement was revoked, so it is to stop: {placement.reason}")
    else:
        reasons.append(f"it was placed on {placement.agent} because {placement.reason}")
        if job is not None and placement.generation != job.value.generation:
            reasons.append(f"it runs version {placement.version}; version {job.value.version} is to replace it")
    return Why(
        revision=view.external(view.revision),
        subject=f"task/{task_id}",
        state=task.state.value,
        summary=f"{_state(task)} on {task.agent}",
        is_fine=task.ready
        and placement is not None
        and not placement.is_revoked
        and not _link_reasons(view, task.agent),
        reasons=tuple(reasons),
        tasks=(_task_why(task),),
    )


async def explain_agent(view: View, agent: Agent, known: Bookings | None, now: Instant) -> Why:
    """Return why an agent stands as it does, what is reserved on it, and why jobs that wait are not placed there."""
    index = await bookings_of(view, known)
    revision = view.external(view.revision)
    link = view.links.rows.get(agent.name)
    state = LinkState.UNKNOWN if link is None else link.value.state
    placed = [row.value for row in view.placements_on(agent.name).values()]
    tasks = _worst(row.value for row in view.tasks_on(agent.name).values() if not _is_well(row.value))
    cordon = view.cordons.rows.get(agent.name)
    reasons = _link_reasons(view, agent.name) + ([] if cordon is None else _cordon_reasons(view, cordon.value))
    if state is LinkState.LOST and view.halted is not None:
        reasons.append(f"{view.halted}, so the fault is likelier here")
    reasons.append(_reserved(agent, placed))
    if not placed:
        reasons.append("no task is placed on it")
    slots = await _refused(view, agent, index, now)
    return Why(
        revision=revision,
        subject=f"agent/{agent.name}",
        state=state.value,
        summary=f"{state}, {len(placed)} placed",
        is_fine=state is LinkState.CONNECTED and not tasks and (cordon is None or not cordon.value.is_draining),
        reasons=(*reasons, *(one.reason for one in slots)),
        slots=slots,
        tasks=tasks,
    )


async def _slots(view: View, job: Job, known: Bookings | None, now: Instant) -> tuple[SlotsWhy, ...]:
    index = await bookings_of(view, known)
    case, fleet = _case(view, job, index, now), index.fleet.fork()
    return await asyncio.to_thread(explain, case, fleet)


def _case(view: View, job: Job, index: Bookings, now: Instant) -> Case:
    return Case(
        job=job,
        standings=standings_of(view, job),
        links={name: row.value for name, row in view.links.rows.items()},
        now=now,
        evictable=index.evictable(now),
        halted=view.halted,
        leaving=dict(index.fleet.leaving),
        is_held=bool(unmet(view, job)),
        replacing=replacing(job, bindings(view, job)),
    )


async def _refused(view: View, agent: Agent, index: Bookings, now: Instant) -> tuple[SlotsWhy, ...]:
    """Return what the agent lacks for jobs that have slots which fit nowhere."""
    jobs = [row.value for key in list(view.pending.rows)[:JOBS_MAX] if (row := view.jobs.rows.get(key)) is not None]
    cases, fleet = [_case(view, job, index, now) for job in jobs], index.fleet.fork()

    def ask() -> tuple[SlotsWhy, ...]:
        told = ((case.job, one) for case in cases for one in explain_on(case, fleet, agent.name))
        return tuple(
            SlotsWhy(
                slots=one.slots,
                reason=f"job {job.namespace}/{job.name} cannot be placed on it: "
                + " and ".join(f"{f.predicate} {f.wanted} (found {f.found})" for f in one.groups[0].failed),
                groups=one.groups,
                fix=one.fix,
            )
            for job, one in told
            if one.groups
        )

    return await asyncio.to_thread(ask)


def _troubled(view: View, key: str, job: Job) -> tuple[TaskWhy, ...]:
    """Return the tasks of a job that are not as they should be, also those that have not been reported yet."""
    placed, reported = view.placements_of(key), view.tasks_of(key)
    tasks = [row.value for row in reported.values()]
    bad = [
        task
        for task in tasks
        if not _is_well(task)
        or not _is_placed(placed.get(task.id))
        or task.generation != job.generation
        or job.is_terminating
    ]
    silent = [unreported(row.value) for task, row in placed.items() if task not in reported and not row.value.is_denied]
    return _worst([*bad, *silent])


def _is_placed(row: Row[Placement] | None) -> bool:
    return row is not None and not row.value.is_revoked


def _worst(tasks: Iterable[Task]) -> tuple[TaskWhy, ...]:
    ordered = sorted(tasks, key=lambda task: (_is_well(task), task.since_ms, task.id))
    return tuple(_task_why(task) for task in ordered[:TASKS_MAX])


def _is_well(task: Task) -> bool:
    return task.ready or task.state is TaskState.FINISHED


def _task_why(task: Task) -> TaskWhy:
    return TaskWhy(
        id=task.id,
        agent=task.agent,
        state=task.state.value,
        ready=task.ready,
        reason=task.reason,
        since_ms=task.since_ms,
        restarts=task.restarts,
        checks=task.checks,
    )


def _state(task: Task) -> str:
    return "ready" if task.ready else task.state.value


def _link_reasons(view: View, agent: str) -> list[str]:
    link = view.links.rows.get(agent)
    if link is not None and link.value.state is LinkState.CONNECTED:
        return []
    state = LinkState.UNKNOWN if link is None else link.value.state
    said = f": {link.value.reason}" if link is not None and link.value.reason else ""
    return [f"agent {agent} is {state}{said}"]


def _cordon_reasons(view: View, cordon: Cordon) -> list[str]:
    """Return why an agent takes no new tasks, and what its drain still waits for."""
    why = f": {cordon.reason}" if cordon.reason else ""
    since = moment(cordon.since_ms)
    if not cordon.is_draining:
        return [f"it is cordoned since {since} and takes no new tasks{why}"]
    drain = drain_status(view, cordon.agent)
    until = "" if cordon.deadline_ms is None else f", until {moment(cordon.deadline_ms)} at the latest"
    left = "no task is left" if drain.is_done else f"{drain.left} tasks are left"
    return [f"it is being drained since {since}{until}, and {left}{why}", *drain.waiting]


def _reserved(agent: Agent, placed: list[Placement]) -> str:
    cpu, memory = (sum(getattr(one.reserve, what) for one in placed) for what in ("cpu", "memory"))
    return (
        f"{format_cpu(cpu)} of {format_cpu(agent.capacity.cpu)} cpu and {about_size(memory)} of "
        f"{about_size(agent.capacity.memory)} memory are reserved by {len(placed)} placements"
    )


def _told(slots: SlotsWhy) -> str:
    """Return a reason with the slots that it is of; some name their slot themselves."""
    named = _named(slots.slots)
    return slots.reason if slots.reason.startswith(f"{named} ") else f"{named}: {slots.reason}"


def _named(slots: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, slots[:8]))
    more = f" and {len(slots) - 8} more" if len(slots) > 8 else ""
    return f"{'slot' if len(slots) == 1 else 'slots'} {shown}{more}"
