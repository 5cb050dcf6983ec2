"""How a job stands: a pure summary of its record, its placements and what the agents report."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from harpoon.control.cron_status import cron_status, cron_summary
from harpoon.control.members import whole
from harpoon.control.view import View, job_key
from harpoon.core.batch import completed, deadline_ms, expires_ms, spent
from harpoon.core.eviction import LIMITED
from harpoon.core.exclusive import waits_for_agent
from harpoon.core.members import numbered
from harpoon.core.progress import is_held_up, is_open, rollout_waits
from harpoon.core.standing import Standing
from harpoon.model.batch import BatchRecord, BatchStatus, Ending
from harpoon.model.cron import CronStatus
from harpoon.model.decision import Pending
from harpoon.model.job import Job, JobType, OnLost
from harpoon.model.name import TaskId
from harpoon.model.rollout import RolloutRecord
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
    rollout: Row[RolloutRecord] | None
    #: Why no lost task is replaced, if that is so.
    halted: str | None
    #: None: it has none.
    batch: Row[BatchRecord] | None
    #: None: it is no cron job.
    cron: CronStatus | None


def job_scene(view: View, row: Row[Job]) -> Scene:
    """Take note of what a job's status is made of; the view may then go on."""
    key = job_key(row.value.namespace, row.value.name)
    return _scene(view, row, dict(view.placements_of(key)), dict(view.tasks_of(key)))


def _scene(
    view: View, row: Row[Job], placements: Mapping[TaskId, Row[Placement]], tasks: Mapping[TaskId, Row[Task]]
) -> Scene:
    key = job_key(row.value.namespace, row.value.name)
    return Scene(
        replace(row, value=whole(view, row.value)),
        placements,
        tasks,
        view.pending.rows.get(key),
        view.rollouts.rows.get(key),
        view.halted,
        view.batches.rows.get(key),
        cron_status(view, row.value),
    )


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
    return scene_status(view, _scene(view, row, view.placements_of(key), view.tasks_of(key)))


def whole_status(view: View, row: Row[Job]) -> JobStatus:
    """Summarise one job, with what came of each slot if it is a batch job."""
    status, job = job_status(view, row), row.value
    if job.run is None:
        return status
    record = view.batches.rows.get(job_key(job.namespace, job.name))
    told = batch_status(job, None if record is None else record.value, with_results=True)
    return replace(status, batch=told)


def scene_status(view: View, scene: Scene) -> JobStatus:
    """Summarise one job as it stood; of the view, only what never changes is read."""
    row, job = scene.row, scene.row.value
    placements = {task: placed.value for task, placed in scene.placements.items()}
    if job.spec.type is JobType.SYSTEM:
        standings = numbered(job, [Standing(one, None) for one in placements.values()])
        placements = {one.placement.task: one.placement for one in standings}
    tasks = {
        task: reported.value
        for task, reported in scene.tasks.items()
        # What nobody claims is no part of the job: it neither serves it nor goes with it.
        if reported.value.state is not TaskState.UNCLAIMED or task in placements
    }
    ready = [task for task in tasks.values() if task.ready]
    if job.run is not None:
        return _batch_status(view, scene, placements, tasks)
    current = _current_slots(job, placements.values(), tasks)
    leftovers = [
        task
        for task in placements.keys() | tasks.keys()
        if task not in placements or placements[task].is_revoked or placements[task].generation != job.generation
    ]
    pending = None if scene.pending is None else scene.pending.value
    rollout = None if scene.rollout is None else scene.rollout.value
    is_there = not leftovers and len(placements) == len(current) == job.spec.scale
    is_done = is_there and not job.is_terminating and not is_open(job, rollout)
    failed = sum(task.state is TaskState.FAILED for task in tasks.values())
    waiting = () if is_done else _waiting(scene, placements.values(), tasks, pending, leftovers)
    return JobStatus(
        state=_state(job, pending, failed=failed, is_done=is_done),
        summary=_summary(job, scene.cron, current=len(current), left=len(tasks)),
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
        cron=scene.cron,
    )


def _batch_status(
    view: View, scene: Scene, placements: Mapping[TaskId, Placement], tasks: Mapping[TaskId, Task]
) -> JobStatus:
    """Summarise one batch job as it stood."""
    row, job = scene.row, scene.row.value
    told = batch_status(job, None if scene.batch is None else scene.batch.value)
    pending = None if scene.pending is None else scene.pending.value
    live = [one for one in tasks.values() if not one.is_over]
    running = sum(one.state is TaskState.RUNNING for one in live)
    state = JobState.RUNNING if running or told.complete or told.failures else JobState.PENDING
    state = state if told.outcome is None else JobState(told.outcome.value)
    summary = f"{told.complete}/{told.completions} complete" + (f", {told.spent} failed" if told.spent else "")
    is_done = told.outcome is Ending.SUCCEEDED and not job.is_terminating
    return JobStatus(
        state=JobState.TERMINATING if job.is_terminating else state,
        summary=f"{len(tasks)} tasks left" if job.is_terminating else summary,
        scale=job.spec.scale,
        placed=len({one.slot for one in placements.values() if not one.is_revoked}),
        running=running,
        ready=sum(one.ready for one in live),
        current=sum(one.ready and one.generation == job.generation for one in live),
        outdated=sum(one.generation != job.generation for one in live),
        failed=told.failures,
        change=change_id(view, job.namespace, job.name, row.mod_revision),
        is_done=is_done,
        waiting=() if is_done else _batch_waiting(scene, told, placements, tasks),
        pending=pending,
        batch=told,
    )


def batch_status(job: Job, known: BatchRecord | None, *, with_results: bool = False) -> BatchStatus:
    """Return how far a batch job has come."""
    assert job.run is not None, "a batch job has a run"
    record = known if known is not None and known.version == job.run.version else None
    record = record or BatchRecord(namespace=job.namespace, job=job.name, version=job.run.version)
    return BatchStatus(
        completions=job.spec.batch.completions,
        complete=completed(job, record),
        failures=sum(one.attempts - one.is_complete for one in record.results),
        since_ms=job.run.since_ms,
        deadline_ms=deadline_ms(job),
        outcome=record.outcome,
        spent=spent(job, record),
        ended_ms=record.ended_ms or None,
        removed_ms=expires_ms(job, record),
        reason=record.reason,
        witness=record.witness,
        results=record.results if with_results else (),
    )


def _batch_waiting(
    scene: Scene, told: BatchStatus, placements: Mapping[TaskId, Placement], tasks: Mapping[TaskId, Task]
) -> tuple[str, ...]:
    """Return what keeps a batch job from being done, the decisive things first."""
    job = scene.row.value
    sentences = [told.reason] if told.reason else []
    sentences += [] if scene.pending is None else [scene.pending.value.reason]
    left = told.completions - told.complete - told.spent - len({one.slot for one in placements.values()})
    left -= 0 if scene.pending is None else len(scene.pending.value.slots)
    if left > 0 and told.outcome is None and not job.is_terminating:
        sentences.append(
            f"{left} of {told.completions} slots wait for their turn: parallel is {job.spec.batch.parallel}"
        )
    if not job.spec.exclusive and any(one.state is TaskState.LOST for one in tasks.values()):
        sentences.append(lost_reason(job, scene.halted))
    for placement in sorted(placements.values(), key=lambda one: (one.slot, one.number)):
        task = tasks.get(placement.task)
        if waits := waits_for_agent(placement, task):
            sentences.append(waits)
        elif task is None and not placement.is_revoked:
            sentences.append(f"{placement.task} is placed on {placement.agent}, which has not reported it yet")
        elif task is not None and not task.is_over:
            sentences.append(f"{task.id} on {task.agent} is {task.state}" + ("" if task.ready else f": {task.reason}"))
    sentences += [
        f"{task.id} on {task.agent} must go and is {task.state}: {task.reason or 'no reason reported'}"
        for task in sorted(tasks.values(), key=lambda one: one.id)
        if task.id not in placements and not task.is_over
    ]
    return _bounded(sentences)


def _bounded(sentences: list[str]) -> tuple[str, ...]:
    if len(sentences) > WAITING_MAX:
        sentences[WAITING_MAX - 1 :] = [f"and {len(sentences) - WAITING_MAX + 1} more"]
    return tuple(sentences)


def _summary(job: Job, cron: CronStatus | None, *, current: int, left: int) -> str:
    if job.spec.cron is None or cron is None:
        return f"{left} tasks left" if job.is_terminating else f"{current}/{job.spec.scale} ready"
    return f"{len(cron.running)} children left" if job.is_terminating else cron_summary(job.spec.cron, cron)


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
    if job.spec.type is JobType.SYSTEM:
        return "they wait for their agents: a system job runs on each"
    if job.spec.placement.agents:
        return "they wait for their agents, which placement.agents names"
    return "they are kept, for on_lost is wait" if job.spec.on_lost is OnLost.WAIT else halted or LIMITED


def trouble(task: Task) -> str:
    """Say what keeps a task from being ready; of one that runs, which checks fail."""
    failing = [one for one in task.checks if not one.is_passing]
    if task.state is not TaskState.RUNNING or task.ready or not failing:
        return f"is {task.state}: {task.reason or 'no reason reported'}"
    more = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
    return f"is running, and not ready: check {failing[0].name} fails: {failing[0].detail or 'it says nothing'}{more}"


def _waiting(
    scene: Scene,
    placements: Iterable[Placement],
    tasks: Mapping[TaskId, Task],
    pending: Pending | None,
    leftovers: Iterable[TaskId],
) -> tuple[str, ...]:
    """Return what keeps the job from being done, the decisive things first."""
    job = scene.row.value
    sentences = [] if scene.rollout is None else list(rollout_waits(job, scene.rollout.value))
    sentences += [] if pending is None else [pending.reason]
    sentences += [] if scene.cron is None else [f"its child {child} is not gone yet" for child in scene.cron.running]
    if not job.spec.exclusive and any(task.state is TaskState.LOST for task in tasks.values()):
        sentences.append(lost_reason(job, scene.halted))
    said: set[TaskId] = set()
    waits_for_people = scene.rollout is not None and is_held_up(job, scene.rollout.value)
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
        elif placement.generation == job.generation or (waits_for_people and placement.slot < job.spec.scale):
            # What served before stays meanwhile.
            said.add(placement.task)
            if not task.ready and task.state is not TaskState.FINISHED:
                sentences.append(f"{task.id} on {task.agent} {trouble(task)}")
    sentences += [
        f"{task.id} on {task.agent} must go and is {task.state}: {task.reason or 'no reason reported'}"
        for task_id in sorted(set(leftovers) - said)
        if (task := tasks.get(task_id)) is not None
    ]
    return _bounded(sentences)


def _state(job: Job, pending: Pending | None, *, failed: int, is_done: bool) -> JobState:
    if job.is_terminating:
        return JobState.TERMINATING
    if is_done:
        return JobState.READY
    if pending is not None:
        return JobState.WAITING
    return JobState.DEGRADED if failed else JobState.PROGRESSING
