"""How the visits of a run are opened, tried again and closed, and what comes of a closing.

This is the part of the fold (`core.fold`) that its events share. Nothing is decided here either: that a visit is opened
or closed, and with what, is what the event says.
"""

from collections.abc import Callable, Iterable
from typing import Final, cast

from harpoon.core.dues import is_at_once, look_again
from harpoon.core.event import Closed, Opened
from harpoon.core.graph import Each, Kind, Node
from harpoon.core.items import group_after, group_of, has_room, note
from harpoon.core.measure import json_bytes
from harpoon.core.run import Run, SignalKey
from harpoon.core.visit import Attempt, Incident, Latest, Progress, Ref, VisitKey
from harpoon.model.label import CANCELLED, EXHAUSTED, FAILURES

#: What opens an item: room in its group.
_NOTHING: Final = -1


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
        _open_group(run, node.each, key, cast("list[object]", opened.input))
        return
    if node.handler is not None:
        run.ready[key] = attempt
    else:
        for name in _awaited(node, attempt.key):
            run.waiting.setdefault(name, {})[key] = None
    look_again(run, attempt)


def _open_group(run: Run, each: Each, key: VisitKey, items: list[object]) -> None:
    """Begin the items of a visit, or those again that a repair has named."""
    op, _ = key
    anew = run.anew.pop(op, None)
    run.groups[key] = group_of(each, items) if anew is None else group_after(run.went[op], anew)
    _look_for_room(run, key)


def _awaited(node: Node, key: str | None) -> set[SignalKey]:
    """Return under what a wait is looked for: every signal of its name without a key may be for it."""
    wait = node.spec.wait
    return {(wait.awaited, None), (wait.awaited, key)} if wait is not None and wait.awaited is not None else set()


def close_item(run: Run, node: Node, event: Closed, output: object) -> None:
    """Take note in its group of what an item came to."""
    key, index = node.group_of(event.visit)
    each = run.graph.nodes[key[0]].each
    assert each is not None, "it has items"
    note(each, run.groups[key], index, event.label, output, event.error)
    _look_for_room(run, key)


def follow(run: Run, key: VisitKey, label: str, error: str) -> None:
    """Note what comes of a visit that has closed so."""
    node = run.graph.nodes[key[0]]
    if node.edges.get(label):
        _occur(run, node.name, label)
    elif label in FAILURES:
        run.unhandled[key] = Incident(*key, label, error, run.now_ms)
    if node.spec.end is not None:
        run.reached[key] = None


def close_visit(run: Run, attempt: Attempt, label: str, output: object, error: str) -> None:
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
        tell(run, op, label, output)


def tell(run: Run, op: str, label: str, output: object) -> None:
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


def try_again(run: Run, attempt: Attempt, event: Closed, retry_ms: int) -> None:
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


def cancel(run: Run, cancelled: Iterable[tuple[str, int, int]]) -> None:
    """Close visits as cancelled, each named with its attempt."""
    for op, visit, _ in cancelled:
        forget_items(run, (op, visit))
        close_visit(run, run.open[op, visit], CANCELLED, None, "")


def forget_items(run: Run, key: VisitKey) -> None:
    """Forget the items of a visit that is closed otherwise than by these, if it has any."""
    group = run.groups.pop(key, None)
    if group is not None:
        run.went[key[0]] = group
        run.roomy.pop(key, None)


def stand_anew(run: Run, recode: Callable[[int], int]) -> None:
    """Have the open visits stand in the form of its workflow that a run is on now; ``recode`` as in `core.moving`."""
    run.wakes, run.waiting = [], {}
    for key, attempt in run.open.items():
        node = run.graph.nodes[key[0]]
        if node.home is None:
            attempt.origin = recode(attempt.origin)
        if node.each is not None:
            _look_for_room(run, key)
            continue
        attempt.wake_ms = None
        for name in _awaited(node, attempt.key):
            run.waiting.setdefault(name, {})[key] = None
        look_again(run, attempt)
