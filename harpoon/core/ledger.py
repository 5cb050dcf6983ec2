"""What a plan checker writes down as it goes: one task, what is left of a job at the end of a wave, a form of it."""

from dataclasses import dataclass, field

from harpoon.model.job import Spec
from harpoon.model.lifecycle import RestartPolicy
from harpoon.model.name import TaskId
from harpoon.model.task import Reservation, TaskState


@dataclass(frozen=True, slots=True)
class Form:
    """What tasks of some slots are to be."""

    generation: str
    spec: Spec
    reserve: Reservation
    #: Ready tasks of before stay beside it.
    is_canary: bool = False

    def has_failed(self, record: "Record") -> bool:
        """Whether a task ended as it may not."""
        is_always = self.spec.task.restart.policy is RestartPolicy.ALWAYS
        return record.state is TaskState.FAILED or (record.state is TaskState.FINISHED and is_always)

    def has_arrived(self, record: "Record") -> bool:
        """Whether a task serves, or has finished as it may."""
        return record.is_ready or (record.state is TaskState.FINISHED and not self.has_failed(record))


@dataclass(slots=True, kw_only=True)
class Record:
    """One task, there already or placed by the plan."""

    id: TaskId
    agent: str
    slot: int
    reserve: Reservation
    state: TaskState | None = None
    ready: bool = False
    is_placed: bool = True
    is_counted: bool = True
    generation: str
    #: What it was started with is true no more, but that may be seen only later.
    is_outdated: bool = False
    #: It is ready, but may not count yet.
    is_unproven: bool = False
    #: It is to be replaced elsewhere.
    is_moving: bool = False
    #: It was, and nothing is told of that.
    may_stay: bool = False
    is_revoked: bool = False
    is_denied: bool = False
    failures: int = 0
    #: In which it was placed; 0: it was there.
    wave: int = 0
    is_withdrawn: bool = False
    #: It takes nothing any more.
    is_gone: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it serves."""
        return self.state is TaskState.RUNNING and self.ready

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in (TaskState.FINISHED, TaskState.FAILED)


@dataclass(slots=True)
class Look:
    """What is left of a job at the end of a wave."""

    #: Slots that are to be placed, and are not.
    open: list[int] = field(default_factory=list)
    #: Slots that wait for another job.
    held: list[int] = field(default_factory=list)
    #: Slots that are to be placed beside, or in the place of, a task that serves.
    beside: list[int] = field(default_factory=list)
    #: Slot → what should have gone, or not.
    untidy: list[tuple[int, str]] = field(default_factory=list)
    #: Tasks beyond one a slot.
    extra: int = 0
    #: Slots without a task that serves.
    unserved: int = 0
