"""What a visit is opened with: the values of its operation's expressions, at the moment its trigger fires."""

from datetime import timedelta
from typing import Final

from harpoon.core.event import Opened
from harpoon.core.graph import Kind, Node
from harpoon.core.measure import json_bytes
from harpoon.core.moment import moment
from harpoon.core.run import Run
from harpoon.kit.expression import Failed

#: Characters of the key of a wait, or of a limit.
KEY_MAX: Final = 256
#: What an opened visit takes in a log beside its input.
_OVERHEAD: Final = 64
_MILLISECOND: Final = timedelta(milliseconds=1)


def open_next(run: Run, now_ms: int) -> tuple[Opened, int]:
    """Return what the first pending trigger opens, and about how many bytes that takes."""
    first = run.pending[0]
    trigger, op = None if first < 0 else first, run.graph.opens(first)
    node = run.graph.nodes[op]
    progress = run.ops.get(op)
    visit = 1 if progress is None else progress.fired + 1
    if progress is not None and progress.used >= node.spec.visits:
        return Opened(op, visit, trigger), _OVERHEAD
    try:
        value = None if node.input is None else node.input.value(run.scope)
        key = _key(node, run)
        due_ms = _due_ms(node, run, now_ms)
    except Failed as error:
        return Opened(op, visit, trigger, error=str(error)), _OVERHEAD
    return Opened(op, visit, trigger, value, None, key, due_ms), json_bytes(value) + _OVERHEAD


def _key(node: Node, run: Run) -> str | None:
    if node.key is None:
        return None
    value = node.key.value(run.scope)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Failed("key came to neither a text nor a whole number")
    key = str(value)
    if len(key) > KEY_MAX:
        raise Failed(f"key came to {len(key)} characters, and {KEY_MAX} is the most")
    return key


def _due_ms(node: Node, run: Run, now_ms: int) -> int | None:
    wait = node.spec.wait
    if node.kind is not Kind.WAIT or wait is None:
        return None
    if wait.for_ is not None:
        return now_ms + wait.for_ // _MILLISECOND
    return None if node.until is None else moment(node.until.value(run.scope))
