"""A run as it is shown: its chronicle beside what its workflow says. Nothing here reads a store or a clock."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

from harpoon.core.chronicle import Chronicle, Try, Visit
from harpoon.core.graph import home_of
from harpoon.core.run import Address, Run, callback_key
from harpoon.core.run_groups import Plot, counted, items_said
from harpoon.core.visit import Incident as Raised
from harpoon.model.label import Member
from harpoon.model.operation import Operation
from harpoon.model.run_shown import Incident, KeptSignal, OperationMeasure, RunCallback
from harpoon.model.sub_run import Caller, sub_run_id
from harpoon.model.visit_shown import AttemptObject, ItemCounts, Phase, Stretch, VisitObject, VisitState

#: Visits that one answer tells; the latest ones.
VISITS_SHOWN: Final = 1_000
#: Characters of an error where it stands within a sentence.
ERROR_SHOWN: Final = 200
#: Attempts of a visit that are told apart there; the latest ones.
_TRIES_SHOWN: Final = 20

_MILLISECOND: Final = timedelta(milliseconds=1)
EACH: Final = "each"


def span_ms_of(operation: Operation) -> int:
    """Return how long one visit of an operation takes at most, from being opened to being closed."""
    if operation.foreach is not None:
        return -(-operation.foreach.most // operation.foreach.parallel) * _span_ms(operation)
    return _span_ms(operation)


def _span_ms(operation: Operation) -> int:
    """Return the same of one item, or of an operation without."""
    if operation.wait is not None and operation.wait.for_ is not None:
        return operation.wait.for_ // _MILLISECOND
    if operation.handler is None:
        return operation.timeout_ms
    retry = operation.retry
    again = retry.fail.attempts + retry.timeout.attempts + retry.lost.attempts - 3
    pause_ms = retry.backoff.max * (1 + retry.backoff.jitter) / _MILLISECOND
    return (again + 1) * (operation.queue_timeout_ms + operation.timeout_ms) + ceil(again * pause_ms)


def visits(told: Chronicle, plot: Plot, now_ms: int, run: str = "") -> tuple[tuple[VisitObject, ...], int]:
    """Return the latest visits of a run, and how many there are before them; items are told with what they are of.

    Args:
        told: What happened in it.
        plot: Its workflow.
        now_ms: UTC milliseconds.
        run: Its id.
    """
    groups = counted(told, plot)
    every = [visit for visit in told.visits.values() if home_of(visit.op) is None]
    shown = every[-VISITS_SHOWN:]
    # What is open is what people look for, however long ago it was opened.
    early = [visit for visit in every[:-VISITS_SHOWN] if not visit.is_closed]
    own = [(visit, groups.get((visit.op, visit.visit))) for visit in [*early, *shown]]
    return (
        tuple(_visit(visit, told, plot, group, now_ms, run) for visit, group in own),
        len(every) - len(shown) - len(early),
    )


def attempts(told: Chronicle, plot: Plot, now_ms: int, run: str = "") -> Iterator[AttemptObject]:
    """Yield every attempt of a run, by the order in which their visits were opened; ``run`` is its id."""
    for visit in told.visits.values():
        operation = plot.doing(visit.op)
        for one in visit.tries:
            yield AttemptObject(
                op=visit.op,
                visit=visit.visit,
                attempt=one.attempt,
                state=state_of(one, visit, operation, now_ms),
                label=one.label,
                worker=one.worker,
                ready_ms=one.ready_ms,
                started_ms=one.claimed_ms,
                ended_ms=one.ended_ms,
                due_ms=_due_ms(one, visit, operation),
                error=one.error or visit.opened.error or "",
                input=visit.opened.input,
                output=one.output,
                run=sub_run_of(run, visit, one, operation),
            )


def measures(told: Chronicle, plot: Plot, skipped: Collection[str], now_ms: int) -> tuple[OperationMeasure, ...]:
    """Return how often each operation was visited, how long that took, and may be; sorted as the workflow has them.

    Args:
        told: What happened in the run.
        plot: Its workflow.
        skipped: Operations that were never opened, and that nothing can open any more.
        now_ms: What goes on is counted up to then.
    """
    every: dict[str, list[Visit]] = {name: [] for name in plot.operations}
    for visit in told.visits.values():
        every.setdefault(home_of(visit.op) or visit.op, []).append(visit)
    return tuple(_measure(name, own, plot, now_ms, is_skipped=name in skipped) for name, own in every.items())


def _measure(name: str, visits: Sequence[Visit], plot: Plot, now_ms: int, *, is_skipped: bool) -> OperationMeasure:
    operation, most = plot.operations.get(name), plot.most.get(name)
    own = [visit for visit in visits if visit.op == name]
    took: dict[Phase, int] = dict.fromkeys(Phase, 0)
    # Of one that goes through items, they tell what took how long.
    for visit in [visit for visit in visits if visit.op != name] or own:
        for phase, from_ms, to_ms in _stretches(visit, operation):
            took[phase] += max(0, (now_ms if to_ms is None else min(now_ms, to_ms)) - from_ms)
    latest_ms = None
    if own:
        ended_ms = own[-1].latest.ended_ms
        latest_ms = max(0, (now_ms if ended_ms is None else ended_ms) - own[-1].opened_ms)
    return OperationMeasure(
        op=name,
        kind=kind_of(operation),
        visits=len(own),
        visits_max=None if most is None else most.visits,
        attempts=sum([len(visit.tries) for visit in visits]),
        attempts_max=None if most is None else most.attempts,
        queue_ms=took[Phase.QUEUE],
        work_ms=took[Phase.WORK],
        wait_ms=took[Phase.WAIT],
        latest_ms=latest_ms,
        span_max_ms=None if most is None else most.span_ms,
        is_skipped=is_skipped,
    )


def _stretches(
    visit: Visit, operation: Operation | None, tries_max: int | None = None
) -> Iterator[tuple[Phase, int, int | None]]:
    """Yield what a visit did when: each phase with its beginning and its end; None: it goes on."""
    tries = visit.tries if tries_max is None else visit.tries[-tries_max:]
    has_items = operation is not None and operation.foreach is not None and home_of(visit.op) is None
    if operation is not None and (has_items or operation.handler is None):
        yield Phase.WAIT, visit.opened_ms, tries[-1].ended_ms
        return
    since_ms: int | None = None
    for one in tries:
        if since_ms is not None and since_ms < one.ready_ms:
            # It may be over before the next attempt could be claimed.
            yield Phase.WAIT, since_ms, one.ready_ms if one.ended_ms is None else min(one.ready_ms, one.ended_ms)
        if one.claimed_ms is None:
            if one.ended_ms is None or one.ended_ms > one.ready_ms:
                yield Phase.QUEUE, one.ready_ms, one.ended_ms
        else:
            if one.claimed_ms > one.ready_ms:
                yield Phase.QUEUE, one.ready_ms, one.claimed_ms
            yield Phase.WORK, one.claimed_ms, one.ended_ms
        since_ms = one.ended_ms


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


def callbacks(run: Run, address: Address) -> Iterator[RunCallback]:
    """Yield the visits that are to be called back: those that are open, and of each operation the next one."""
    for op in run.graph.callbacks:
        visits = [visit for name, visit in run.open if name == op]
        progress = run.ops.get(op)
        following = 1 if progress is None else progress.fired + 1
        for visit in [*visits, following]:
            if run.has_visit(op, visit):
                is_used = callback_key(op, visit) in run.called
                yield RunCallback(
                    op=op, visit=visit, is_open=visit != following, is_used=is_used, url=address(op, visit)
                )


def kind_of(operation: Operation | None) -> str:
    """Return what an operation does, such as ``worker``, or ``each`` if it has items; empty: it is not known."""
    if operation is None:
        return ""
    return operation.does if operation.foreach is None else EACH


def is_claimed(operation: Operation) -> bool:
    """Whether visits of an operation are there to be claimed."""
    return operation.foreach is None and operation.handler is not None


def moment(at_ms: int) -> str:
    """Write a moment (UTC milliseconds) in full."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def joined(members: Iterable[Member]) -> str:
    """Write members as ``needs`` has them."""
    return ", ".join(f"{one.op}.{one.label}" if one.label != "done" else one.op for one in members)


def sub_run_of(run: str, visit: Visit, one: Try, operation: Operation | None) -> str | None:
    """Return the run that an attempt has started by a call, given the id of its own; None: it has started none."""
    if operation is None or operation.call is None or one.claimed_ms is None:
        return None
    return sub_run_id(Caller(run=run, op=visit.op, visit=visit.visit, attempt=one.attempt))


def _visit(visit: Visit, told: Chronicle, plot: Plot, group: ItemCounts | None, now_ms: int, run: str) -> VisitObject:
    operation, one = plot.operations.get(visit.op), visit.latest
    state = state_of(one, visit, operation, now_ms)
    waits = waits_for(visit, operation, state, is_paused=told.is_paused)
    if group is not None and state is VisitState.WAITING and not told.is_paused:
        waits = f"its items: {items_said(group)}"
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
        stretches=tuple(
            [
                Stretch(phase=phase, from_ms=from_ms, to_ms=to_ms)
                for phase, from_ms, to_ms in _stretches(visit, operation, _TRIES_SHOWN)
            ]
        ),
        error=one.error or visit.opened.error or "",
        waits_for=waits,
        items=group,
        run=sub_run_of(run, visit, one, operation),
    )


def state_of(one: Try, visit: Visit, operation: Operation | None, now_ms: int) -> VisitState:
    """Return how a visit, or one of its attempts, stands."""
    if one.ended_ms is not None:
        return VisitState.CLOSED
    if one.claimed_ms is not None:
        return VisitState.RUNNING
    if operation is not None and not is_claimed(operation):
        return VisitState.WAITING
    return VisitState.RETRYING if one is not visit.tries[0] and one.ready_ms > now_ms else VisitState.READY


def after(visit: Visit) -> str:
    """Say after what a visit is tried again: how the attempt before ended, and why."""
    error = visit.tries[-2].error
    short = error if len(error) <= ERROR_SHOWN else f"{error[:ERROR_SHOWN]}…"
    return f"after {visit.condition}: {short}" if short else f"after {visit.condition}"


def waits_for(visit: Visit, operation: Operation | None, state: VisitState, *, is_paused: bool) -> str:
    """Say in a sentence what an open visit waits for; empty: for nothing, or a worker is at it."""
    if state in (VisitState.CLOSED, VisitState.RUNNING):
        return ""
    if is_paused:
        return "the run to be resumed"
    if state is VisitState.RETRYING:
        return f"its attempt {visit.latest.attempt}, at {moment(visit.latest.ready_ms)}, {after(visit)}"
    if operation is None or (operation.worker is not None and operation.foreach is None):
        handler = "its handler" if operation is None else operation.worker
        return f"a worker that offers {handler}"
    if is_claimed(operation):
        return "the server to take it up"
    if operation.wait is not None and operation.wait.callback:
        return "its callback"
    if operation.wait is None or operation.wait.signal is None:
        due_ms = visit.opened.due_ms
        return "its turn" if due_ms is None else f"until {moment(due_ms)}"
    key = f" with key {visit.opened.key}" if visit.opened.key is not None else ""
    return f"signal {operation.wait.signal}{key}"


def _due_ms(one: Try, visit: Visit, operation: Operation | None) -> int | None:
    """Return when the next clock of an open attempt is due, as far as the log tells; heartbeats are not in it."""
    if one.ended_ms is not None or operation is None:
        return None
    if operation.foreach is not None:
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
