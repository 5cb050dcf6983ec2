"""How a job stands: a pure summary of its record, its placements and what the agents report."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from harpoon.control.view import View, job_key
from harpoon.core.eviction import LIMITED
from harpoon.core.exclusive import waits_for_agent
from harpoon.model.decision import Pending
from harpoon.model.job import Job, OnLost
from harpoon.model.name import TaskId
from harpoon.model.status import JobState, JobStatus
from harpoon.model.task import Placement, Task, TaskState
from harpoon.store.table import Row

#: Sentences about what a job waits for; more would not help a reader.
WAITING_MAX = 10


def change_id(view: View, namespace: str, name: str, revision: int) -> str:
    """Return the id of the change that wrote a job's record at ``revision``."""
    return f"{namespace}.{name}.{view.incarnation}-{revision}"


class Scene(NamedTuple):
    """All that the status of a job is made of, as it stood at one revision."""

    row: Row[Job]
    placements: Mapping[TaskId, Row[Placement]]
    tasks: Mapping[TaskId, Row[Task]]
    pending: Row[Pending] | None
    #: Why no lost task is replaced, if that is so.
    halted: str | None


def job_scene(view: View, row: Row[Job]) -> Scene:
    """Take note of what a job's status is made of; the view may then go on."""
    key = job_key(row.value.namespace, row.value.name)
    return Scene(row, dict(view.placements_of(key)), dict(view.tasks_of(key)), view.pending.rows.get(key), view.halted)


def unreported(placement: Placement) -> Task:
    """Return what stands for a task that its agent does not report."""
    reason = f"agent {placement.agent} has not reported it yet"
    if placement.is_revoked:
        reason = (
            f"it is to go, and agent {placement.agent} has not acknowledged yet that it forgot it: {placement.reason}"
        )
    return Task(
        id=placement.task,
        agent=placement.agent,
        generation=placement.generation,
        state=TaskState.PLACED,
        reason=reason,
        since_ms=placement.decided_ms,
    )


def job_status(view: View, row: Row[Job]) -> JobStatus:
    """Summarise one job; the cost is that of its own tasks."""
    key = job_key(row.value.namespace, row.value.name)
    return scene_status(
        view, Scene(row, view.placements_of(key), view.tasks_of(key), view.pending.rows.get(key), view.halted)
    )


def scene_status(view: View, scene: Scene) -> JobStatus:
    """Summarise one job as it stood; of the view, only what never changes is read."""
    row, job = scene.row, scene.row.value
    placements = {task: placed.value for task, placed in scene.placements.items()}
    tasks = {
        task: reported.value
        for task, reported in scene.tasks.items()
        # What nobody claims is no part of the job: it neither serves it nor goes with it.
        if reported.value.state is not TaskState.UNCLAIMED or task in placements
    }
    ready = [task for task in tasks.values() if task.ready]
    current = _current_slots(job, placements.values(), tasks)
    leftovers = [
        task
        for task in placements.keys() | tasks.keys()
        if task not in placements or placements[task].is_revoked or placements[task].generation != job.generation
    ]
    pending = None if scene.pending is None else scene.pending.value
    is_done = not job.is_terminating and not leftovers and len(placements) == len(current) == job.spec.scale
    failed = sum(task.state is TaskState.FAILED for task in tasks.values())
    waiting = () if is_done else _waiting(scene, placements.values(), tasks, pending, leftovers)
    return JobStatus(
        state=_state(job, pending, failed=failed, is_done=is_done),
        summary=f"{len(current)}/{job.spec.scale} ready" if not job.is_terminating else f"{len(tasks)} tasks left",
        scale=job.spec.scale,
        placed=len({placement.slot for placement in placements.values() if not placement.is_revoked}),
        running=sum(task.state is TaskState.RUNNING for task in tasks.values()),
        ready=len(ready),
        current=sum(task.generation == job.generation for task in ready),
        outdated=sum(task.generation != job.generation for task in tasks.values()),
        failed=failed,
        change=change_id(view, job.namespace, job.name, row.mod_revision),
        is_done=is_done,
        waiting=waiting,
        pending=pending,
    )


def _current_slots(job: Job, placements: Iterable[Placement], tasks: Mapping[TaskId, Task]) -> set[int]:
    """Return the slots that are settled: a task of the present generation is ready, or finished as it may."""
    settled = set()
    for placement in placements:
        task = tasks.get(placement.task)
        is_wanted = placement.slot < job.spec.scale and not placement.is_revoked
        is_current = placement.generation == job.generation and is_wanted
        if task is not None and is_current and (task.ready or task.state is TaskState.FINISHED):
            settled.add(placement.slot)
    return settled


def lost_reason(job: Job, halted: str | None) -> str:
    """Say what becomes of the job's lost tasks."""
    return "they are kept, for on_lost is wait" if job.spec.on_lost is OnLost.WAIT else halted or LIMITED


def _waiting(
    scene: Scene,
    placements: Iterable[Placement],
    tasks: Mapping[TaskId, Task],
    pending: Pending | None,
    leftovers: Iterable[TaskId],
) -> tuple[str, ...]:
    """Return what keeps the job from being done, the decisive things first."""
    job = scene.row.value
    sentences = [] if pending is None else [pending.reason]
    if not job.spec.exclusive and any(task.state is TaskState.LOST for task in tasks.values()):
        sentences.append(lost_reason(job, scene.halted))
    said: set[TaskId] = set()
    for placement in sorted(placements, key=lambda p: (p.slot, p.number)):
        task = tasks.get(placement.task)
        waits = waits_for_agent(placement, task)
        if waits:
            sentences.append(waits)
            said.add(placement.task)
        elif placement.is_revoked:
            continue
        elif task is None:
            sentences.append(f"{placement.task} is placed on {placement.agent}, which has not reported it yet")
        elif placement.generation == job.generation and not task.ready and task.state is not TaskState.FINISHED:
            sentences.append(f"{task.id} on {task.agent} is {task.state}: {task.reason or 'no reason reported'}")
    sentences += [
        f"{task.id} on {task.agent} must go and is {task.state}: {task.reason or 'no reason reported'}"
        for task_id in sorted(set(leftovers) - said)
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
