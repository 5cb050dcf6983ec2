"""Why something stands as it does, as it is told: with both values of whatever failed, and the nearest way out."""

from dataclasses import dataclass

from harpoon.model.name import TaskId
from harpoon.model.task import CheckResult


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPredicate:
    """One test that an agent failed."""

    #: What was tested: ``cpu``, ``memory``, ``port 8080``, ``tag zone``, ``link``, ``distinct agent``.
    predicate: str
    #: What the slot needs.
    wanted: str
    #: What the agent has.
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentGroup:
    """Agents that fail exactly the same tests with the same values."""

    #: Sorted; at most eight, ``agents_count`` says how many there are.
    agents: tuple[str, ...]
    agents_count: int
    failed: tuple[FailedPredicate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """The smallest change that would do."""

    #: Where; null: nowhere in particular.
    agent: str | None
    #: What is missing.
    sentence: str
    #: All of them are needed; within one, each alternative does.
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsWhy:
    """Slots of a job that are not placed for the same reason."""

    slots: tuple[int, ...]
    #: One sentence.
    reason: str
    #: All agents, nearest first; empty where no agent is the reason.
    groups: tuple[AgentGroup, ...] = ()
    #: Agents in groups beyond the hundred that are told.
    agents_left: int = 0
    fix: Fix | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWhy:
    """A task that is not as it should be."""

    id: TaskId
    agent: str
    state: str
    ready: bool
    reason: str
    since_ms: int
    #: How often its agent started it again.
    restarts: int
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyWhy:
    """A dependency on another job, and how that one stands."""

    job: str
    wanted: str
    found: str
    is_met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a job, a task or an agent stands as it does."""

    revision: str
    #: ``job/<name>``, ``task/<id>`` or ``agent/<name>``.
    subject: str
    state: str
    summary: str
    #: Whether there is nothing to explain.
    is_fine: bool
    #: One sentence each, the decisive ones first.
    reasons: tuple[str, ...]
    slots: tuple[SlotsWhy, ...] = ()
    tasks: tuple[TaskWhy, ...] = ()
    dependencies: tuple[DependencyWhy, ...] = ()
