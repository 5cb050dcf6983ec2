"""Where the placements of a job stand, as the verbs of the core are told."""

from dataclasses import replace

from harpoon.control.view import View, job_key, job_key_of
from harpoon.core.members import numbered
from harpoon.core.standing import Standing
from harpoon.model.job import Job, JobType
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, TaskState, stand_in


def standings_of(view: View, job: Job) -> tuple[Standing, ...]:
    """Return where the placements of a job stand; of an exclusive one, also what may run though no record says so.

    A system job is given with its members (`control.members`).
    """
    key = job_key(job.namespace, job.name)
    placed, tasks = view.placements_of(key), view.tasks_of(key)
    moving = view.moves_of(key)
    found = tuple(
        Standing(row.value, tasks[task].value if task in tasks else None, task in moving)
        for task, row in placed.items()
    )
    if job.spec.type is JobType.SYSTEM:
        return numbered(job, found)
    if not job.spec.exclusive:
        return found
    # A slot that may be running is not to be placed, whoever placed it: an operator is to say what becomes of it.
    # One that has just been adopted may still be shown as unclaimed.
    strange = (row.value for task, row in tasks.items() if task not in placed)
    nobodys = (task for task in strange if task.state is TaskState.UNCLAIMED and not task.is_over)
    unclaimed = (Standing(placement=_awaited(task.id, task.agent, task.generation), task=task) for task in nobodys)
    # Nor is one whose record a later release has written.
    keys = (one.partition("/") for one in view.placements.unreadable)
    unread = ((TaskId(task), agent) for agent, _, task in keys if job_key_of(task) == key)
    unreadable = (Standing(placement=_awaited(task, agent, ""), task=None) for task, agent in unread)
    slots = (one.rpartition("/") for one in view.occupants.unreadable)
    unknown = (f"{job.namespace}.{job.name}.{slot}.0-0" for at, _, slot in slots if at == key and slot.isdecimal())
    occupied = (Standing(placement=_awaited(TaskId(task), "", ""), task=None) for task in unknown)
    return (*found, *unclaimed, *unreadable, *occupied)


def _awaited(task: TaskId, agent: str, generation: str) -> Placement:
    """Return what keeps a slot from being placed: a placement that is revoked, and cannot be denied."""
    return replace(stand_in(task, agent, generation), is_exclusive=True, is_revoked=True)
