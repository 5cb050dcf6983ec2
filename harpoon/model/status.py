"""How a job and a change stand: what is derived whenever it is asked for, and never stored."""

from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.batch import BatchStatus
from harpoon.model.cron import CronStatus
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
    #: Batch: none of its tasks runs yet.
    PENDING = "pending"
    #: Batch: some of its tasks run, or did, and it has not ended.
    RUNNING = "running"
    #: Batch: every slot is complete.
    SUCCEEDED = "succeeded"
    #: Batch: a slot has used up its attempts, or the deadline passed.
    FAILED = "failed"


class ChangeState(StrEnum):
    """How far a change has come."""

    #: New tasks ready and old ones gone; for an unscheduled job, everything gone.
    DONE = "done"
    PROGRESSING = "progressing"
    #: Its rollout missed its deadline: it was taken back, or paused, or goes on without an end in sight. Or it is a
    #: batch job, and has failed.
    FAILED = "failed"
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
    #: Of a plan that was applied: tasks that are not where it promised, one sentence each.
    unkept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskObject(Task):
    """A task as it is shown, with what its id and its placement say of it; or a slot that waits for one."""

    namespace: str
    job: str
    #: Of a system job: its agent's name. None: its id is of no form known here.
    slot: int | str | None
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
    #: The latest change is done: new ones ready *and* old ones gone; of a batch job: it has succeeded.
    is_done: bool
    #: What it waits for, one sentence each.
    waiting: tuple[str, ...] = ()
    #: Why slots are not placed.
    pending: Pending | None = None
    #: Of a batch job: how far it has come.
    batch: BatchStatus | None = None
    #: Of a cron job; null: it is none.
    cron: CronStatus | None = None
    #: Told by the job's ``/status`` only.
    tasks: tuple[TaskObject, ...] = ()
