"""Runs and workflows as the API tells them, and the orders that users give about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from harpoon.model.edit import Edit
from harpoon.model.name import check_tags
from harpoon.model.shown import Outcome
from harpoon.model.units import Duration
from harpoon.model.workflow import WorkflowSpec

#: Runs that one request may start.
STARTS_MAX = 1_000
REASON_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """A run to be started. The same start again, under the same id, is the same run."""

    #: The name of a workflow of the namespace.
    workflow: str
    #: Unique in the namespace, made by the client; absent: one is made, and a start that is repeated is another run.
    id: str | None = None
    #: Refused unless the workflow stands at this one.
    generation: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Complete-by of this run; the workflow's when absent, which is also the most that it may be.
    deadline: Duration | None = None

    def __post_init__(self) -> None:
        check_tags(self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarts:
    """Runs to be started, each for itself."""

    #: 1 to 1000.
    runs: tuple[RunStart, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.runs) <= STARTS_MAX:
            raise ValueError(f"runs holds 1 to {STARTS_MAX} starts; got {len(self.runs)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunObject:
    """A run as lists show it."""

    namespace: str
    id: str
    workflow: str
    #: Of the workflow when the run was started; it goes on by that, unless it is moved to another one.
    generation: str
    #: ``running``, ``succeeded``, ``failed``, ``timed_out`` or ``cancelled``.
    status: str
    #: Nothing is claimed, fired or consumed until it is resumed; clocks run on.
    is_paused: bool
    #: Why it ended, or is ending, as it did; empty: nothing is to be said.
    reason: str
    tags: Mapping[str, str]
    inputs: Mapping[str, Any]
    #: Of a run that succeeded; null: it has not, or it is too large for a list.
    outputs: Any
    created_ms: int
    #: By then it is over, whatever happens.
    deadline_ms: int
    #: Null: it goes on.
    ended_ms: int | None
    #: The run that has started it by a call; null: a user has.
    parent: str | None = None
    #: Failures that are parked: it waits for somebody to repair them.
    incidents: int = 0
    #: How often it was repaired.
    repairs: int = 0
    #: The run that it was forked from, at ``created_ms``; empty: none.
    forked_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A failure that is parked, for no edge takes it; siblings go on."""

    op: str
    visit: int
    label: str
    error: str
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCounts:
    """What has become of the items of a visit of an operation with ``foreach``."""

    count: int
    #: Not begun.
    pending: int
    #: Begun, and not closed.
    open: int
    done: int
    failed: int
    #: Closed for others had failed, or with the run.
    cancelled: int


class ItemStatus(StrEnum):
    """How an item stands."""

    PENDING = "pending"
    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class VisitState(StrEnum):
    """How a visit of an operation stands. What waits is never called running."""

    #: A worker may claim it.
    READY = "ready"
    #: A worker has claimed it.
    RUNNING = "running"
    #: For a signal or a time.
    WAITING = "waiting"
    #: An attempt failed, and the next one may be claimed later.
    RETRYING = "retrying"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptObject:
    """One attempt of a visit of an operation."""

    op: str
    visit: int
    attempt: int
    state: VisitState
    #: By what it closed: a label, or the condition for which it is tried again.
    label: str | None
    #: Who claimed it; null: nobody has, or nobody has to.
    worker: str | None
    #: Since when it could be claimed, or waits.
    ready_ms: int
    #: When it was claimed.
    started_ms: int | None
    ended_ms: int | None
    #: When its next clock is due, such as that of its queue, of the attempt or of its wait.
    due_ms: int | None
    #: What the handler said of a failure, or what could not be evaluated.
    error: str
    input: Any
    output: Any
    #: The run that it has started by a call; null: it calls none, or has not been taken up.
    run: str | None = None


class Phase(StrEnum):
    """What a visit does for a while."""

    #: It could be claimed, and was not.
    QUEUE = "queue"
    #: Somebody had claimed it.
    WORK = "work"
    #: It waited for a signal, a time, or the moment from which it is tried again.
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A while of a visit."""

    phase: Phase
    from_ms: int
    #: Null: it goes on.
    to_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitObject:
    """One visit of an operation, with the latest of its attempts."""

    op: str
    #: ``worker``, ``wait`` or ``choose``, or ``each``: it has items; empty: the form of the workflow that the run is on
    #: is no longer kept.
    kind: str
    visit: int
    state: VisitState
    attempts: int
    label: str | None
    worker: str | None
    opened_ms: int
    #: When the first of its attempts was claimed.
    started_ms: int | None
    ended_ms: int | None
    due_ms: int | None
    #: How long it may take from being opened to being closed; null: it is not known.
    span_max_ms: int | None
    #: One after the other, of its latest 20 attempts.
    stretches: tuple[Stretch, ...]
    error: str
    #: One sentence; empty: it waits for nothing.
    waits_for: str
    #: The run that the latest attempt has started by a call; null: it calls none, or has not been taken up.
    run: str | None = None
    #: Of an operation with ``foreach``: what has become of its items, which are told one by one as the run's items.
    items: ItemCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemObject:
    """One item of a visit of an operation with ``foreach``, with the latest of its attempts."""

    op: str
    #: Of the operation.
    visit: int
    #: Of the item, from 0.
    index: int
    status: ItemStatus
    #: Its value.
    item: Any
    attempts: int
    label: str | None
    worker: str | None
    #: Null: it has not begun.
    opened_ms: int | None
    #: When the first of its attempts was claimed.
    started_ms: int | None
    ended_ms: int | None
    error: str
    #: One sentence; empty: it waits for nothing.
    waits_for: str
    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemList:
    """Items of a run's operations, in their order."""

    revision: str
    items: tuple[ItemObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a run may come to at most, and what it has come to."""

    #: Null: it is not known, since the form of the workflow that it is on is no longer kept.
    bound: int | None
    actual: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeasures:
    """The bounds of a run beside what it has come to."""

    attempts: Measure
    #: Milliseconds from its start to its end at the latest; so far, or in all.
    ends_after_ms: Measure
    #: Of inputs, outputs, errors and signals.
    bytes: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationMeasure:
    """How often an operation was visited, and may be."""

    op: str
    kind: str
    visits: int
    #: Null, like ``attempts_max``: it is not known.
    visits_max: int | None
    #: Attempts of all its visits.
    attempts: int
    attempts_max: int | None
    #: Milliseconds that its attempts waited to be claimed, that they were worked at, and that they waited otherwise;
    #: what goes on is counted up to now.
    queue_ms: int
    work_ms: int
    wait_ms: int
    #: From when its latest visit was opened until it was closed, or now; null: it was not visited.
    latest_ms: int | None
    #: What one visit may take at most; null: it is not known.
    span_max_ms: int | None
    #: It was never opened, and nothing can open it any more.
    is_skipped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSignal:
    """A signal that was sent and is not consumed."""

    id: str
    name: str
    key: str | None
    label: str
    sent_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSignals:
    """Signals that name no run, and that none has yet; as they came."""

    revision: str
    items: tuple[KeptSignal, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCallback:
    """Where a visit of a run is called back. Who knows the URL can do that: it is to be kept like a password."""

    op: str
    visit: int
    #: Whether the run waits for it now; else it may come before that.
    is_open: bool
    #: It came, and waits to be consumed: anything else is refused.
    is_used: bool
    #: A path where the server was not told by which URL it is reached.
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCallbacks:
    """Where a run is called back: the visits that are open, and the next of each operation."""

    items: tuple[RunCallback, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackTaken:
    """What came of a callback: the visit is closed so, now or once it is opened."""

    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail(RunObject):
    """A run with all that happened in it."""

    measures: RunMeasures
    operations: tuple[OperationMeasure, ...]
    #: As they were opened; of a long run the latest thousand.
    visits: tuple[VisitObject, ...]
    #: Visits before these.
    visits_left: int
    signals: tuple[KeptSignal, ...]
    #: Failures that are parked, as they came; the first thousand.
    parked: tuple[Incident, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """Runs, the latest first."""

    revision: str
    items: tuple[RunObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None
    #: Older runs that match as well, and are too many to be listed; absent when there are none.
    left_out: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptList:
    """The attempts of a run, in the order in which they were opened."""

    revision: str
    items: tuple[AttemptObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """What became of one of several starts: a run, or a problem."""

    #: 201: it is started; 200: it was before, by the same start; anything else as of a problem.
    status: int
    run: RunObject | None = None
    #: A problem as of RFC 9457.
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsStarted:
    """What became of several starts, in their order."""

    results: tuple[RunStarted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancel:
    """Why a run is to be cancelled."""

    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > REASON_MAX:
            raise ValueError(f"reason has at most {REASON_MAX} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalOrder:
    """A signal to a run."""

    #: Of two signals of one id, the second is not taken; absent: each is another one.
    id: str | None = None
    #: By which an operation that waits for it closes.
    label: str = "done"
    #: Its output, JSON.
    payload: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalTaken:
    """A signal is recorded: it is consumed, or kept until it is."""

    id: str
    run: RunObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDelivery:
    """What became of a signal that names no run."""

    id: str
    #: The run that has it; null: it is kept until one waits for it, though one may be about to have it.
    run: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowMetadata:
    """What identifies a workflow, and what the registry knows of it."""

    name: str
    namespace: str
    tags: Mapping[str, str]
    #: Hash of its spec: another spec, another generation.
    generation: str
    #: Counts the user's mutations from 1.
    version: int
    #: At which it was last declared; quoted, it is the ETag.
    revision: str
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of something any run comes to at most."""

    most: int
    #: What it comes from mostly.
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationBound:
    """What one operation comes to at most in one run."""

    visits: int
    #: Of all its visits.
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowBounds:
    """What any run of a workflow comes to at most, whatever its operations are closed with."""

    #: Of all operations, retries included.
    attempts: Bound
    #: Milliseconds from its start to its end; never more than its deadline.
    ends_after_ms: Bound
    #: Of inputs, outputs, errors and signals.
    bytes: Bound
    #: Operation → its share. They may come to more than ``attempts`` together, for some exclude others.
    operations: Mapping[str, OperationBound]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowObject:
    """A workflow as it is shown: its manifest with defaults, what the registry adds, and what it is bounded by."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Workflow"]
    metadata: WorkflowMetadata
    spec: WorkflowSpec
    #: Absent in lists.
    bounds: WorkflowBounds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowList:
    """Workflows, sorted by namespace and name."""

    revision: str
    items: tuple[WorkflowObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Staying:
    """Open runs that cannot go on by the present generation of their workflow, all for the same reasons."""

    #: What is missing, or has changed, there where they stand.
    because: tuple[str, ...]
    #: How many.
    runs: int
    #: Ids of some of them.
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElderRuns:
    """Open runs that are on another generation of a workflow than the present one."""

    generation: str
    #: All of them; at most 200 of a workflow are looked at.
    runs: int
    #: Of those that were looked at: how many could be moved, and ids of some.
    movable: int
    examples: tuple[str, ...]
    staying: tuple[Staying, ...]
    #: How many were not looked at.
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDeclared:
    """What became of the manifest of a workflow, or would."""

    #: Of the commit.
    revision: str
    outcome: Outcome
    #: From what stood to what was declared, of ``{metadata: {tags}, spec}``.
    changes: tuple[Edit, ...]
    workflow: WorkflowObject
    #: Of one that is changed: open runs that are on other generations of it, and go on by these unless they are moved.
    elder_runs: tuple[ElderRuns, ...] = ()
