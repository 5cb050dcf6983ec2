"""What a watch of runs tells: how they stand, then each thing that happens in them, in order."""

from dataclasses import dataclass
from typing import Any, Literal

from harpoon.model.run_shown import RunDetail, RunObject
from harpoon.model.watched import Bookmark, Bye, StreamError, Synced
from harpoon.model.workflow_shown import WorkflowObject


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedVisit:
    """A visit of an operation that an event opens."""

    op: str
    #: From 1.
    visit: int
    #: Of a wait for a signal, the key that it must have; of a worker's operation, that its concurrency counts under.
    key: str | None = None
    #: Of a wait for a time.
    due_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelledAttempt:
    """An attempt that was open when there was no more use for it, or when what it is part of is done anew."""

    op: str
    visit: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One thing that happened in a run. What does not belong to its kind is absent."""

    namespace: str
    run: str
    #: Numbers the events of a run, from 1 and without a gap.
    seq: int
    #: UTC milliseconds; never falls within a run.
    at_ms: int
    #: ``started``, ``claimed``, ``closed``, ``retried`` (an attempt ended, and its visit goes on), ``fired``,
    #: ``warned``, ``signalled``, ``paused``, ``resumed``, ``cancelled`` (somebody asked for it), ``ended``,
    #: ``retried_from`` (somebody has an operation and all that it leads to done anew), ``set`` (somebody closes a
    #: visit) or ``moved`` (to another generation of its workflow); others may come. After ``ended`` only a repair
    #: follows: the run goes on by it.
    kind: str
    #: Which attempt it is about.
    op: str | None = None
    visit: int | None = None
    attempt: int | None = None
    worker: str | None = None
    #: By what it closed, or why it is tried again; of a signal, by what it closes.
    label: str | None = None
    error: str | None = None
    #: Of ``retried``: from when on the next attempt may be claimed.
    retry_ms: int | None = None
    #: Visits that it opens.
    opened: tuple[OpenedVisit, ...] = ()
    #: Attempts that it closes as cancelled: items of an operation that has failed, or what a repair has done anew.
    cancelled: tuple[CancelledAttempt, ...] = ()
    #: Of a repair: by then the run is over.
    deadline_ms: int | None = None
    #: Of ``moved``: of its workflow; it goes by that from then on.
    generation: str | None = None
    #: Id of the signal that came, or that the closing consumed.
    signal: str | None = None
    #: Of a signal.
    name: str | None = None
    key: str | None = None
    #: Of ``warned``: most of which time has run out; without ``op`` it is the run's own.
    clock: str | None = None
    by: str | None = None
    reason: str | None = None
    #: Of ``ended``: how.
    status: str | None = None
    #: What came of an attempt or, at its end, of the run; the payload of a signal. Of a closing that consumed a signal
    #: it is that one's.
    output: Any = None
    #: ``output`` is left out of a watch of many runs, for it is large.
    is_cut: bool = False
    #: Of ``started``, in a watch of many runs: the run.
    object: RunObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """A run as it stands: the first event of its watch without ``after``."""

    type: Literal["snapshot"]
    #: Of the latest event that it shows; 0 is before the first.
    seq: int
    run: RunDetail


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSynced:
    """The snapshot is complete; from here on events are told."""

    type: Literal["synced"]
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """What happened in a run, durable in one commit."""

    type: Literal["change"]
    #: Of the last event of that commit, also if it is of a kind that was not asked for.
    seq: int
    events: tuple[RunEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBookmark:
    """Nothing is missing up to this event."""

    type: Literal["bookmark"]
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOver:
    """The run has ended, and all was told; the last event."""

    type: Literal["over"]
    seq: int
    status: str
    #: Why it ended so; empty: nothing is to be said.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunItem:
    """A run in a snapshot."""

    kind: Literal["run"]
    #: ``<namespace>/<run>``.
    key: str
    object: RunObject


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowItem:
    """A workflow in a watch."""

    kind: Literal["workflow"]
    #: ``<namespace>/<workflow>``.
    key: str
    #: Absent in a snapshot.
    type: Literal["put", "delete"] | None = None
    #: Absent when it is deleted.
    object: WorkflowObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSnapshot:
    """The runs that are open, and the workflows, at one revision: the first event of a watch of many without ``after``.

    Of each only what was selected; no runs where only workflows or attempts were asked for.
    """

    type: Literal["snapshot"]
    revision: str
    items: tuple[RunItem | WorkflowItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsChange:
    """All that one revision changed of what was selected."""

    type: Literal["change"]
    revision: str
    #: What happened in runs, of each in its order; absent: nothing.
    events: tuple[RunEvent, ...] = ()
    #: What became of workflows; absent: nothing.
    changes: tuple[WorkflowItem, ...] = ()


RunWatchEvent = RunSnapshot | RunSynced | RunChange | RunBookmark | RunOver | StreamError | Bye
RunsWatchEvent = RunsSnapshot | Synced | RunsChange | Bookmark | StreamError | Bye
