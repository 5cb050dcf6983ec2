"""What would come of declaring workflows and of starting batches, foretold without doing anything."""

from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.batch_manifest import BatchManifest, Mode
from harpoon.model.edit import Edit
from harpoon.model.manifest import Manifest
from harpoon.model.run import Status
from harpoon.model.shown import Outcome
from harpoon.model.workflow import WorkflowManifest
from harpoon.model.workflow_shown import ElderRuns


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Documents to plan, at least one. Workflows are planned each after those that it calls, whatever their order."""

    documents: tuple[Manifest | WorkflowManifest | BatchManifest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowPlan:
    """What would come of one workflow."""

    namespace: str
    workflow: str
    outcome: Outcome
    #: From what stands to what is declared, of ``{metadata: {tags}, spec}``; of what is new, all that is no default.
    changes: tuple[Edit, ...]
    #: Of one that would be changed: open runs that would be on other generations of it.
    elder_runs: tuple[ElderRuns, ...] = ()


class BatchAction(StrEnum):
    """What applying would do with a batch."""

    START = "start"
    #: It was started before.
    UNCHANGED = "unchanged"
    #: Its name is taken by something else.
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What would come of one batch: what it would do, and what that comes to at most."""

    namespace: str
    batch: str
    action: BatchAction
    #: Why it would be refused, in one sentence; null: it would not.
    refusal: str | None
    #: How the run stands that has its name; null: there is none.
    status: Status | None
    #: How many of either there are; of the other there are none.
    items: int
    steps: int
    mode: Mode
    #: So many would be under way at once.
    parallel: int
    #: So many may fail.
    tolerate: int
    #: Complete-by of all of it, from its start.
    deadline_ms: int
    #: At most, with retries and with what it calls.
    attempts: int
    #: At most from its start to its end; never more than the deadline.
    ends_after_ms: int
    #: Bytes that are stored at most.
    bytes: int
