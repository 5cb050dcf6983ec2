"""What a visit is opened with: the values of its operation's expressions, at the moment its trigger fires."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from harpoon.core.event import Opened
from harpoon.core.graph import Each, Kind, Node
from harpoon.core.moment import moment
from harpoon.core.run import Run, callback_key
from harpoon.kit.expression import Failed

#: Characters of the key of a wait, or of a limit.
KEY_MAX: Final = 256
_MILLISECOND: Final = timedelta(milliseconds=1)


def open_next(run: Run, now_ms: int) -> Opened:
    """Return what the first pending trigger opens."""
    first = run.pending[0]
    trigger, op = None if first < 0 else first, run.graph.opens(first)
    node = run.graph.nodes[op]
    progress = run.ops.get(op)
    visit = 1 if progress is None else progress.fired + 1
    if progress is not None and progress.used >= node.visits:
        return Opened(op, visit, trigger)
    try:
        if node.each is not None:
            value, key, due_ms = _items(run, node, node.each), None, None
        else:
            value, key, due_ms = _values(node, visit, run.scope, now_ms)
    except Failed as error:
        return Opened(op, visit, trigger, error=str(error))
    return Opened(op, visit, trigger, value, None, key, due_ms)


def open_item(run: Run, now_ms: int) -> Opened:
    """Return the next item of the first group that has room."""
    name, number = key = next(iter(run.roomy))
    group = run.groups[key]
    index = group.following
    op, visit = run.graph.nodes[name].member(number, index)
    scope = {**run.scope, "item": group.items[index], "index": index}
    try:
        value, waits_for, due_ms = _values(run.graph.nodes[op], visit, scope, now_ms)
    except Failed as error:
        return Opened(op, visit, error=str(error))
    return Opened(op, visit, None, value, None, waits_for, due_ms)


def _items(run: Run, node: Node, each: Each) -> object:
    if node.name in run.anew:
        return list(run.went[node.name].items)
    value = None if node.input is None else node.input.value(run.scope)
    if not isinstance(value, list):
        raise Failed("items came to something else than a list")
    if len(value) > each.most:
        raise Failed(f"items came to {len(value)}, and max is {each.most}")
    return value


def _values(node: Node, visit: int, scope: Mapping[str, object], now_ms: int) -> tuple[object, str | None, int | None]:
    """Return the values of an operation's expressions: its input, its key, and the moment that it waits for."""
    value = None if node.input is None else node.input.value(scope)
    return value, _key(node, visit, scope), _due_ms(node, scope, now_ms)


def _key(node: Node, visit: int, scope: Mapping[str, object]) -> str | None:
    if node.key is None:
        is_called = node.spec.wait is not None and node.spec.wait.callback
        return callback_key(node.name, visit) if is_called else None
    value = node.key.value(scope)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Failed("key came to neither a text nor a whole number")
    key = str(value)
    if len(key) > KEY_MAX:
        raise Failed(f"key came to {len(key)} characters, and {KEY_MAX} is the most")
    return key


def _due_ms(node: Node, scope: Mapping[str, object], now_ms: int) -> int | None:
    wait = node.spec.wait
    if node.kind is not Kind.WAIT or wait is None:
        return None
    if wait.for_ is not None:
        return now_ms + wait.for_ // _MILLISECOND
    return None if node.until is None else moment(node.until.value(scope))
