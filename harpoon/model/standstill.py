"""What does not progress, as it is told: over all jobs, tasks and agents, grouped by reason."""

from dataclasses import dataclass
from enum import StrEnum


class Waiter(StrEnum):
    """What kind of thing waits."""

    JOB = "job"
    TASK = "task"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingGroup:
    """Things of one kind that wait for the same reason."""

    kind: Waiter
    #: One sentence; where they differ in names and numbers only, that of the one that waits longest.
    reason: str
    #: How many they are.
    count: int
    #: Since when the first of them waits, UTC milliseconds.
    since_ms: int
    #: ``job/<namespace>/<name>``, ``task/<id>`` or ``agent/<name>``, longest wait first; at most 20.
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingList:
    """Everything that does not progress, largest group first."""

    revision: str
    items: tuple[WaitingGroup, ...]
