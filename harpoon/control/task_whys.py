"""Why a task stands as it does, and which tasks of a job or an agent are worth telling of."""

from collections.abc import Iterable
from typing import Final

from harpoon.control.causes import link_causes, preemptor_of, task_causes
from harpoon.control.drain import reason_to_stay
from harpoon.control.status import unreported
from harpoon.control.view import View, job_key
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.why import Reason, ReasonCode, TaskWhy, Why
from harpoon.store.table import Row

#: Tasks told of one job or agent, the longest troubled first.
TASKS_MAX: Final = 50


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
    return told.because(causes)


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


def troubled(view: View, key: str, job: Job, now: Instant) -> tuple[TaskWhy, ...]:
    """Return the tasks of a job that are not as they should be, also those that have not been reported yet."""
    placed, reported = view.placements_of(key), view.tasks_of(key)
    tasks = [row.value for row in reported.values()]
    bad = [
        task
        for task in tasks
        if not is_well(task)
        or not (_is_placed(placed.get(task.id)) or view.is_noted(task.id))
        or task.generation != job.generation
        or job.is_terminating
    ]
    silent = [unreported(row.value) for task, row in placed.items() if task not in reported and not row.value.is_denied]
    return worst(view, [*bad, *silent], now)


def _is_placed(row: Row[Placement] | None) -> bool:
    return row is not None and not row.value.is_revoked


def worst(view: View, tasks: Iterable[Task], now: Instant) -> tuple[TaskWhy, ...]:
    """Return what is to be told of the most troubled of some tasks."""
    ordered = sorted(tasks, key=lambda task: (is_well(task), task.since_ms, task.id))
    placed = ((task, view.placement(task.id)) for task in ordered[:TASKS_MAX])
    return tuple(_task_why(view, task, None if row is None else row.value, now) for task, row in placed)


def is_well(task: Task) -> bool:
    """Whether a task by itself is as it should be."""
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
