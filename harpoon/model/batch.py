"""What came of a batch job, slot by slot: its record, and how it is shown."""

from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.name import TaskId
from harpoon.model.rollout import Witness


class Ending(StrEnum):
    """How a batch job ended."""

    #: Every slot is complete.
    SUCCEEDED = "succeeded"
    #: A slot used up its attempts (with ``on_failure: finish``, and all others ended), or the deadline passed: nothing
    #: more is started, and what ran is stopped.
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotResult:
    """What came of the latest task of a slot that ended by itself."""

    slot: int
    #: It finished: the slot is never run again.
    is_complete: bool
    #: Tasks of the slot that have ended by themselves, with this one.
    attempts: int
    task: TaskId
    agent: str
    #: None: its agent does not know.
    exit_code: int | None = None
    #: Of one that failed: what its agent said.
    reason: str = ""
    #: When it ended, UTC milliseconds by its agent's clock.
    at_ms: int = 0
    #: When it was placed, UTC milliseconds; 0: that was not written down.
    placed_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """What came of a batch job's run: written before the tasks that it tells of are given up."""

    namespace: str
    job: str
    #: The run: the job's version that began it.
    version: int
    #: Slots of which a task has ended, sorted; of each the latest.
    results: tuple[SlotResult, ...] = ()
    #: None: it goes on.
    outcome: Ending | None = None
    #: UTC milliseconds; 0: it has not ended.
    ended_ms: int = 0
    #: Why it failed, in one sentence.
    reason: str = ""
    #: The task that it failed by, or that still ran at its deadline, with the last lines that it wrote.
    witness: Witness | None = None
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """How far a batch job has come, as it is shown."""

    completions: int
    #: Slots that are complete.
    complete: int
    #: Tasks that failed, of all slots.
    failures: int
    #: When the run was declared, UTC milliseconds.
    since_ms: int
    #: When it fails if it is not complete; null: it has all the time.
    deadline_ms: int | None
    #: Null: it goes on.
    outcome: Ending | None = None
    #: Slots that have used up their attempts.
    spent: int = 0
    #: Null: it has not ended.
    ended_ms: int | None = None
    #: When it is removed, with its results and its tasks' logs; null: it has not ended.
    removed_ms: int | None = None
    #: Why it failed; empty: it has not.
    reason: str = ""
    witness: Witness | None = None
    #: What came of its slots. Told by the job's ``/status`` only.
    results: tuple[SlotResult, ...] = ()
