"""What may be done to a run that went wrong: parts of it are done anew, or visits closed by hand; over or not.

These are steps as those of `core.step`, with the same duties of whoever calls them. An order that has an id changes
nothing when it comes again. Each repair is written down with who gave it and why, lets the run have the deadline of its
workflow anew, and adds at most what a run may come to; there are `core.repair.REPAIRS_MAX` of them.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from harpoon.core.event import Event, Moved, RetriedFrom, SetTo
from harpoon.core.graph import Graph, Kind, Node
from harpoon.core.measure import json_bytes
from harpoon.core.moving import objections
from harpoon.core.repair import REPAIRS_MAX, led_to, owner_of, part_of
from harpoon.core.run import Run
from harpoon.core.signalling import consume_kept
from harpoon.core.step import TEXT_MAX, Refused
from harpoon.core.stepping import Step
from harpoon.core.visit import Incident, VisitKey
from harpoon.core.wiring import listed, nearest
from harpoon.model.label import ALWAYS_OFFERED, DONE
from harpoon.model.workflow import OnFailed

_MILLISECOND: Final = timedelta(milliseconds=1)
#: Visits that are named where several could be meant.
_NAMED: Final = 10


class Audit(NamedTuple):
    """Who wants a repair, and why."""

    by: str = ""
    reason: str = ""
    #: The same order again is not another; empty: it is.
    order: str = ""

    def cut(self) -> "Audit":
        """Return it as it is written down."""
        return Audit(self.by[:TEXT_MAX], self.reason[:TEXT_MAX], self.order)


class Value(NamedTuple):
    """What a visit is closed with."""

    label: str = DONE
    output: object = None


def retry_from(run: Run, op: str, audit: Audit, now_ms: int, items: Sequence[int] | None = None) -> list[Event]:
    """Have an operation, and all that it leads to, done anew.

    Args:
        run: Which is repaired.
        op: The operation.
        audit: Who wants it, and why.
        now_ms: When.
        items: Of one with ``foreach``, these alone; it keeps what the others came to. None are: all that came to
            nothing. None: all.

    Raises:
        Refused: It was never opened, or a failure elsewhere would end the run at once; it has no such items.
    """
    if audit.order and audit.order in run.orders:
        return []
    _check(run, op)
    if op not in run.ops:
        raise Refused("unopened", f"{op} was never opened in this run; retry from an operation that was")
    part, anew = part_of(run.graph, op), None if items is None else _anew(run, op, items)
    _check_failures(run, [one for one in run.unhandled.values() if one.op not in part])
    step = Step(run, now_ms)
    cancelled = tuple([(*key, run.open[key].ref.attempt) for key in led_to(run, op)])
    step.advance(RetriedFrom(step.seq, step.now_ms, op, _deadline_ms(step), *audit.cut(), cancelled, (), anew))
    _settle(step)
    return step.events


def _anew(run: Run, op: str, items: Sequence[int]) -> tuple[int, ...]:
    """Return the items of an operation that are done anew, in their order."""
    each = run.graph.nodes[op].each
    latest = max([key for key in run.groups if key[0] == op], default=None)
    group = run.went.get(op) if latest is None else run.groups[latest]
    if each is None or group is None:
        raise Refused("items", f"{op} has no items that could be done anew; leave them out")
    left = [index for index, is_done in enumerate(group.done) if not is_done]
    if any(not 0 <= index < len(group.items) for index in items):
        raise Refused("items", f"{op} has items 0 to {len(group.items) - 1}")
    anew = sorted(set(items)) if items else left
    if not anew:
        raise Refused("items", f"all {len(group.items)} items of {op} are done; say which is to be done anew")
    others = len(left) - sum(not group.done[index] for index in anew)
    if others > each.tolerate:
        raise Refused("items", f"{others} other items of {op} came to nothing, too; have all of them done anew")
    return tuple(anew)


def set_to(run: Run, op: str, visit: int | None, value: Value, audit: Audit, now_ms: int) -> list[Event]:
    """Close a visit: one that is open, that has failed and no edge took it, or that the end of the run has cut short.

    Args:
        run: Of the visit.
        op: Its operation.
        visit: Its number; None: the only one that there is.
        value: What it is closed with; a label that the operation offers.
        audit: Who wants it, and why.
        now_ms: When.

    Raises:
        Refused: There is no such visit, or it is not closed so.
    """
    if audit.order and audit.order in run.orders:
        return []
    _check(run, op)
    node = run.graph.nodes[op]
    # With items, a visit comes to one of two ends.
    labels = node.offered if node.each is None else ALWAYS_OFFERED
    if value.label not in labels:
        offered = ", ".join(sorted(labels))
        raise Refused("label", f"{op} is not closed as {value.label[:80]!r}; it offers {offered}")
    if value.output is not None and _gives_nothing(node):
        raise Refused("output", f"{op} has no output of its own, however it closes; leave it out")
    size = json_bytes(value.output)
    if size > node.spec.output_max:
        raise Refused("output", f"the output has {size} bytes, and output_max of {op} is {node.spec.output_max}")
    key = _meant(run, op, visit)
    _check_failures(run, [one for one in run.unhandled.values() if (one.op, one.visit) != key])
    step, attempt = Step(run, now_ms), run.open.get(key)
    number = 0 if attempt is None else attempt.ref.attempt
    told = SetTo(step.seq, step.now_ms, *key, number, value.label, _deadline_ms(step), value.output, *audit.cut())
    items = tuple([(*one, run.open[one].ref.attempt) for one in run.open if one != key and _is_of(run, one, key)])
    step.advance(told._replace(cancelled=items))
    _settle(step)
    return step.events


def move(run: Run, generation: str, graph: Graph, audit: Audit, now_ms: int) -> list[Event]:
    """Have an open run go by another generation of its workflow from now on; nothing, if it does.

    Raises:
        Refused: It is over, or stands where that generation has nothing.
    """
    if run.status.is_over:
        raise Refused("over", f"the run is over: {run.status}; what is over goes on as it was, or is started anew")
    if generation == run.generation or (audit.order and audit.order in run.orders):
        return []
    if run.moves >= REPAIRS_MAX:
        raise Refused("spent", f"the run was moved {run.moves} times, and {REPAIRS_MAX} is the most; start another")
    against = objections(run, graph)
    if against:
        raise Refused("stays", f"it stays on generation {run.generation}: {'; '.join(against)}")
    step = Step(run, now_ms)
    run.graphs[generation] = graph
    step.advance(Moved(step.seq, step.now_ms, generation, *audit.cut()))
    # What is kept for a wait, or due for one, may be so by this generation.
    step.fresh.extend(key for key in run.open if key not in run.ready and key not in step.fresh)
    _settle(step)
    return step.events


def _settle(step: Step) -> None:
    step.settle()
    if step.run.kept:
        consume_kept(step)


def _gives_nothing(node: Node) -> bool:
    """Whether an operation has no output but of its items: with items, and of a choice, or a wait for a moment."""
    is_for_moment = node.spec.wait is not None and node.spec.wait.awaited is None
    return node.each is not None or node.kind is Kind.CHOOSE or is_for_moment


def _is_of(run: Run, item: VisitKey, key: VisitKey) -> bool:
    """Whether a visit is an item of another one."""
    return owner_of(run.graph, item) == key


def _check(run: Run, op: str) -> None:
    if op not in run.graph.operations:
        short = op[:80]
        near = nearest(short, run.graph.operations)
        hint = f"did you mean {near!r}?" if near is not None else listed(run.graph.operations)
        raise Refused("unknown", f"workflow {run.workflow} has no operation {short!r}; {hint}")
    if run.repairs >= REPAIRS_MAX:
        raise Refused(
            "spent", f"the run was repaired {run.repairs} times, and {REPAIRS_MAX} is the most; start another"
        )


def _check_failures(run: Run, left: list[Incident]) -> None:
    """Refuse what would end at once, for another failure stands."""
    if left and run.graph.spec.on_failure is OnFailed.CANCEL:
        raise Refused("stands", f"{left[0].told}; that ends the run, so retry from {left[0].op}, or set it")


def _meant(run: Run, op: str, visit: int | None) -> VisitKey:
    """Return the visit that is meant."""
    known = [key for key in (*run.open, *run.unhandled, *run.cut) if key[0] == op]
    if visit is not None:
        known = [key for key in known if key[1] == visit]
    if len(known) == 1:
        return known[0]
    if known:
        told = ", ".join(str(number) for _, number in known[:_NAMED])
        raise Refused("visit", f"{op} has several visits to be closed: {told}; say which by visit")
    progress = run.ops.get(op)
    if progress is None or (visit is not None and not 0 < visit <= progress.fired):
        which = op if visit is None else f"visit {visit} of {op}"
        raise Refused("unopened", f"{which} was never opened in this run")
    last = "" if progress.latest is None else f" as {progress.latest.label}"
    raise Refused("closed", f"{op} is closed{last}, and what follows has followed; retry from it, or fork the run")


def _deadline_ms(step: Step) -> int:
    return step.now_ms + step.run.graph.spec.deadline // _MILLISECOND
