"""What happens in a run, as the API tells it: the visits of its operations, their attempts, and their items.

The run itself is told by :mod:`harpoon.model.run_shown`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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
class AttemptList:
    """The attempts of a run, in the order in which they were opened."""

    revision: str
    items: tuple[AttemptObject, ...]
    #: Give it back as ``continue`` for the next page; absent on the last one.
    continue_: str | None = None
    #: How many items the pages after this one have.
    remaining: int | None = None
