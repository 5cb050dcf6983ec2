"""The fold of a run's log: the one place where a run changes, and where nothing is decided.

Each event is taken in as it is, at a cost that goes by its size and not by that of the run or its workflow. Folding
the log of a run again gives the same run, but for two things that are not in it: of heartbeats only that there was a
claim, so that whoever takes a run over calls `core.step.adopt`; and outdated entries among its clocks.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from harpoon.core import moving, repair
from harpoon.core.dues import is_at_once, look_again
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
    Warned,
)
from harpoon.core.graph import Kind, Node
from harpoon.core.items import group_after, group_of, has_room, list_of, note
from harpoon.core.measure import json_bytes
from harpoon.core.run import Attempt, Claim, Cut, Incident, Kept, Latest, Progress, Ref, Run, SignalKey, VisitKey
from harpoon.model.label import CANCELLED, EXHAUSTED, FAILURES
from harpoon.model.operation import CALLBACK

#: What opens an item: room in its group.
_NOTHING: Final = -1
#: How long a signal waits to be consumed, and its id is remembered.
SIGNAL_KEPT_MS: Final = 7 * 24 * 3600 * 1000


def fold(run: Run, event: Event) -> None:
    """Take in the next event of a run."""
    assert event.seq == run.seq + 1, f"event {event.seq} of run {run.id} after {run.seq}"
    assert event.now_ms >= run.now_ms, f"event {event.seq} of run {run.id} is earlier than the one before"
    run.seq = event.seq
    run.now_ms = event.now_ms
    _FOLDS[type(event)](run, event)


def open_visits(run: Run, opened: Iterable[Opened], now_ms: int) -> None:
    """Open what an event opens; each is the next of what is pending, or the next item of a group."""
    for each in opened:
        node = run.graph.nodes[each.op]
        if node.home is not None:
            _open_item(run, node, each.visit)
            _open(run, node, each, _NOTHING, now_ms)
            continue
        fired = run.pending.pop(0)
        assert (fired if fired >= 0 else None) == each.trigger, f"trigger {each.trigger} fired, but {fired} is next"
        _open(run, node, each, fired, now_ms)


def _open_item(run: Run, node: Node, visit: int) -> None:
    """Take note in its group that an item is under way."""
    key, index = node.group_of(visit)
    group = run.groups[key]
    assert index == group.following, f"item {index} of {key} is opened, but {group.following} is next"
    group.opened += 1
    group.open[index] = (node.name, visit)
    _look_for_room(run, key)


def _look_for_room(run: Run, key: VisitKey) -> None:
    """Take note of whether another item of a group may be opened."""
    each = run.graph.nodes[key[0]].each
    assert each is not None, "it has items"
    if has_room(each, run.groups[key]):
        run.roomy[key] = None
    else:
        run.roomy.pop(key, None)


def _open(run: Run, node: Node, opened: Opened, origin: int, now_ms: int) -> None:
    op, visit = key = (opened.op, opened.visit)
    progress = run.ops.get(op)
    if progress is None:
        progress = run.ops[op] = Progress()
    # Items of several visits come in any order; they are as many as their groups have.
    progress.fired = max(progress.fired, visit)
    is_beyond = node.home is None and progress.used >= node.visits
    attempt = Attempt(
        Ref(op, visit, 1),
        opened.input,
        opened_ms=now_ms,
        ready_ms=now_ms,
        error=opened.error,
        key=opened.key,
        due_ms=opened.due_ms,
        tried_ms=now_ms,
        origin=origin,
        is_beyond=is_beyond,
    )
    run.open[key] = attempt
    run.bytes_total += json_bytes(opened.input) + len(opened.error or "")
    if not is_beyond:
        progress.used += 1
        progress.attempts += 1
        run.attempts_total += 1
        if op in run.callbacks:
            run.point(op, visit)
    if is_at_once(node, attempt):
        return
    if node.each is not None:
        anew = run.anew.pop(op, None)
        if anew is None:
            run.groups[key] = group_of(node.each, cast("list[object]", opened.input))
        else:
            run.groups[key] = group_after(run.went[op], anew)
        _look_for_room(run, key)
        return
    if node.handler is not None:
        run.ready[key] = attempt
    else:
        for name in _awaited(node, attempt.key):
            run.waiting.setdefault(name, {})[key] = None
    look_again(run, attempt)


def _awaited(node: Node, key: str | None) -> set[SignalKey]:
    """Return under what a wait is looked for: every signal of its name without a key may be for it."""
    wait = node.spec.wait
    return {(wait.awaited, None), (wait.awaited, key)} if wait is not None and wait.awaited is not None else set()


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
        _try_again(run, attempt, event, event.retry_ms)
        return
    output = event.output if event.signal is None else _take(run, event.signal).payload
    if (group := run.groups.pop(key, None)) is not None:
        run.roomy.pop(key, None)
        run.went[event.op] = group
        output = list_of(node, group, event.label)
        for op, visit, _ in event.cancelled:
            _close(run, run.open[op, visit], CANCELLED, None, "")
    _close(run, attempt, event.label, output, event.error)
    if node.home is not None:
        _close_item(run, node, event, output)
    else:
        _follow(run, key, event.label, event.error)
    open_visits(run, event.opened, event.now_ms)


def _close_item(run: Run, node: Node, event: Closed, output: object) -> None:
    """Take note in its group of what an item came to."""
    key, index = node.group_of(event.visit)
    each = run.graph.nodes[key[0]].each
    assert each is not None, "it has items"
    note(each, run.groups[key], index, event.label, output, event.error)
    _look_for_room(run, key)


def _follow(run: Run, key: VisitKey, label: str, error: str) -> None:
    """Note what comes of a visit that has closed so."""
    node = run.graph.nodes[key[0]]
    if node.edges.get(label):
        _occur(run, node.name, label)
    elif label in FAILURES:
        run.unhandled[key] = Incident(*key, label, error, run.now_ms)
    if node.spec.end is not None:
        run.reached[key] = None


def _close(run: Run, attempt: Attempt, label: str, output: object, error: str) -> None:
    """Close a visit, whatever it waited for."""
    op, visit, number = attempt.ref
    key = (op, visit)
    node = run.graph.nodes[op]
    del run.open[key]
    run.ready.pop(key, None)
    if node.kind is Kind.WAIT and not is_at_once(node, attempt):
        _wait_no_more(run, node, attempt)
    progress = run.ops[op]
    progress.closed += not attempt.is_beyond
    if run.callbacks.get(op) == visit:
        run.point(op, progress.fired + 1)
    if label == EXHAUSTED and progress.latest is not None:
        # Nothing ran: what the visits before came to is still to be had.
        output = progress.latest.output
    claim = attempt.claim
    worker = "" if claim is None else claim.worker
    progress.latest = Latest(
        visit, number, label, output, error, worker, attempt.opened_ms, attempt.claimed_ms, run.now_ms
    )
    if node.home is None:
        _tell(run, op, label, output)


def _tell(run: Run, op: str, label: str, output: object) -> None:
    """Have expressions see how an operation was closed last."""
    told: dict[str, object] = {"label": label, "visits": run.ops[op].closed}
    if output is not None or label not in FAILURES:
        told["output"] = output
    run.scope["ops"][op] = told


def _wait_no_more(run: Run, node: Node, attempt: Attempt) -> None:
    key = (attempt.ref.op, attempt.ref.visit)
    for name in _awaited(node, attempt.key):
        waits = run.waiting[name]
        del waits[key]
        if not waits:
            del run.waiting[name]


def _try_again(run: Run, attempt: Attempt, event: Closed, retry_ms: int) -> None:
    """Replace an attempt by the next one of its visit."""
    op, visit, number = attempt.ref
    again = Attempt(
        Ref(op, visit, number + 1),
        attempt.input,
        opened_ms=attempt.opened_ms,
        ready_ms=retry_ms,
        key=attempt.key,
        spent=(*attempt.spent, event.label),
        claimed_ms=attempt.claimed_ms,
        last_error=event.error,
        tried_ms=event.now_ms,
        origin=attempt.origin,
    )
    key = (op, visit)
    run.open[key] = again
    run.ready.pop(key, None)
    run.ready[key] = again
    run.ops[op].attempts += 1
    run.attempts_total += 1
    look_again(run, again)


def _occur(run: Run, op: str, label: str) -> None:
    """Note an occurrence for each trigger that it is a member of; those that are complete are pending then."""
    for trigger in run.graph.nodes[op].edges[label]:
        if len(trigger.members) > 1:
            members = run.occurred.setdefault(trigger.index, set())
            members.add((op, label))
            if len(members) < len(trigger.members):
                continue
            del run.occurred[trigger.index]
        run.pending.append(trigger.index)


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
    _cancel(run, event.cancelled)
    if event.items is not None:
        run.anew[event.op] = event.items
    repair.reset(run, event.op)
    run.point_anew()
    open_visits(run, event.opened, event.now_ms)


def _set_to(run: Run, event: SetTo) -> None:
    key = (event.op, event.visit)
    repair.renew(run, event.order, event.deadline_ms, but=key)
    run.bytes_total += json_bytes(event.output)
    attempt = run.open.get(key)
    if attempt is not None:
        _cancel(run, event.cancelled)
        _forget_items(run, key)
        _close(run, attempt, event.label, event.output, "")
    else:
        # It was closed otherwise, which counts no longer.
        progress = run.ops[event.op]
        opened_ms = event.now_ms if progress.latest is None else progress.latest.opened_ms
        progress.latest = Latest(event.visit, 1, event.label, event.output, "", "", opened_ms, None, event.now_ms)
        _tell(run, event.op, event.label, event.output)
        run.unhandled.pop(key, None)
    _follow(run, key, event.label, "")
    run.point_anew()
    open_visits(run, event.opened, event.now_ms)


def _cancel(run: Run, cancelled: Iterable[tuple[str, int, int]]) -> None:
    for op, visit, _ in cancelled:
        _forget_items(run, (op, visit))
        _close(run, run.open[op, visit], CANCELLED, None, "")


def _forget_items(run: Run, key: VisitKey) -> None:
    """Forget the items of a visit that is closed otherwise than by these, if it has any."""
    group = run.groups.pop(key, None)
    if group is not None:
        run.went[key[0]] = group
        run.roomy.pop(key, None)


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
    run.wakes, run.waiting = [], {}
    for key, attempt in run.open.items():
        node = graph.nodes[key[0]]
        if node.home is None:
            attempt.origin = recode(attempt.origin)
        if node.each is not None:
            _look_for_room(run, key)
            continue
        attempt.wake_ms = None
        for name in _awaited(node, attempt.key):
            run.waiting.setdefault(name, {})[key] = None
        look_again(run, attempt)
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
        _close(run, attempt, CANCELLED, None, "")
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
