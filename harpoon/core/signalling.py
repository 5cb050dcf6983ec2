"""Signals of a run: which are taken, and which wait consumes one."""

from collections.abc import Mapping, Sequence
from typing import Final

from harpoon.core.event import Signalled
from harpoon.core.fold import SIGNAL_KEPT_MS
from harpoon.core.measure import json_bytes
from harpoon.core.opening import KEY_MAX
from harpoon.core.run import Kept, Run
from harpoon.core.stepping import Step
from harpoon.model.operation import CALLBACK

#: Signals that are kept for one run.
SIGNALS_MAX: Final = 1000
#: Signals that are named where there is none of a name.
_NAMED: Final = 10
#: Characters of the id of a signal.
ID_MAX: Final = 256


def objection(run: Run, event: Signalled) -> tuple[str, str] | None:
    """Return the code and the words by which a signal is refused; None: it is taken.

    What no wait of the workflow could consume, whenever it is opened, is refused at once.
    """
    nodes = [run.graph.nodes[op] for op in _awaited(run).get(event.name, ())]
    if not nodes:
        told = ", ".join(sorted(_awaited(run))[:_NAMED]) or "none"
        return "signal", f"no operation of {run.workflow} waits for signal {event.name[:80]!r}; there is {told}"
    offering = [node for node in nodes if event.label in node.offered]
    if not offering:
        offered = ", ".join(sorted(frozenset().union(*(node.offered for node in nodes))))
        return "label", f"no wait for {event.name} is closed as {event.label[:80]!r}; they offer {offered}"
    size = json_bytes(event.payload)
    most = max(node.spec.output_max for node in offering)
    if size > most:
        return "payload", f"the payload has {size} bytes, and {most} is the most"
    if len(event.id) > ID_MAX or len(event.key or "") > KEY_MAX:
        return "payload", f"a signal's id has at most {ID_MAX} characters, and its key {KEY_MAX}"
    if _is_full(run, event.now_ms):
        return "full", f"the run keeps {SIGNALS_MAX} signals that nothing has consumed, and that is the most"
    return None


def _is_full(run: Run, now_ms: int) -> bool:
    """Whether as many signals are kept as may be, and none of them is too old; callbacks are not counted."""
    if len(run.kept) < SIGNALS_MAX:
        return False
    kept = [one for one in run.kept.values() if one.name != CALLBACK]
    return len(kept) >= SIGNALS_MAX and kept[0].at_ms > now_ms - SIGNAL_KEPT_MS


def objection_to_call(run: Run, event: Signalled, op: str, visit: int) -> tuple[str, str] | None:
    """Return the code and the words by which what a callback brings is refused; None: it is taken.

    Args:
        run: As it stands.
        event: What the callback brings.
        op: That waits for it.
        visit: Of that operation.
    """
    node, progress = run.graph.nodes.get(op), run.ops.get(op)
    if node is None or op not in run.graph.callbacks or visit < 1 or not run.has_visit(op, visit):
        return "unknown", f"visit {visit} of {op} has no callback"
    if event.key in run.called:
        return "used", f"the callback of visit {visit} of {op} was used already, and brought something else"
    if progress is not None and visit <= progress.fired and (op, visit) not in run.open:
        return "late", f"visit {visit} of {op} does not wait any more"
    if event.label not in node.offered:
        return "label", f"{op} is not closed as {event.label[:80]!r}; it offers {', '.join(sorted(node.offered))}"
    size = json_bytes(event.payload)
    if size > node.spec.output_max:
        return "payload", f"the payload has {size} bytes, and {node.spec.output_max} is the most"
    return None


def has_taker(run: Run, sent: tuple[str, str | None, str, int], now_ms: int) -> bool:
    """Whether a run would consume a signal at once.

    Args:
        run: As it stands.
        sent: The name of the signal, its key, its label and the size of its payload, as `json_bytes` has it.
        now_ms: When.
    """
    name, key, label, size = sent
    waits = run.waiting.get((name, key))
    if not waits or run.is_paused or _is_full(run, now_ms):
        return False
    kept = Kept("", name, key, label, None, 0, now_ms, size)
    step = Step(run, now_ms)
    return any(step.suits(run.graph.nodes[op], kept) for op, _ in waits)


def consume(step: Step, kept: Kept) -> None:
    """Let the first open wait that it is for have a signal."""
    run = step.run
    if run.is_paused:
        return
    for op, visit in run.waiting.get((kept.name, kept.key), ()):
        if step.suits(run.graph.nodes[op], kept):
            step.close(run.open[op, visit], kept.label, signal=kept.id)
            return


def consume_kept(step: Step) -> None:
    """Let waits have what came while nothing was consumed."""
    run = step.run
    for kept in list(run.kept.values()):
        if kept.id in run.kept and not run.status.is_over:
            consume(step, kept)
            step.settle()


def _awaited(run: Run) -> Mapping[str, Sequence[str]]:
    """Return the operations that wait for each signal; the workflow is looked through once in a run."""
    if run.awaited is None:
        awaited: dict[str, list[str]] = {}
        for node in run.graph.nodes.values():
            if node.each is None and node.spec.wait is not None and node.spec.wait.signal is not None:
                awaited.setdefault(node.spec.wait.signal, []).append(node.name)
        run.awaited = awaited
    return run.awaited
