"""The fold of a run's log: the one place where a run changes, and where nothing is decided.

Each event is taken in as it is, at a cost that goes by its size and not by that of the run or its workflow. Folding
the log of a run again gives the same run, but for two things that are not in it: of heartbeats only that there was a
claim, so that whoever takes a run over calls `core.step.adopt`; and outdated entries among its clocks.

Here each event has its function; what becomes of visits, which most events share, is `core.visiting`.
"""

from collections.abc import Callable
from typing import Any, Final

from harpoon.core import moving, repair
from harpoon.core.dues import look_again
from harpoon.core.event import (
    CancelAsked,
    Claimed,
    Closed,
    Ended,
    Event,
    Fired,
    Moved,
    Paused,
    Resumed,
    RetriedFrom,
    SetTo,
    Signalled,
    Started,
    Warned,
)
from harpoon.core.items import list_of
from harpoon.core.measure import json_bytes
from harpoon.core.run import Kept, Run
from harpoon.core.visit import Claim, Cut, Latest
from harpoon.core.visiting import (
    cancel,
    close_item,
    close_visit,
    follow,
    forget_items,
    open_visits,
    stand_anew,
    tell,
    try_again,
)
from harpoon.model.label import CANCELLED
from harpoon.model.operation import CALLBACK

#: How long a signal waits to be consumed, and its id is remembered.
SIGNAL_KEPT_MS: Final = 7 * 24 * 3600 * 1000


def fold(run: Run, event: Event) -> None:
    """Take in the next event of a run."""
    assert event.seq == run.seq + 1, f"event {event.seq} of run {run.id} after {run.seq}"
    assert event.now_ms >= run.now_ms, f"event {event.seq} of run {run.id} is earlier than the one before"
    run.seq = event.seq
    run.now_ms = event.now_ms
    _FOLDS[type(event)](run, event)


def _started(run: Run, event: Started) -> None:
    run.pending.extend([~index for index in range(len(run.graph.starts))])
    open_visits(run, event.opened, event.now_ms)


def _fired(run: Run, event: Fired) -> None:
    open_visits(run, event.opened, event.now_ms)


def _claimed(run: Run, event: Claimed) -> None:
    key = (event.op, event.visit)
    attempt = run.ready.pop(key)
    pace = run.graph.nodes[event.op].pace
    now_ms = event.now_ms
    attempt.claim = Claim(
        event.token, event.worker, event.session, now_ms, now_ms + pace.timeout_ms, now_ms + pace.heartbeat_ms
    )
    attempt.warned = ()
    if attempt.claimed_ms is None:
        attempt.claimed_ms = now_ms
    look_again(run, attempt)


def _closed(run: Run, event: Closed) -> None:
    key = (event.op, event.visit)
    attempt, node = run.open[key], run.graph.nodes[event.op]
    if event.token:
        run.past[attempt.ref] = (event.token, event.label)
    run.bytes_total += json_bytes(event.output) + len(event.error)
    if event.retry_ms is not None:
        try_again(run, attempt, event, event.retry_ms)
        return
    output = event.output if event.signal is None else _take(run, event.signal).payload
    if (group := run.groups.pop(key, None)) is not None:
        run.roomy.pop(key, None)
        run.went[event.op] = group
        output = list_of(node, group, event.label)
        for op, visit, _ in event.cancelled:
            close_visit(run, run.open[op, visit], CANCELLED, None, "")
    close_visit(run, attempt, event.label, output, event.error)
    if node.home is not None:
        close_item(run, node, event, output)
    else:
        follow(run, key, event.label, event.error)
    open_visits(run, event.opened, event.now_ms)


def _warned(run: Run, event: Warned) -> None:
    if not event.op:
        run.is_warned = True
        return
    attempt = run.open[event.op, event.visit]
    attempt.warned = (*attempt.warned, event.clock)
    look_again(run, attempt)


def _signalled(run: Run, event: Signalled) -> None:
    while run.seen and run.seen[oldest := next(iter(run.seen))] <= event.now_ms - SIGNAL_KEPT_MS:
        del run.seen[oldest]
        if oldest in run.kept:
            _take(run, oldest)
    size = json_bytes(event.payload)
    if event.name == CALLBACK:
        # It is promised to its visit, however late that is opened.
        run.called[event.key or ""] = event.id
    else:
        run.seen[event.id] = event.now_ms
    run.kept[event.id] = Kept(
        event.id, event.name, event.key, event.label, event.payload, event.seq, event.now_ms, size
    )
    run.kept_by.setdefault((event.name, event.key), {})[event.id] = None
    run.bytes_total += size


def _take(run: Run, id_: str) -> Kept:
    kept = run.kept.pop(id_)
    name = (kept.name, kept.key)
    del run.kept_by[name][id_]
    if not run.kept_by[name]:
        del run.kept_by[name]
    return kept


def _paused(run: Run, event: Paused) -> None:
    _stop(run, event, is_so=True)


def _resumed(run: Run, event: Resumed) -> None:
    _stop(run, event, is_so=False)
    open_visits(run, event.opened, event.now_ms)


def _stop(run: Run, event: Paused | Resumed, *, is_so: bool) -> None:
    if event.is_callers:
        run.is_held = is_so
    else:
        run.is_stopped = is_so


def _cancel_asked(run: Run, event: CancelAsked) -> None:
    run.cancel_reason = event.reason


def _retried_from(run: Run, event: RetriedFrom) -> None:
    repair.renew(run, event.order, event.deadline_ms)
    cancel(run, event.cancelled)
    repair.reset(run, event.op)
    if event.items is not None:
        run.anew[event.op] = event.items
    run.point_anew()
    open_visits(run, event.opened, event.now_ms)


def _set_to(run: Run, event: SetTo) -> None:
    key = (event.op, event.visit)
    repair.renew(run, event.order, event.deadline_ms, but=key)
    run.bytes_total += json_bytes(event.output)
    attempt = run.open.get(key)
    if attempt is not None:
        cancel(run, event.cancelled)
        forget_items(run, key)
        close_visit(run, attempt, event.label, event.output, "")
    else:
        # It was closed otherwise, which counts no longer.
        progress = run.ops[event.op]
        opened_ms = event.now_ms if progress.latest is None else progress.latest.opened_ms
        progress.latest = Latest(event.visit, 1, event.label, event.output, "", "", opened_ms, None, event.now_ms)
        tell(run, event.op, event.label, event.output)
        run.unhandled.pop(key, None)
    follow(run, key, event.label, "")
    run.point_anew()
    open_visits(run, event.opened, event.now_ms)


def _moved(run: Run, event: Moved) -> None:
    # It may be moved back.
    run.graphs[run.generation] = run.graph
    graph = run.graphs[event.generation]
    recode, joined = moving.recoder(run.graph, graph), moving.rejoin(run, graph)
    run.pending = [*map(recode, run.pending), *joined.complete]
    run.went = moving.went_by(run, graph)
    run.anew = {op: items for op, items in run.anew.items() if op in run.went}
    run.occurred = joined.occurred
    run.inputs = moving.inputs_by(run, graph)
    run.scope["inputs"] = dict(run.inputs)
    run.scope["run"]["generation"] = run.generation = event.generation
    run.graph, run.awaited = graph, None
    run.moves += 1
    if event.order:
        run.orders[event.order] = None
    stand_anew(run, recode)
    run.point_anew()
    open_visits(run, event.opened, event.now_ms)


def _ended(run: Run, event: Ended) -> None:
    run.status = event.status
    run.ended_ms = event.now_ms
    run.outputs = event.outputs
    run.reason = event.reason
    run.bytes_total += json_bytes(event.outputs)
    run.left = tuple(run.pending)
    run.cut = {
        key: Cut(attempt.origin, attempt.is_beyond)
        for key, attempt in run.open.items()
        if run.graph.nodes[key[0]].home is None
    }
    for attempt in list(run.open.values()):
        close_visit(run, attempt, CANCELLED, None, "")
    run.pending.clear()
    run.went |= {op: group for (op, _), group in run.groups.items()}
    run.groups.clear()
    run.roomy.clear()
    run.wakes.clear()


_FOLDS: Final[dict[type[Event], Callable[[Run, Any], None]]] = {
    Started: _started,
    Claimed: _claimed,
    Closed: _closed,
    Fired: _fired,
    Warned: _warned,
    Signalled: _signalled,
    Paused: _paused,
    Resumed: _resumed,
    CancelAsked: _cancel_asked,
    Ended: _ended,
    RetriedFrom: _retried_from,
    SetTo: _set_to,
    Moved: _moved,
}
