"""Orders to an agent. Each says which task and why; all are safe to repeat."""

from dataclasses import dataclass
from typing import Literal

from harpoon.model.name import TaskId
from harpoon.model.template import TaskTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask:
    """Run this task, if it was never seen; nothing when it is there in whatever state."""

    task: TaskId
    generation: str
    template: TaskTemplate
    reason: str
    kind: Literal["start"] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTask:
    """End this task the way its template says, and keep its record until it is forgotten."""

    task: TaskId
    reason: str
    kind: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetTask:
    """Drop the record, logs and scratch directory of a task that is over; refused while it runs."""

    task: TaskId
    reason: str
    kind: Literal["forget"] = "forget"


Command = StartTask | StopTask | ForgetTask


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What became of one command at the agent."""

    task: TaskId
    is_ok: bool
    #: Why not.
    reason: str = ""
