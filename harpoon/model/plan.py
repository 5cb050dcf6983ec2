"""What would come of declaring documents, foretold without doing anything."""

from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.decision import Blocker
from harpoon.model.edit import Edit
from harpoon.model.name import TaskId
from harpoon.model.run_plan import BatchPlan, WorkflowPlan


class PlanAction(StrEnum):
    """What applying would do to the job's record."""

    CREATE = "create"
    CHANGE = "change"
    #: It stands like that already; what is foretold happens without applying, too.
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPlacement:
    """A slot that would be placed."""

    slot: int
    agent: str
    #: Tasks that would be withdrawn in the same moment.
    replaces: tuple[TaskId, ...]
    #: Counts from 1. Each wave takes for granted that what was placed before is ready, and what was dropped is gone.
    wave: int
    #: One sentence.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDrop:
    """A task that would be withdrawn."""

    task: TaskId
    agent: str
    wave: int
    #: One sentence.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPending:
    """Slots that would be left without a place at the end, and why."""

    slots: tuple[int, ...]
    #: One sentence.
    reason: str
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the placements of one job would go on, if all goes well."""

    placements: tuple[PlannedPlacement, ...]
    drops: tuple[PlannedDrop, ...]
    pending: PlannedPending | None
    #: How many waves it takes.
    waves: int
    #: False: it may go on, but was not foretold further.
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What would come of one job."""

    namespace: str
    job: str
    action: PlanAction
    #: Whether its tasks would be replaced.
    is_new_generation: bool
    #: How what is declared differs from what stands, with defaults filled in.
    changes: tuple[Edit, ...]
    placements: tuple[PlannedPlacement, ...]
    drops: tuple[PlannedDrop, ...]
    #: None: every slot would have a place.
    pending: PlannedPending | None
    waves: int
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would come of several documents, declared together."""

    #: Of the state it was foretold from.
    revision: str
    #: Whether applying would change any job's or workflow's record, or start a batch.
    has_changes: bool
    #: Why applying would be refused, in one sentence; null: it would not.
    refusal: str | None
    plans: tuple[JobPlan, ...]
    #: Each after those that it calls.
    workflows: tuple[WorkflowPlan, ...] = ()
    batches: tuple[BatchPlan, ...] = ()
