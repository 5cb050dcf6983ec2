"""How a job and a change stand: what is derived whenever it is asked for, and never stored."""

from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.decision import Pending
from harpoon.model.task import Task


class JobState(StrEnum):
    """How a job stands, in one word."""

    #: Every slot has one ready task of the present generation, and nothing older is left.
    READY = "ready"
    #: On its way there.
    PROGRESSING = "progressing"
    #: Some slot cannot be placed.
    WAITING = "waiting"
    #: A task has failed and is being replaced.
    DEGRADED = "degraded"
    #: Unscheduled; tasks are still being stopped.
    TERMINATING = "terminating"


class ChangeState(StrEnum):
    """How far a change has come."""

    #: New tasks ready and old ones gone; for an unscheduled job, everything gone.
    DONE = "done"
    PROGRESSING = "progressing"
    #: A later change took its place.
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStatus:
    """A change and how far it has come."""

    id: str
    namespace: str
    job: str
    state: ChangeState
    is_done: bool
    summary: str
    #: What it waits for, one sentence each.
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskObject(Task):
    """A task as it is shown, with what its id and its placement say of it; or a slot that waits for one."""

    namespace: str
    job: str
    #: None: its id is of no form known here.
    slot: int | None
    #: The placement's number; null for a slot that is not placed.
    placement: str | None
    #: The job's version that it runs; null when it has no placement. Not told by a watch.
    version: int | None = None
    #: One sentence: why here. Not told by a watch.
    placement_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """Where a job stands, with what it waits for."""

    state: JobState
    #: Such as ``3/3 ready``.
    summary: str
    scale: int
    #: Slots that an agent has been chosen for.
    placed: int
    running: int
    ready: int
    #: Ready tasks of the present generation.
    current: int
    #: Tasks of older generations that are still there.
    outdated: int
    failed: int
    #: The id of the latest change.
    change: str
    #: The latest change is done: new ones ready *and* old ones gone.
    is_done: bool
    #: What it waits for, one sentence each.
    waiting: tuple[str, ...] = ()
    #: Why slots are not placed.
    pending: Pending | None = None
    #: Told by the job's ``/status`` only.
    tasks: tuple[TaskObject, ...] = ()
