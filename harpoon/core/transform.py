"""The diff of one agent: what it should run against what it runs, as commands.

It is not a loop and remembers nothing: which commands are on their way is known by the machine of the agent.
It works on any subset of task ids, as long as both mappings hold what there is of each of them.

Rules.

1. A task that is desired and unknown to the agent is started.
2. A task that is not desired is stopped; once it is over, it is forgotten. While it is stopping, nothing is said.
3. A task that is desired and known is left alone, whatever its state: restarts are the agent's, replacements the
   rollout's.
4. Tasks of another cluster, and unclaimed ones, are never touched.
5. A task whose placement is revoked is stopped; once it is over, or where the agent does not know it, it is forgotten
   and denied: its not being reported does not prove that no start of it is on its way.
"""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from harpoon.model.command import Command, ForgetTask, StartTask, StopTask
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.template import TaskTemplate

_NONE: Final[AbstractSet[TaskId]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """A placement on this agent, and the template of its generation."""

    placement: Placement
    template: TaskTemplate


def transform(
    desired: Mapping[TaskId, Desired],
    actual: Mapping[TaskId, Task],
    now: Instant,  # noqa: ARG001 every verb of the core takes the moment; this one's rules do not depend on it
    *,
    cluster: str,
    revoked: AbstractSet[TaskId] = _NONE,
    disowned: Collection[TaskId] = (),
) -> tuple[Command, ...]:
    """Return what the agent must be told, of the tasks named by either mapping; nothing when it has converged.

    Stops come first, to make room, then forgets, then starts; by task id within each. All are safe to repeat.

    Args:
        desired: What is to run, and nothing of it is revoked.
        actual: What the agent has.
        now: When this is decided.
        cluster: Ours.
        revoked: Tasks whose placement is revoked, and not denied yet.
        disowned: Tasks that an operator has ended; not desired, so that is only said for the reason's sake.
    """
    stops: list[Command] = []
    forgets: list[Command] = []
    for task_id in sorted((actual.keys() | revoked) - desired.keys()):
        task, is_revoked = actual.get(task_id), task_id in revoked
        why = "its placement is revoked" if is_revoked else "no placement asks for it any more"
        why = "an operator has ended it" if task_id in disowned else why
        if task is None:
            forgets.append(ForgetTask(task=task_id, reason=why, is_denied=True))
        elif task.cluster != cluster or task.state in (TaskState.UNCLAIMED, TaskState.STOPPING):
            continue
        elif task.state.is_over:
            forgets.append(ForgetTask(task=task_id, reason=f"it is {task.state} and {why}", is_denied=is_revoked))
        else:
            stops.append(StopTask(task=task_id, reason=why))
    starts: list[Command] = [
        StartTask(
            task=task_id,
            generation=desired[task_id].placement.generation,
            template=desired[task_id].template.bound(desired[task_id].placement.bindings),
            reason=desired[task_id].placement.reason,
            is_exclusive=desired[task_id].placement.is_exclusive,
        )
        for task_id in sorted(desired.keys() - actual.keys())
    ]
    return (*stops, *forgets, *starts)
