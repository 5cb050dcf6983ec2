"""A run as it is shown: its chronicle beside what its workflow says. Nothing here reads a store or a clock."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

from harpoon.core.chronicle import Chronicle, Try, Visit
from harpoon.core.run import Incident as Raised
from harpoon.model.label import Member
from harpoon.model.operation import Operation
from harpoon.model.run_shown import (
    AttemptObject,
    Incident,
    KeptSignal,
    OperationMeasure,
    VisitObject,
    VisitState,
)

#: Visits that one answer tells; the latest ones.
VISITS_SHOWN: Final = 1_000

_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Most:
    """What one operation may come to in one run."""

    visits: int
    attempts: int
    #: Milliseconds from a visit's being opened to its being closed.
    span_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What a picture needs of a run's workflow."""

    operations: Mapping[str, Operation]
    #: Operation → what it may come to.
    most: Mapping[str, Most]


def span_ms_of(operation: Operation) -> int:
    """Return how long one visit of an operation takes at most, from being opened to being closed."""
    if operation.wait is not None and operation.wait.for_ is not None:
        return operation.wait.for_ // _MILLISECOND
    if operation.handler is None:
        return operation.timeout_ms
    retry = operation.retry
    again = retry.fail.attempts + retry.timeout.attempts + retry.lost.attempts - 3
    pause_ms = retry.backoff.max * (1 + retry.backoff.jitter) / _MILLISECOND
    return (again + 1) * (operation.queue_timeout_ms + operation.timeout_ms) + ceil(again * pause_ms)


#: Of a run whose workflow is not kept any more in the form that it was on.
UNKNOWN: Final = Plot(operations={}, most={})


def visits(told: Chronicle, plot: Plot, now_ms: int) -> tuple[tuple[VisitObject, ...], int]:
    """Return the latest visits of a run, and how many there are before them."""
    every = list(told.visits.values())
    shown = every[-VISITS_SHOWN:]
    # What is open is what people look for, however long ago it was opened.
    early = [visit for visit in every[:-VISITS_SHOWN] if not visit.is_closed]
    return tuple(_visit(visit, told, plot, now_ms) for visit in [*early, *shown]), len(every) - len(shown) - len(early)


def attempts(told: Chronicle, plot: Plot, now_ms: int) -> Iterator[AttemptObject]:
    """Yield every attempt of a run, by the order in which their visits were opened."""
    for visit in told.visits.values():
        operation = plot.operations.get(visit.op)
        for one in visit.tries:
            yield AttemptObject(
                op=visit.op,
                visit=visit.visit,
                attempt=one.attempt,
                state=_state(one, visit, operation, now_ms),
                label=one.label,
                worker=one.worker,
                ready_ms=one.ready_ms,
                started_ms=one.claimed_ms,
                ended_ms=one.ended_ms,
                due_ms=_due_ms(one, visit, operation),
                error=one.error or visit.opened.error or "",
                input=visit.opened.input,
                output=one.output,
            )


def measures(told: Chronicle, plot: Plot, skipped: Collection[str]) -> tuple[OperationMeasure, ...]:
    """Return how often each operation was visited, and may be; sorted as the workflow has them.

    Args:
        told: What happened in the run.
        plot: Its workflow.
        skipped: Operations that were never opened, and that nothing can open any more.
    """
    counts: dict[str, list[int]] = {name: [0, 0] for name in plot.operations}
    for visit in told.visits.values():
        count = counts.setdefault(visit.op, [0, 0])
        count[0] += 1
        count[1] += len(visit.tries)
    return tuple(
        OperationMeasure(
            op=name,
            kind=kind_of(plot.operations.get(name)),
            visits=count,
            visits_max=plot.most[name].visits if name in plot.most else None,
            attempts=tries,
            attempts_max=plot.most[name].attempts if name in plot.most else None,
            is_skipped=name in skipped,
        )
        for name, (count, tries) in counts.items()
    )


def signals(told: Chronicle) -> tuple[KeptSignal, ...]:
    """Return the signals that nothing has consumed."""
    return tuple(
        KeptSignal(id=one.id, name=one.name, key=one.key, label=one.label, sent_ms=one.now_ms)
        for one in told.signals.values()
    )


def parked(incidents: Sequence[Raised]) -> tuple[Incident, ...]:
    """Return the failures of a run that wait for somebody to repair them."""
    return tuple(
        Incident(op=one.op, visit=one.visit, label=one.label, error=one.error, since_ms=one.since_ms)
        for one in incidents[:VISITS_SHOWN]
    )


def kind_of(operation: Operation | None) -> str:
    """Return what an operation does, such as ``worker`` or ``wait``; empty: it is not known."""
    return "" if operation is None else operation.does


def moment(at_ms: int) -> str:
    """Write a moment (UTC milliseconds) in full."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def joined(members: Iterable[Member]) -> str:
    """Write members as ``needs`` has them."""
    return ", ".join(f"{one.op}.{one.label}" if one.label != "done" else one.op for one in members)


def _visit(visit: Visit, told: Chronicle, plot: Plot, now_ms: int) -> VisitObject:
    operation, one = plot.operations.get(visit.op), visit.latest
    state = _state(one, visit, operation, now_ms)
    return VisitObject(
        op=visit.op,
        kind=kind_of(operation),
        visit=visit.visit,
        state=state,
        attempts=len(visit.tries),
        label=one.label,
        worker=one.worker,
        opened_ms=visit.opened_ms,
        started_ms=visit.claimed_ms,
        ended_ms=one.ended_ms,
        due_ms=_due_ms(one, visit, operation),
        span_max_ms=plot.most[visit.op].span_ms if visit.op in plot.most else None,
        error=one.error or visit.opened.error or "",
        waits_for=waits_for(visit, operation, state, is_paused=told.is_paused),
    )


def _state(one: Try, visit: Visit, operation: Operation | None, now_ms: int) -> VisitState:
    if one.ended_ms is not None:
        return VisitState.CLOSED
    if one.claimed_ms is not None:
        return VisitState.RUNNING
    if operation is not None and operation.handler is None:
        return VisitState.WAITING
    return VisitState.RETRYING if one is not visit.tries[0] and one.ready_ms > now_ms else VisitState.READY


def waits_for(visit: Visit, operation: Operation | None, state: VisitState, *, is_paused: bool) -> str:
    """Say in a sentence what an open visit waits for; empty: for nothing, or a worker is at it."""
    if state in (VisitState.CLOSED, VisitState.RUNNING):
        return ""
    if is_paused:
        return "the run to be resumed"
    if state is VisitState.RETRYING:
        return f"its attempt {visit.latest.attempt}, at {moment(visit.latest.ready_ms)}, after {visit.condition}"
    if operation is None or operation.worker is not None:
        handler = "its handler" if operation is None else operation.worker
        return f"a worker that offers {handler}"
    if operation.carried is not None:
        return "the server to take it up"
    if operation.wait is None or operation.wait.signal is None:
        due_ms = visit.opened.due_ms
        return "its turn" if due_ms is None else f"until {moment(due_ms)}"
    key = f" with key {visit.opened.key}" if visit.opened.key is not None else ""
    return f"signal {operation.wait.signal}{key}"


def _due_ms(one: Try, visit: Visit, operation: Operation | None) -> int | None:
    """Return when the next clock of an open attempt is due, as far as the log tells; heartbeats are not in it."""
    if one.ended_ms is not None or operation is None:
        return None
    if operation.handler is None:
        end_ms = visit.opened_ms + operation.timeout_ms
        return end_ms if visit.opened.due_ms is None else min(end_ms, visit.opened.due_ms)
    if one.claimed_ms is not None:
        return one.claimed_ms + operation.timeout_ms
    return one.ready_ms + operation.queue_timeout_ms


def open_visits(told: Chronicle) -> Sequence[Visit]:
    """Return the visits that are not over, the oldest first."""
    return [visit for visit in told.visits.values() if not visit.is_closed]
