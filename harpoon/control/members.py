"""The agents that the slots of a job are for, found in the view: see `core.members`."""

from datetime import timedelta

from harpoon.control.view import View, job_key, job_key_of
from harpoon.core.glance import left
from harpoon.core.members import members, pinned, sized
from harpoon.model.instant import Instant
from harpoon.model.job import Job, JobType


def whole(view: View, job: Job, now: Instant | None = None) -> Job:
    """Return a job as it is decided on: a system job with a slot for each agent that it is for; see `core.members`.

    Args:
        view: What there is.
        job: As desired now.
        now: When that is decided; None: no drain's deadline is taken to have passed.
    """
    if job.run is not None:
        return pinned(job)
    if job.spec.type is not JobType.SYSTEM:
        return job
    agents = (row.value for row in view.agents.rows.values())
    return sized(job, members(job, agents, _closed(view, job, now)))


def _closed(view: View, job: Job, now: Instant | None) -> frozenset[str]:
    """Return the agents that are to have no task of a system job now."""
    placed = {row.value.agent for row in view.placements_of(job_key(job.namespace, job.name)).values()}
    return frozenset(
        name
        for name, row in view.cordons.rows.items()
        if name not in placed or (row.value.is_draining and _is_last(view, name, row.value.deadline_ms, now))
    )


def _is_last(view: View, agent: str, deadline_ms: int | None, now: Instant | None) -> bool:
    """Whether nothing but tasks of system jobs is left on an agent, or what is left waits no longer."""
    if now is not None and left(deadline_ms, now) <= timedelta(0):
        return True
    tasks = view.tasks_on(agent)
    over = {task for task, row in tasks.items() if row.value.is_over}
    return all(_is_system(view, task) for task in (view.placements_on(agent).keys() | tasks.keys()) - over)


def _is_system(view: View, task: str) -> bool:
    row = view.jobs.rows.get(job_key_of(task))
    return row is not None and row.value.spec.type is JobType.SYSTEM


def drained_in(view: View, job: Job, now: Instant) -> timedelta | None:
    """Return the span until the first deadline of a drain passes on an agent that has a task of a system job."""
    placed = {row.value.agent for row in view.placements_of(job_key(job.namespace, job.name)).values()}
    dues = (view.cordons.rows[name].value.deadline_ms for name in placed if name in view.cordons.rows)
    spans = [left(due, now) for due in dues if due is not None]
    return min((span for span in spans if span > timedelta(0)), default=None)
