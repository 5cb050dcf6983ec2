"""Moving open runs to another generation of their workflow: whether one can, and what becomes of what it has come to.

A run can be moved if wherever it stands, the other form of its workflow stands as well: each open operation is there
and does the same kind of thing, what was about to be opened is opened by the same, no join that has some of its members
is gone, and what has closed has closed by labels that are still given. What has closed before has fired by the old
form, and is not fired again by the new one; only joins that are not complete are looked at anew:

1. A join that both forms have keeps what has occurred.
2. One that is new or changed has what had occurred for the joins of its operation that are gone; and, if the operation
   was never opened, what its members were closed with last.
3. If it is complete thereby, it fires, provided that something had occurred for a join that is gone: else its moment
   has passed.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from harpoon.core.graph import Each, Graph, Node, Trigger
from harpoon.core.repair import closed_as, owner_of
from harpoon.core.run import Run
from harpoon.core.visit import Group
from harpoon.core.wiring import possible
from harpoon.model.inputs import WrongInputs, check_inputs
from harpoon.model.label import CANCELLED
from harpoon.model.workflow import OnFailed

#: Objections that are told; there may be as many as operations.
TOLD_MAX: Final = 20

_Occurrence = tuple[str, str]
#: What a trigger is, whatever its index.
_Wire = tuple[str, frozenset[_Occurrence]]


class Joined(NamedTuple):
    """What triggers of another form have to go on with."""

    #: As `core.run.Run.occurred`.
    occurred: dict[int, set[_Occurrence]]
    #: Those that are complete by what had occurred before.
    complete: tuple[int, ...]


def objections(run: Run, graph: Graph) -> tuple[str, ...]:
    """Return why an open run cannot go on by another form of its workflow; empty: it can."""
    found = dict.fromkeys(_objections(run, graph))
    told = tuple(found)[:TOLD_MAX]
    return told if len(found) <= TOLD_MAX else (*told, f"and {len(found) - TOLD_MAX} more")


def stands_at(run: Run) -> tuple[str, ...]:
    """Return the operations at which a run stands, sorted: open ones, parked ones, and those about to be opened."""
    pending = [run.graph.opens(code) for code in run.pending]
    return tuple(sorted({*(owner_of(run.graph, key)[0] for key in (*run.open, *run.unhandled)), *pending}))


def recoder(old: Graph, new: Graph) -> Callable[[int], int]:
    """Return what tells what is pending by another form, given what is by the old one; its operation is there."""
    known, starts = _wires(new), {op: index for index, op in enumerate(new.starts)}

    def recode(code: int) -> int:
        op = old.opens(code)
        if code >= 0:
            found = known.get(_wire(old.triggers[code]))
            return new.anew(op) if found is None else found
        return ~starts[op] if ~code < len(old.starts) and op in starts else new.anew(op)

    return recode


def rejoin(run: Run, new: Graph) -> Joined:
    """Return what the joins of another form have to go on with."""
    kept, partial = _wires(run.graph), _partial(run, new)
    occurred: dict[int, set[_Occurrence]] = {}
    complete: list[int] = []
    for wire, index in _wires(new).items():
        op, members = wire
        if wire in kept:
            has = run.occurred.get(kept[wire], set())
        else:
            carried = partial.get(op, set()) & members
            has = carried | (_closed_before(run, members) if op not in run.ops and len(members) > 1 else set())
            if has == members:
                has = set()
                complete += [index] if carried else []
        if has:
            occurred[index] = set(has)
    return Joined(occurred, tuple(sorted(complete)))


def _closed_before(run: Run, members: frozenset[_Occurrence]) -> set[_Occurrence]:
    """Return what of the members of a join is what these were closed with last."""
    return {(op, label) for op, label in members if closed_as(run.ops, op) == label}


def inputs_by(run: Run, graph: Graph) -> Mapping[str, object]:
    """Return those inputs of a run that another form has, with its defaults.

    Raises:
        WrongInputs: They are not what it is given.
    """
    given = {name: value for name, value in run.inputs.items() if name in graph.spec.inputs}
    return check_inputs(graph.spec.inputs, given)


def went_by(run: Run, graph: Graph) -> dict[str, Group]:
    """Return what is kept of items by another form, for them to be done anew: of what goes through them alike."""
    return {
        op: group
        for op, group in run.went.items()
        if (node := graph.nodes.get(op)) is not None and _is_alike(run.graph.nodes[op].each, node.each)
    }


def _is_alike(old: Each | None, new: Each | None) -> bool:
    return old is not None and new is not None and _kept(old) == _kept(new)


def _objections(run: Run, graph: Graph) -> Iterator[str]:
    for op, visit in sorted(run.open):
        yield from _stands(run, graph, op, visit)
    yield from _failures(run, graph)
    known = _wires(graph)
    for code in run.pending:
        op = run.graph.opens(code)
        if op not in graph.nodes:
            yield f"operation {op}, which is about to be opened, is gone"
        elif code >= 0 and _wire(run.graph.triggers[code]) not in known:
            yield f"{op} is about to be opened by {_said(run.graph.triggers[code])}, which does not open it any more"
    for index, has in run.occurred.items():
        op = run.graph.triggers[index].op
        if op not in graph.nodes:
            yield f"operation {op} is gone, and {_joined(has)} has occurred for it"
    yield from _closings(run, graph)
    try:
        inputs_by(run, graph)
    except WrongInputs as error:
        yield f"its inputs are not what the workflow is given: {error}"


def _closings(run: Run, graph: Graph) -> Iterator[str]:
    """Yield why what has closed cannot have."""
    opened = {op for op, _ in run.open}
    for op, progress in run.ops.items():
        node, latest = graph.nodes.get(op), progress.latest
        if node is not None and latest is not None and latest.label not in (CANCELLED, *possible(node.spec)):
            yield f"{op} was closed as {latest.label}, which it does not give any more"
        # Of an open visit that is told with it.
        old = None if op in opened else run.graph.nodes.get(op)
        if old is not None and node is not None and old.each and node.each and old.each.most != node.each.most:
            yield f"{op} has gone through items, which are numbered by the max of its foreach; that is another one now"


def _stands(run: Run, graph: Graph, op: str, visit: int) -> Iterator[str]:
    """Yield why an open visit cannot go on."""
    old, new = run.graph.nodes[op], graph.nodes.get(op)
    if old.home is not None:
        # It goes on with what it is an item of.
        yield from _items(old, new)
    elif new is None:
        yield f"operation {op}, at which it stands, is gone"
    elif _does(old) != _does(new):
        yield f"operation {op}, at which it stands, is no {_does(old)} any more, but a {_does(new)}"
    elif run.ops[op].used > new.visits:
        yield f"{op} is in visit {visit}, and may have {new.visits} now"
    elif old.each is not None and new.each is not None and _kept(old.each) != _kept(new.each):
        yield f"{op} goes through its items, and max or collect of its foreach are not what they were"


def _items(old: Node, new: Node | None) -> Iterator[str]:
    """Yield why an open item cannot go on, beside what keeps that which it is an item of."""
    if new is not None and _does(old) != _does(new):
        assert old.home is not None, "it is an item"
        yield f"an item of {old.home.op}, at which it stands, is no {_does(old)} any more, but a {_does(new)}"


def _kept(each: Each) -> tuple[int, bool]:
    """Return what cannot change while a visit goes through its items."""
    return each.most, each.is_collecting


def _failures(run: Run, graph: Graph) -> Iterator[str]:
    policy = graph.spec.on_failure
    for op, visit in run.unhandled:
        which = op if visit == 1 else f"visit {visit} of {op}"
        if op not in graph.nodes:
            yield f"operation {op}, which has failed, is gone: repair it first"
        elif policy is OnFailed.CANCEL or (run.incidents and policy is not OnFailed.PARK):
            yield f"{which} has failed, which would end the run: on_failure is {policy.value} now; repair it first"


def _does(node: Node) -> str:
    wait = node.spec.wait
    if wait is None or node.each is not None:
        return node.kind.value if node.each is None else "foreach"
    key = "" if wait.key is None else " with a key"
    if wait.callback:
        return "wait for a callback"
    return f"wait for a signal{key}" if wait.signal is not None else "wait for a moment"


def _partial(run: Run, new: Graph) -> dict[str, set[_Occurrence]]:
    """Return what has occurred for joins that are gone, by their operations."""
    told: dict[str, set[_Occurrence]] = {}
    known = _wires(new)
    for index, has in run.occurred.items():
        trigger = run.graph.triggers[index]
        if _wire(trigger) not in known:
            told.setdefault(trigger.op, set()).update(has)
    return told


def _wires(graph: Graph) -> dict[_Wire, int]:
    return {_wire(trigger): trigger.index for trigger in graph.triggers}


def _wire(trigger: Trigger) -> _Wire:
    return trigger.op, frozenset(trigger.members)


def _said(trigger: Trigger) -> str:
    return " and ".join(map(str, trigger.members))


def _joined(has: set[_Occurrence]) -> str:
    return " and ".join(f"{op}.{label}" for op, label in sorted(has))
