"""A job's rollout: its record, how it failed, how it is shown. What one pass decides is `model.decision.Rollout`."""

from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.name import TaskId
from harpoon.model.task import CheckResult, Task, TaskState


class PausedBy(StrEnum):
    """Who stopped a rollout."""

    #: It stays stopped for later versions, too, until it is resumed.
    OPERATOR = "operator"
    #: It missed its deadline, and ``update.on_failure`` is to pause.
    DEADLINE = "deadline"


class RolloutPhase(StrEnum):
    """Where a rollout stands, in one word."""

    PROGRESSING = "progressing"
    #: The canaries are healthy; nothing more is replaced before an operator's word.
    AWAITING_PROMOTION = "awaiting_promotion"
    PAUSED = "paused"
    #: It missed its deadline, and there is nothing to go back to: it goes on.
    FAILED = "failed"
    #: Every slot has a healthy task of the version's generation, and nothing older is left.
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A task that a rollout, or a batch job, failed by, as it was then."""

    task: TaskId
    agent: str
    state: TaskState
    reason: str = ""
    exit_code: int | None = None
    checks: tuple[CheckResult, ...] = ()
    #: The last lines that it wrote: what it wrote to stderr, else to stdout. Empty: none, or its agent did not answer.
    log: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task) -> "Witness":
        """Return what is known of a task before its agent is asked for its last lines."""
        return cls(
            task=task.id,
            agent=task.agent,
            state=task.state,
            reason=task.reason,
            exit_code=task.exit_code,
            checks=task.checks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """That a rollout missed its deadline, and on what evidence."""

    version: int
    #: Revision of the job's record at that moment: of the change that failed.
    revision: int
    at_ms: int
    #: One sentence.
    reason: str
    #: None: no task of it was there that was not healthy.
    witness: Witness | None = None
    #: The version that brought the earlier one back; None: the rollout was paused, or there was none to go back to.
    reverted_by: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord:
    """What a job's rollout cannot be told from placements and tasks: written when one begins, is told something, ends.

    A job that was never changed while it had tasks has none.
    """

    namespace: str
    job: str
    #: The version that it began with.
    version: int
    #: What it brings; later versions of the same generation belong to it.
    generation: str
    #: The version that served when it began: slots that are held back have it, and a failure brings it back.
    stable: int | None = None
    #: When it began, or was last let go on, UTC milliseconds.
    since_ms: int = 0
    paused_by: PausedBy | None = None
    #: The canaries have served, or it needs none: all slots may have the new generation.
    is_promoted: bool = False
    #: It brings an earlier version back, so that its own failure brings nothing back.
    is_revert: bool = False
    is_complete: bool = False
    #: The latest that failed: this very rollout, or the one that it took back.
    failure: Failure | None = None
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """How a rollout stands, as it is shown."""

    revision: str
    namespace: str
    job: str
    phase: RolloutPhase
    #: One sentence.
    summary: str
    version: int
    generation: str
    #: The version that served before, as far as it is known.
    stable: int | None
    #: Slots that have a healthy task of the generation.
    healthy: int
    #: Slots that are to have one before it goes on, or is complete: the canaries, or all.
    wanted: int
    canary: int
    is_promoted: bool
    #: Null: nobody has paused it.
    paused_by: PausedBy | None
    #: When it fails if no further slot becomes healthy, or a little later; UTC milliseconds; null: it cannot fail now.
    deadline_ms: int | None
    #: What it waits for, one sentence each.
    waiting: tuple[str, ...]
    #: The latest that failed, of this version or of one before.
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOrder:
    """What an operator decides of a rollout; the path says what."""
