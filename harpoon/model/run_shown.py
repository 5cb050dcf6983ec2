"""Runs as the API tells them: in lists, and one with its measures, what waits in it, and where it is called back.

What happens in a run is :mod:`harpoon.model.visit_shown`, what users order of one :mod:`harpoon.model.run_orders`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harpoon.model.visit_shown import VisitObject


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
