"""What a run of a workflow can come to at most: attempts, time, bytes; whatever its operations are closed with.

No run passes these, whoever works on it and however it goes wrong, as long as clocks are looked at when they are due.
What is paused is not bounded but by the deadline. Why they hold: `core.bounds_counts` says how often operations fire,
`core.bounds_worth` what that comes to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import nlargest
from typing import Final, NamedTuple

from harpoon.core.bounds_counts import Counts, count
from harpoon.core.bounds_shape import Shape, outputs_bytes, shape_of, signals_bytes
from harpoon.core.bounds_worth import Plan, longest, most, plan_of
from harpoon.core.graph import Graph
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.at_most import size_at_most, span_at_most
from harpoon.model.units import format_size
from harpoon.model.workflow import OnFailed

#: Attempts of one run. Each is two events, so this is as much as one shard writes in minutes.
ATTEMPTS_MAX: Final = 1_000_000
#: Bytes of one run: 10,000 operations that are visited once each are within it, whatever they are given.
BYTES_MAX: Final = 16 << 30

_MILLISECOND: Final = timedelta(milliseconds=1)
#: Of a long way so many operations are named from its beginning, and so many from its end.
_FIRST: Final = 8
_LAST: Final = 3
#: Operations that are named as the heaviest.
_HEAVIEST: Final = 3


class Share(NamedTuple):
    """What one operation can come to at most."""

    visits: int
    attempts: int


class Stretch(NamedTuple):
    """A piece of the longest way: one operation, or those of a cycle; and how long it may take."""

    ops: tuple[str, ...]
    span_ms: int


class Called(NamedTuple):
    """What the sub-runs of a run can come to at most."""

    runs: int
    attempts: int
    bytes: int


_NO_CALLS: Final = Called(0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one run can come to at most."""

    #: Of all operations, retries included.
    attempts: int
    #: After its start; at most the deadline.
    ends_after_ms: int
    #: Of inputs, outputs, errors and signals, as `core.run.Run.bytes_total` counts them.
    bytes: int
    #: What takes longest, from the start on.
    way: tuple[Stretch, ...]
    #: Whether that is more than the deadline leaves it.
    is_cut_short: bool
    #: Whether what fails waits for somebody to repair it, until the deadline.
    is_parked: bool = False
    #: Operation → its share, in the order of the manifest. They may come to more than ``attempts`` together, for what
    #: excludes one another is counted of each.
    operations: Mapping[str, Share]
    #: The operations that may store most, and how much.
    heaviest: tuple[tuple[str, int], ...]
    #: What signals may bring of ``bytes``.
    signals_bytes: int
    #: What all sub-runs may come to, theirs included: part of ``attempts`` and ``bytes``.
    calls: Called = _NO_CALLS


_NO_CALLEES: Final[Mapping[str, Bounds]] = {}


def bounds(graph: Graph, deadline_ms: int | None = None, callees: Mapping[str, Bounds] = _NO_CALLEES) -> Bounds:
    """Return what a run can come to at most, in time that goes by the size of the graph.

    Args:
        graph: Of the workflow.
        deadline_ms: How long after its start it ends anyway. Left out: the workflow's.
        callees: Workflow that it calls → what one run of that comes to; of what is not there only the call is counted.

    Raises:
        Invalid: That is more than `ATTEMPTS_MAX` or `BYTES_MAX`; it names the operation that weighs most.
    """
    shape = shape_of(graph)
    counts = count(shape)
    life_ms = graph.spec.deadline // _MILLISECOND if deadline_ms is None else deadline_ms
    costs, plan = shape.costs, plan_of(shape, counts)
    attempts = most(shape, counts, plan, [cost.attempts for cost in costs], [0] * len(costs))
    stored = most(shape, counts, plan, [cost.bytes for cost in costs], [cost.beyond_bytes for cost in costs])
    brought = signals_bytes(graph, counts.visits, life_ms)
    stored += outputs_bytes(graph) + brought
    calls = _calls(shape, counts, plan, callees)
    attempts, stored = attempts + calls.attempts, stored + calls.bytes
    way = longest(shape, counts, [cost.span_ms for cost in costs])
    whole_ms = sum(leg.span_ms for leg in way)
    is_parked = graph.spec.on_failure is OnFailed.PARK
    _check(shape, counts, attempts, stored, calls)
    return Bounds(
        attempts=attempts,
        ends_after_ms=life_ms if is_parked else min(whole_ms, life_ms),
        bytes=stored,
        way=tuple([Stretch(tuple([shape.names[op] for op in leg.ops]), leg.span_ms) for leg in way]),
        is_cut_short=whole_ms > life_ms,
        is_parked=is_parked,
        operations=_shares(shape, counts),
        heaviest=tuple([(shape.names[op], own) for op, own in _heaviest(shape, counts)]),
        signals_bytes=brought,
        calls=calls,
    )


def _calls(shape: Shape, counts: Counts, plan: Plan, callees: Mapping[str, Bounds]) -> Called:
    """Return what the sub-runs may come to: each attempt of a call is a run."""
    if not any(shape.calls):
        return _NO_CALLS
    each = [_of_calls(calls, callees) for calls in shape.calls]
    beyond = [0] * len(each)
    return Called(*(most(shape, counts, plan, [one[at] for one in each], beyond) for at in range(len(_NO_CALLS))))


def _of_calls(calls: Sequence[tuple[str, int]], callees: Mapping[str, Bounds]) -> Called:
    """Return what the sub-runs of one visit may come to."""
    runs = attempts = stored = 0
    for workflow, tries in calls:
        told = callees.get(workflow)
        if told is None:
            runs += tries
            continue
        runs += tries * (1 + told.calls.runs)
        attempts += tries * told.attempts
        stored += tries * told.bytes
    return Called(runs, attempts, stored)


def shown(told: Bounds) -> dict[str, object]:
    """Return bounds as they are shown: each with a sentence that says what it comes from mostly."""
    by_attempts = nlargest(_HEAVIEST, told.operations.items(), key=lambda item: item[1].attempts)
    tried = [_share_said(op, share) for op, share in by_attempts]
    if told.calls.attempts:
        tried.insert(0, f"its {_many(told.calls.runs, 'sub-run')} may have {told.calls.attempts}")
    stored = [f"{op} may store {size_at_most(size)}" for op, size in told.heaviest]
    called = told.calls
    if called.bytes:
        stored.insert(0, f"its {_many(called.runs, 'sub-run')} may store {size_at_most(called.bytes)}")
    if told.signals_bytes:
        stored.insert(0, f"signals may bring {size_at_most(told.signals_bytes)}")
    return {
        "attempts": {"most": told.attempts, "because": "; ".join(tried)},
        "ends_after_ms": {"most": told.ends_after_ms, "because": _way_said(told)},
        "bytes": {"most": told.bytes, "because": "; ".join(stored)},
        "operations": {
            op: {"visits": share.visits, "attempts": share.attempts} for op, share in told.operations.items()
        },
    }


def _share_said(op: str, share: Share) -> str:
    """Say ``pay has up to 4 visits of 3 attempts each``."""
    each = share.attempts // max(share.visits, 1)
    return f"{op} has up to {_many(share.visits, 'visit')} of {_many(each, 'attempt')} each"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _way_said(told: Bounds) -> str:
    whole_ms = sum([stretch.span_ms for stretch in told.way])
    slowest = max(told.way, key=lambda stretch: stretch.span_ms)
    said = f"the longest way is {_way_named(told.way)}, {span_at_most(whole_ms)}"
    if len(slowest.ops) > 1:
        said += f"; {span_at_most(slowest.span_ms)} of that is the cycle of {_few(slowest.ops)}"
    elif len(told.way) > 1:
        said += f"; {span_at_most(slowest.span_ms)} of that is {slowest.ops[0]}"
    if told.is_parked:
        return f"{said}; what fails is parked, until the deadline at most"
    return f"{said}; the deadline ends it before" if told.is_cut_short else said


def _way_named(way: Sequence[Stretch]) -> str:
    named = [stretch.ops[0] if len(stretch.ops) == 1 else f"({_few(stretch.ops)})" for stretch in way]
    left_out = len(named) - _FIRST - _LAST
    if left_out > 1:
        named = [*named[:_FIRST], f"({left_out} more)", *named[-_LAST:]]
    return " → ".join(named)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _HEAVIEST} more" if len(names) > _HEAVIEST else ""
    return ", ".join(sorted(names)[:_HEAVIEST]) + more


def _check(shape: Shape, counts: Counts, attempts: int, stored: int, calls: Called) -> None:
    """Refuse what is too much.

    Raises:
        Invalid: It is.
    """
    if attempts > ATTEMPTS_MAX:
        is_called = 2 * calls.attempts > attempts
        op = _busiest(shape, counts, is_called=is_called)
        own = f"{shape.names[op]} alone has {counts.visits[op]} visits of {shape.costs[op].attempts} attempts"
        what = f"a run may come to {attempts} attempts, and {ATTEMPTS_MAX} is the most; {own}"
        what += f", and all {calls.runs} sub-runs have {calls.attempts}" if is_called else ""
        _refuse(shape.names[op], what, "lower its visits or its retries")
    if stored > BYTES_MAX:
        op, own_bytes = _heaviest(shape, counts)[0]
        what = f"a run may store {size_at_most(stored)}, and {format_size(BYTES_MAX)} is the most"
        if 2 * calls.bytes > stored:
            op = _busiest(shape, counts, is_called=True)
            what += f"; all {calls.runs} sub-runs {size_at_most(calls.bytes)}"
        else:
            what += f"; {shape.names[op]} alone {size_at_most(own_bytes)}"
        _refuse(shape.names[op], what, "lower its visits, its retries or its output_max")


def _busiest(shape: Shape, counts: Counts, *, is_called: bool) -> int:
    """Return the operation that may have most attempts; of those that call workflows, if it is ``is_called``."""
    ops = [op for op, calls in enumerate(shape.calls) if calls or not is_called]
    return max(ops, key=lambda op: counts.visits[op] * shape.costs[op].attempts)


def _refuse(op: str, what: str, remedy: str) -> None:
    pointer, detail = f"/spec/operations/{op}", f"{what}; {remedy}"
    raise Invalid(f"{pointer}: {detail}", [Problem(pointer=pointer, detail=detail)])


def _shares(shape: Shape, counts: Counts) -> dict[str, Share]:
    each = zip(shape.names, counts.visits, shape.costs, strict=True)
    return {name: Share(visits, visits * cost.attempts) for name, visits, cost in each}


def _heaviest(shape: Shape, counts: Counts) -> list[tuple[int, int]]:
    each = zip(counts.visits, counts.beyond, shape.costs, strict=True)
    stored = [visits * cost.bytes + beyond * cost.beyond_bytes for visits, beyond, cost in each]
    return [(op, stored[op]) for op in nlargest(_HEAVIEST, range(len(stored)), key=stored.__getitem__)]
