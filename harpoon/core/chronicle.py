"""What happened in a run, visit by visit, read off its log. It decides nothing, and needs no graph to be compiled.

A run's own fold (`core.fold`) keeps what the next decision needs and forgets the rest. A chronicle keeps what a person
asks for: every visit with its attempts, when each was opened, claimed and closed, and how. It is made for one answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harpoon.core.event import (
    CancelAsked,
    Claimed,
    Closed,
    Ended,
    Event,
    Fired,
    Moved,
    Opened,
    Paused,
    Resumed,
    RetriedFrom,
    SetTo,
    Signalled,
    Started,
)
from harpoon.model.label import CANCELLED
from harpoon.model.run import Status


@dataclass(slots=True)
class Try:
    """One attempt of a visit; moments are UTC milliseconds."""

    attempt: int
    #: From when on it could be claimed, or since when it waits.
    ready_ms: int
    claimed_ms: int | None = None
    ended_ms: int | None = None
    worker: str | None = None
    #: By what it was closed; of one that is tried again, the condition.
    label: str | None = None
    error: str = ""
    output: Any = None


@dataclass(slots=True)
class Visit:
    """One visit of an operation."""

    op: str
    visit: int
    opened_ms: int
    #: As its expressions came to be when it was opened.
    opened: Opened
    #: In order; at least one.
    tries: list[Try]
    #: Of an operation with ``foreach``: items that it does anew, and the visit that it keeps the others of; 0: none.
    anew: frozenset[int] = frozenset()
    before: int = 0

    @property
    def latest(self) -> Try:
        """The attempt that is open, or closed it."""
        return self.tries[-1]

    @property
    def is_closed(self) -> bool:
        """Whether it is over."""
        return self.latest.ended_ms is not None

    @property
    def claimed_ms(self) -> int | None:
        """When the first of its attempts was claimed."""
        return next((one.claimed_ms for one in self.tries if one.claimed_ms is not None), None)

    @property
    def condition(self) -> str | None:
        """Why its present attempt is not the first."""
        return self.tries[-2].label if len(self.tries) > 1 else None


@dataclass(slots=True)
class Chronicle:
    """All of a run so far."""

    #: In the order in which they were opened.
    visits: dict[tuple[str, int], Visit] = field(default_factory=dict)
    #: Operation → items that its next visit does anew.
    anew: dict[str, tuple[int, ...]] = field(default_factory=dict)
    #: Those that are not consumed, by id.
    signals: dict[str, Signalled] = field(default_factory=dict)
    status: Status = Status.RUNNING
    reason: str = ""
    outputs: Any = None
    #: By hand; and as the run that called it.
    is_stopped: bool = False
    is_held: bool = False
    #: Why it was to be cancelled; None: nobody asked.
    cancel: str | None = None
    #: How often it was repaired.
    repairs: int = 0
    #: Generations that it was moved to, in order.
    moved: tuple[str, ...] = ()
    #: Number and moment of the latest event.
    seq: int = 0
    now_ms: int = 0

    @property
    def is_paused(self) -> bool:
        """Whether nothing is claimed, fired or consumed."""
        return self.is_stopped or self.is_held

    @property
    def ended_ms(self) -> int | None:
        """When it was over; None: it goes on."""
        return self.now_ms if self.status is not Status.RUNNING else None

    @property
    def attempts(self) -> int:
        """Attempts of all visits."""
        return sum(len(visit.tries) for visit in self.visits.values())


def read(events: Iterable[Event]) -> Chronicle:
    """Return what these events, from a run's first one on, tell of it."""
    told = Chronicle()
    for event in events:
        _note(told, event)
        told.seq, told.now_ms = event.seq, event.now_ms
    return told


def _note(told: Chronicle, event: Event) -> None:
    """Take note of an event; a warning, the only other kind, changes nothing."""
    match event:
        case Started() | Fired():
            _open(told, event, event.opened)
        case Claimed():
            one = told.visits[event.op, event.visit].latest
            one.claimed_ms, one.worker = event.now_ms, event.worker
        case Closed():
            _close(told, event)
        case Signalled():
            told.signals[event.id] = event
        case Paused():
            _stop(told, event, is_so=True)
        case Resumed():
            _stop(told, event, is_so=False)
            _open(told, event, event.opened)
        case CancelAsked():
            told.cancel = event.reason
        case Ended():
            _end(told, event)
        case RetriedFrom() | SetTo() | Moved():
            _mend(told, event)
        case _:
            pass


def _stop(told: Chronicle, event: Paused | Resumed, *, is_so: bool) -> None:
    if event.is_callers:
        told.is_held = is_so
    else:
        told.is_stopped = is_so


def _open(told: Chronicle, event: Event, opened: Iterable[Opened]) -> None:
    for one in opened:
        first = Try(1, event.now_ms)
        visit = told.visits[one.op, one.visit] = Visit(one.op, one.visit, event.now_ms, one, [first])
        anew = told.anew.pop(one.op, None)
        if anew is not None:
            visit.anew, visit.before = frozenset(anew), one.visit - 1


def _close(told: Chronicle, event: Closed) -> None:
    visit = told.visits[event.op, event.visit]
    one = visit.latest
    one.ended_ms, one.label, one.error, one.output = event.now_ms, event.label, event.error, event.output
    if event.signal is not None:
        one.output = told.signals.pop(event.signal).payload
    if event.retry_ms is not None:
        visit.tries.append(Try(event.attempt + 1, event.retry_ms))
        return
    for op, number, _ in event.cancelled:
        _cancel(told.visits[op, number], event.now_ms)
    _open(told, event, event.opened)


def _end(told: Chronicle, event: Ended) -> None:
    told.status, told.outputs, told.reason = event.status, event.outputs, event.reason
    for visit in told.visits.values():
        if not visit.is_closed:
            _cancel(visit, event.now_ms)


def _cancel(visit: Visit, now_ms: int) -> None:
    visit.latest.ended_ms, visit.latest.label = now_ms, CANCELLED


def _mend(told: Chronicle, event: RetriedFrom | SetTo | Moved) -> None:
    """Take note of a repair, which has an ended run go on, or of a move."""
    if isinstance(event, Moved):
        told.moved = (*told.moved, event.generation)
    else:
        _repair(told, event)
    _open(told, event, event.opened)


def _repair(told: Chronicle, event: RetriedFrom | SetTo) -> None:
    told.repairs += 1
    if told.status is not Status.RUNNING:
        told.status, told.outputs, told.reason = Status.RUNNING, None, ""
        told.is_stopped, told.is_held, told.cancel = False, False, None
    for op, visit, _ in event.cancelled:
        _cancel(told.visits[op, visit], event.now_ms)
    if isinstance(event, SetTo):
        one = told.visits[event.op, event.visit].latest
        one.ended_ms, one.label, one.error, one.output = event.now_ms, event.label, "", event.output
    elif event.items is not None:
        told.anew[event.op] = event.items
