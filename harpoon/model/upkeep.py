"""What an operator asks of an agent, and how it is told: cordoned, drained, put to use again, declared dead."""

from dataclasses import dataclass

from harpoon.model.name import TaskId
from harpoon.model.units import Duration

#: As much of a reason as a person writes in a sentence or two.
REASON_MAX = 500


def _check(reason: str | None) -> None:
    if reason is not None and (len(reason) > REASON_MAX or not reason.isprintable()):
        raise ValueError(f"reason is one line of at most {REASON_MAX} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cordoning:
    """The agent is to take no new tasks; those that it has stay."""

    #: One line, for whoever comes upon it; absent: as it is told already.
    reason: str | None = None

    def __post_init__(self) -> None:
        _check(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining:
    """The agent is to take no new tasks, and those that it has are to be moved elsewhere."""

    #: After so long, tasks that fit nowhere else go all the same; absent: as it was decided already, and else never.
    deadline: Duration | None = None
    #: One line, for whoever comes upon it; absent: as it is told already.
    reason: str | None = None

    def __post_init__(self) -> None:
        _check(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncordoning:
    """The agent is to take new tasks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeathNotice:
    """The agent will never come back."""

    #: One line, for whoever looks into it later.
    reason: str | None = None

    def __post_init__(self) -> None:
        _check(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class CordonStatus:
    """That an agent takes no new tasks, as it is shown."""

    #: Whether the tasks that are there are moved elsewhere.
    is_draining: bool
    #: When tasks that fit nowhere else go all the same, UTC milliseconds; null: never.
    deadline_ms: int | None
    #: Since when it is cordoned, or drained; UTC milliseconds.
    since_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStatus:
    """How far a drain has come."""

    #: Nothing runs on the agent any more, and nothing is to.
    is_done: bool
    #: How many tasks are still there.
    left: int
    #: Their ids, sorted; at most 20.
    tasks: tuple[TaskId, ...]
    #: What they wait for, one sentence for each that is named.
    waiting: tuple[str, ...]
