"""How far the drain of an agent has come, and what each task that is still there waits for: told from the view."""

from typing import Final

from harpoon.control.view import View, job_key_of
from harpoon.model.agent import LinkState
from harpoon.model.decision import Pending
from harpoon.model.job import Job, JobType
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, TaskState
from harpoon.model.upkeep import DrainStatus
from harpoon.model.why import Reason, ReasonCode

#: Tasks that are named.
NAMED_MAX: Final = 20
#: Tasks named that are changing before it is another's turn.
TURN_NAMED: Final = 3


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
        waiting=tuple(f"{task} {reason_to_stay(view, agent, task).sentence}" for task in left[:NAMED_MAX]),
    )


def reason_to_stay(view: View, agent: str, task: TaskId) -> Reason:
    """Say what keeps a task on an agent that is being drained; the task is what the sentence begins with."""
    placed, reported = view.placement(task), view.task(task)
    link = view.links.rows.get(agent)
    state = LinkState.UNKNOWN if link is None else link.value.state
    if state is not LinkState.CONNECTED:
        way = f"; if that is gone for good: harpoon declare-dead {agent}" if state is LinkState.LOST else ""
        return _reason(ReasonCode(f"agent_{state}"), f"cannot be told to stop: the agent is {state}{way}")
    if placed is None and reported is not None and reported.value.state is TaskState.UNCLAIMED:
        said = f"stays until an operator says what becomes of it: {reported.value.reason}"
        return _reason(ReasonCode.UNCLAIMED, said)
    if placed is None or placed.value.is_revoked:
        told = "" if reported is None else f", and is {reported.value.state}: {reported.value.reason}"
        return _reason(ReasonCode.WITHDRAWN, f"is to stop{told}")
    key = job_key_of(task)
    job, pending = view.jobs.rows.get(key), view.pending.rows.get(key)
    if job is None or job.value.is_terminating:
        return _reason(ReasonCode.TERMINATING, "is to stop, for its job is unscheduled")
    if job.value.spec.type is JobType.BATCH:
        return _reason(ReasonCode.RUNS_TO_END, "runs to its end, for its job is a batch job")
    if job.value.spec.type is JobType.SYSTEM:
        return _reason(ReasonCode.GOES_LAST, "goes last, once no other task is left: its job is a system job")
    successor = _successor(view, key, placed.value)
    if successor is not None:
        return successor
    if pending is not None and placed.value.slot in pending.value.slots:
        return _nowhere(pending.value)
    return _turn(view, key, job.value)


def _reason(code: ReasonCode, sentence: str, **evidence: str | int) -> Reason:
    return Reason(code=code, sentence=sentence, evidence=evidence)


def _nowhere(pending: Pending) -> Reason:
    waits = [one.predicate for one in pending.blockers if one.predicate.startswith("depends_on ")]
    if waits and len(waits) == len(pending.blockers):
        return _reason(ReasonCode.DEPENDENCY, f"stays until its successor may be placed: {pending.reason}")
    return _reason(ReasonCode.FITS_NOWHERE, f"fits nowhere else: {pending.reason}")


def _successor(view: View, key: str, placed: Placement) -> Reason | None:
    """Say of the task that takes the place of another how far it is; None: there is none yet."""
    for task, row in view.placements_of(key).items():
        other = row.value
        if other.slot == placed.slot and other.number > placed.number:
            reported = view.task(task)
            said = f"which {other.agent} has not reported yet"
            if reported is not None:
                state = "ready" if reported.value.ready else str(reported.value.state)
                said = f"it is {state}: {reported.value.reason or 'no reason reported'}"
            on = f"{task} on {other.agent} is ready; {said}" if reported is not None else f"{task} is ready, {said}"
            return _reason(ReasonCode.NOT_READY, f"stays until {on}", successor=str(task))
    return None


def _turn(view: View, key: str, job: Job) -> Reason:
    """Say that others change first, and name some of them."""
    update = job.spec.update
    changing = sorted(
        task
        for task in view.placements_of(key)
        if (reported := view.task(task)) is None or not (reported.value.ready or reported.value.is_over)
    )
    awaited = (
        f"; {' and '.join(changing[:TURN_NAMED])} {'is' if len(changing) == 1 else 'are'} not ready" if changing else ""
    )
    bound = (
        f"the job is exclusive, and update.unavailable {update.unavailable} lets"
        if job.spec.exclusive
        else f"update.surge {update.surge} and update.unavailable {update.unavailable} let"
    )
    said = f"waits for its turn: {bound} only so many tasks of {job.name} change at once{awaited}"
    return _reason(ReasonCode.TURN, said, surge=update.surge, unavailable=update.unavailable)
