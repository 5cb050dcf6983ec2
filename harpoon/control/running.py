"""What of a job runs, as far as the view shows it."""

from typing import Final

from harpoon.control.view import View, job_key
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState

#: Of tasks without a placement that take none of what may run at once: nobody can tell, or it is nobody's.
_BEYOND: Final = (TaskState.LOST, TaskState.UNCLAIMED)


def may_run(view: View, job: Job) -> bool:
    """Whether anything of a job runs, or stops, or may be started yet."""
    tasks = view.tasks_of(job_key(job.namespace, job.name))
    for task, row in view.placements_of(job_key(job.namespace, job.name)).items():
        told = tasks.get(task)
        if not row.value.is_denied and (told is None or not told.value.is_over):
            return True
    return bool(lingering(view, job))


def lingering(view: View, job: Job) -> tuple[TaskId, ...]:
    """Return the tasks of a job that still run, or stop, and have no placement any more."""
    key = job_key(job.namespace, job.name)
    placed = view.placements_of(key)
    return tuple(
        task
        for task, row in view.tasks_of(key).items()
        if task not in placed and not row.value.is_over and row.value.state not in _BEYOND
    )
