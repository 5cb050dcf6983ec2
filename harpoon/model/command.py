"""Orders to an agent. Each says which task and why; all are safe to repeat."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harpoon.model.name import TaskId
from harpoon.model.sensitive import Delivered
from harpoon.model.template import TaskTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask:
    """Run this task, if it was never seen; nothing when it is there in whatever state."""

    task: TaskId
    generation: str
    template: TaskTemplate
    reason: str
    #: Refused while another task of its slot is not over on this agent.
    is_exclusive: bool = False
    #: The values of secrets that the template refers to, each as ``<name>/<key>``: put in when the command is sent.
    secrets: Mapping[str, Delivered] = field(default_factory=dict)
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
    #: Also refuse its slot at this placement and all before it, from now on, whoever's late command asks for it; known
    #: here or not. Done only when that is on disk.
    is_denied: bool = False
    kind: Literal["forget"] = "forget"


Command = StartTask | StopTask | ForgetTask


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What became of one command at the agent."""

    task: TaskId
    is_ok: bool
    #: Why not.
    reason: str = ""
    #: It is denied, and that is on disk; of a start: it was before, and the task is not here.
    is_denied: bool = False
