"""Tasks that no record of the registry knows: when one is taken for that, and how it is shown.

1. A registry is backed up. 2. A job is scaled up; its new task runs. 3. The store is lost, and restored from the
backup, which has neither the placement nor the task. 4. The agent tells of the task. It may be what users rely on, or
one too many: the registry cannot know. So it is left alone, and shown as unclaimed until an operator decides.

Rules.

1. A task is unclaimed if its number is of an earlier incarnation than the registry's, there is no placement of it, and
   the store shows nothing of it, or shows it as unclaimed. What was placed in this life is never unclaimed: there the
   record has gone because somebody wanted that, and the task is a stray.
2. It stays unclaimed, whatever its agent says of it and whoever holds the agent, until it is claimed: adopted, so that
   there is a placement, or disowned. Then it is shown as it is, and treated as any other.
3. It is never ready, since nobody vouches for what it serves.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from harpoon.core.picture import AgentState, Phase
from harpoon.model.agent import LinkState
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState

#: As much of a task's own reason as that of an unclaimed one repeats.
_QUOTE_MAX = 200


def is_unclaimed(state: AgentState, task: TaskId) -> bool:
    """Return whether no record of the registry knows a task of this agent."""
    known = state.tasks.get(task)
    if task in state.claimed or (known is not None and known.state is not TaskState.UNCLAIMED):
        return False
    incarnation = task.rpartition(".")[2].partition("-")[0]
    return incarnation.isascii() and incarnation.isdigit() and int(incarnation) < state.incarnation


def sift(state: AgentState, told: Mapping[TaskId, Task]) -> tuple[dict[TaskId, Task], dict[TaskId, Task]]:
    """Part what an agent tells of tasks: as it is to be shown, and, of the unclaimed ones, as it was told."""
    unclaimed = {task: one for task, one in told.items() if is_unclaimed(state, task)}
    shown = {task: _shown(one, state.tasks.get(task)) for task, one in unclaimed.items()}
    return {**told, **shown}, unclaimed


def claim(state: AgentState, tasks: frozenset[TaskId], now: Instant) -> AgentState:
    """Return the picture in which these tasks are claimed: shown as their agent told, or as lost, if it is that."""
    shown: dict[TaskId, Task] = {}
    if state.phase is Phase.CONNECTED:
        shown = {task: state.unclaimed[task] for task in tasks if task in state.unclaimed}
    elif state.link is LinkState.LOST:
        known = (state.tasks[task] for task in tasks if task in state.tasks)
        shown = {
            task.id: lost(task, state.link_reason, now)
            for task in known
            if task.state is TaskState.UNCLAIMED and not task.is_over
        }
    return replace(
        state,
        claimed=state.claimed | tasks,
        unclaimed={task: told for task, told in state.unclaimed.items() if task not in tasks},
        tasks={**state.tasks, **shown},
    )


def lost(task: Task, reason: str, now: Instant) -> Task:
    """Return a task as it is shown when nobody can tell what has become of it."""
    return replace(
        task, state=TaskState.LOST, ready=False, ready_since_ms=0, reported=None, reason=reason, since_ms=now.wall
    )


def _shown(task: Task, known: Task | None) -> Task:
    shown = replace(
        task, state=TaskState.UNCLAIMED, ready=False, ready_since_ms=0, reported=task.state, reason=_reason(task)
    )
    # What is as it was stays the very same object, for there may be many.
    return known if known is not None and known == shown else shown


def _reason(task: Task) -> str:
    state = f"{task.state}{' and ready' if task.ready else ''} since {_moment(task.since_ms)}"
    said = f" ({task.reason[:_QUOTE_MAX]})" if task.reason and not task.ready else ""
    adopt = "" if task.state.is_over else f"adopt it with `harpoon adopt task/{task.id}`, or "
    end = "forget it" if task.state.is_over else "end it"
    return f"{state}{said}; no record of this registry knows it: {adopt}{end} with `harpoon stop task/{task.id}`"


def _moment(since_ms: int) -> str:
    # An agent's clock may say anything.
    return datetime.fromtimestamp(max(0, min(since_ms // 1000, 10**11)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
