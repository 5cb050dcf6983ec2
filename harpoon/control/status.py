"""How a job stands: a pure summary of its record, its placements and what the agents report."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harpoon.control.view import View, job_key
from harpoon.model.decision import Pending
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState
from harpoon.store.table import Row

#: Sentences about what a job waits for; more would not help a reader.
WAITING_MAX = 10


class JobState(StrEnum):
    """How a job stands, in one word."""

    #: Every slot has one ready task of the present generation, and nothing older is left.
    READY = "ready"
    #: On its way there.
    PROGRESSING = "progressing"
    #: Some slot cannot be placed.
    WAITING = "waiting"
    #: A task has failed and is being replaced.
    DEGRADED = "degraded"
    #: Unscheduled; tasks are still being stopped.
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """Where a job stands, with what it waits for. Not stored: derived whenever it is asked for."""

    state: JobState
    summary: str
    scale: int
    #: Slots that an agent has been chosen for.
    placed: int
    running: int
    ready: int
    #: Ready tasks of the present generation.
    current: int
    #: Tasks of older generations that are still there.
    outdated: int
    failed: int
    #: The id of the latest change.
    change: str
    #: The latest change is done: new ones ready *and* old ones gone.
    is_done: bool
    #: What it waits for, one sentence each.
    waiting: tuple[str, ...] = ()
    pending: Pending | None = None
    tasks: tuple[Task, ...] = field(default=())


def change_id(view: View, namespace: str, name: str, revision: int) -> str:
    """Return the id of the change that wrote a job's record at ``revision``."""
    return f"{namespace}.{name}.{view.incarnation}-{revision}"


def job_status(view: View, row: Row[Job]) -> JobStatus:
    """Summarise one job; the cost is that of its own tasks."""
    job = row.value
    key = job_key(job.namespace, job.name)
    placements = {task: placed.value for task, placed in view.placements_of(key).items()}
    tasks = {task: reported.value for task, reported in view.tasks_of(key).items()}
    ready = [task for task in tasks.values() if task.ready]
    current = _current_slots(job, placements.values(), tasks)
    leftovers = [
        task
        for task in placements.keys() | tasks.keys()
        if task not in placements or placements[task].generation != job.generation
    ]
    pending_row = view.pending.rows.get(key)
    pending = None if pending_row is None else pending_row.value
    is_done = not job.is_terminating and not leftovers and len(placements) == len(current) == job.spec.scale
    failed = sum(task.state is TaskState.FAILED for task in tasks.values())
    waiting = () if is_done else _waiting(job, placements.values(), tasks, pending, leftovers)
    return JobStatus(
        state=_state(job, pending, failed=failed, is_done=is_done),
        summary=f"{len(current)}/{job.spec.scale} ready" if not job.is_terminating else f"{len(tasks)} tasks left",
        scale=job.spec.scale,
        placed=len({placement.slot for placement in placements.values()}),
        running=sum(task.state is TaskState.RUNNING for task in tasks.values()),
        ready=len(ready),
        current=sum(task.generation == job.generation for task in ready),
        outdated=sum(task.generation != job.generation for task in tasks.values()),
        failed=failed,
        change=change_id(view, job.namespace, job.name, row.mod_revision),
        is_done=is_done,
        waiting=waiting,
        pending=pending,
        tasks=tuple(tasks[task] for task in sorted(tasks)),
    )


def _current_slots(job: Job, placements: Iterable[Placement], tasks: Mapping[TaskId, Task]) -> set[int]:
    """Return the slots that are settled: a task of the present generation is ready, or finished as it may."""
    settled = set()
    for placement in placements:
        task = tasks.get(placement.task)
        is_current = placement.generation == job.generation and placement.slot < job.spec.scale
        if task is not None and is_current and (task.ready or task.state is TaskState.FINISHED):
            settled.add(placement.slot)
    return settled


def _waiting(
    job: Job,
    placements: Iterable[Placement],
    tasks: Mapping[TaskId, Task],
    pending: Pending | None,
    leftovers: Iterable[TaskId],
) -> tuple[str, ...]:
    """Return what keeps the job from being done, the decisive things first."""
    sentences = [] if pending is None else [pending.reason]
    for placement in sorted(placements, key=lambda p: (p.slot, p.number)):
        task = tasks.get(placement.task)
        if task is None:
            sentences.append(f"{placement.task} is placed on {placement.agent}, which has not reported it yet")
        elif placement.generation == job.generation and not task.ready and task.state is not TaskState.FINISHED:
            sentences.append(f"{task.id} on {task.agent} is {task.state}: {task.reason or 'no reason reported'}")
    sentences += [
        f"{task.id} on {task.agent} must go and is {task.state}: {task.reason or 'no reason reported'}"
        for task_id in sorted(leftovers)
        if (task := tasks.get(task_id)) is not None
    ]
    if len(sentences) > WAITING_MAX:
        sentences[WAITING_MAX - 1 :] = [f"and {len(sentences) - WAITING_MAX + 1} more"]
    return tuple(sentences)


def _state(job: Job, pending: Pending | None, *, failed: int, is_done: bool) -> JobState:
    if job.is_terminating:
        return JobState.TERMINATING
    if is_done:
        return JobState.READY
    if pending is not None:
        return JobState.WAITING
    return JobState.DEGRADED if failed else JobState.PROGRESSING
