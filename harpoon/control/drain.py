"""How far the drain of an agent has come, and what each task that is still there waits for: told from the view."""

from typing import Final

from harpoon.control.view import View, job_key_of
from harpoon.model.agent import LinkState
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, TaskState
from harpoon.model.upkeep import DrainStatus

#: Tasks that are named.
NAMED_MAX: Final = 20


def drain_status(view: View, agent: str) -> DrainStatus:
    """Return how far it is; the cost is that of the agent's tasks, and of the jobs of those that are named."""
    reported = view.tasks_on(agent)
    # What is denied has come to its end: its record only counts failures until its slot can be placed.
    placed = {task for task, row in view.placements_on(agent).items() if not row.value.is_denied}
    over = {task for task, row in reported.items() if row.value.state.is_over}
    left = sorted((placed | reported.keys()) - over)
    return DrainStatus(
        is_done=not left,
        left=len(left),
        tasks=tuple(left[:NAMED_MAX]),
        waiting=tuple(f"{task} {stays(view, agent, task)}" for task in left[:NAMED_MAX]),
    )


def stays(view: View, agent: str, task: TaskId) -> str:
    """Say what keeps a task on an agent that is being drained."""
    placed, reported = view.placement(task), view.task(task)
    link = view.links.rows.get(agent)
    state = LinkState.UNKNOWN if link is None else link.value.state
    if state is not LinkState.CONNECTED:
        way = f"; if that is gone for good: harpoon declare-dead {agent}" if state is LinkState.LOST else ""
        return f"cannot be told to stop: the agent is {state}{way}"
    if placed is None and reported is not None and reported.value.state is TaskState.UNCLAIMED:
        return f"stays until an operator says what becomes of it: {reported.value.reason}"
    if placed is None or placed.value.is_revoked:
        told = "" if reported is None else f", and is {reported.value.state}: {reported.value.reason}"
        return f"is to stop{told}"
    key = job_key_of(task)
    job, pending = view.jobs.rows.get(key), view.pending.rows.get(key)
    if job is None or job.value.is_terminating:
        return "is to stop, for its job is unscheduled"
    successor = _successor(view, key, placed.value)
    if successor is not None:
        return f"stays until {successor}"
    if pending is not None and placed.value.slot in pending.value.slots:
        return f"fits nowhere else: {pending.value.reason}"
    return _turn(job.value)


def _successor(view: View, key: str, placed: Placement) -> str | None:
    """Say of the task that takes the place of another how far it is; None: there is none yet."""
    for task, row in view.placements_of(key).items():
        other = row.value
        if other.slot == placed.slot and other.number > placed.number:
            reported = view.task(task)
            if reported is None:
                return f"{task} is ready, which {other.agent} has not reported yet"
            state = "ready" if reported.value.ready else str(reported.value.state)
            said = reported.value.reason or "no reason reported"
            return f"{task} on {other.agent} is ready; it is {state}: {said}"
    return None


def _turn(job: Job) -> str:
    update = job.spec.update
    return (
        f"waits for its turn: update.surge {update.surge} and update.unavailable {update.unavailable} "
        f"let only so many tasks of {job.name} change at once"
    )
