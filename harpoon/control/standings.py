"""Where the placements of a job stand, as the verbs of the core are told."""

from harpoon.control.view import View, job_key
from harpoon.core.standing import Standing
from harpoon.model.job import Job
from harpoon.model.task import Placement, Task, TaskState, parse_task_id


def standings_of(view: View, job: Job) -> tuple[Standing, ...]:
    """Return where the placements of a job stand; of an exclusive one, also what runs unclaimed."""
    key = job_key(job.namespace, job.name)
    placed, tasks = view.placements_of(key), view.tasks_of(key)
    found = tuple(
        Standing(placement=row.value, task=tasks[task].value if task in tasks else None) for task, row in placed.items()
    )
    if not job.spec.exclusive:
        return found
    # A slot that may be running is not to be placed, whoever placed it: an operator is to say what becomes of it.
    # One that has just been adopted may still be shown as unclaimed.
    strange = (row.value for task, row in tasks.items() if task not in placed)
    nobodys = (task for task in strange if task.state is TaskState.UNCLAIMED and not task.is_over)
    return (*found, *(Standing(placement=_stand_in(task), task=task) for task in nobodys))


def _stand_in(task: Task) -> Placement:
    """Return what stands for an unclaimed task: a placement that is revoked, and cannot be denied."""
    name = parse_task_id(task.id)
    return Placement(
        namespace=name.namespace,
        job=name.job,
        slot=name.slot,
        incarnation=name.number.incarnation,
        revision=name.number.revision,
        agent=task.agent,
        generation=task.generation,
        version=0,
        reason="",
        decided_ms=0,
        is_exclusive=True,
        is_revoked=True,
    )
