"""How much all visits of a run may take together, and the longest way through its graph.

Both are reckoned by worths. What a visit may take is its own cost, and the worth of whatever it leads to: of the labels
that it may be closed with, which exclude one another, the one that is worth the most. A join is worth something to one
of its members only, the rarest, or it would be counted for each. An operation that may fire more often than it has
visits is worth nothing to what leads to it, and is counted apart instead, as often as it has visits. That is a sound
bound however such operations are chosen: it is the price at which no run could be bettered (weak duality of linear
programs). In a cycle so many are counted apart that no other leads back to itself.

What is counted apart within a cycle that is entered once at most is, all of it, worth of that entry: where it is not
entered, it is not counted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harpoon.core.bounds_counts import Counts, entries
from harpoon.core.bounds_shape import Gate, Shape
from harpoon.core.components import components
from harpoon.model.label import EXHAUSTED

#: Of each operation, by label, the operations that it is to count the worth of.
Paid = list[dict[str, list[int]]]


class Leg(NamedTuple):
    """A piece of a way: one operation, or those of a cycle; and how long it may take."""

    ops: tuple[int, ...]
    span_ms: int


class Piece(NamedTuple):
    """What leads to each other, or one operation: how its worths are worked out."""

    #: In that order.
    ops: Sequence[int]
    #: Those of them that are counted apart.
    apart: Collection[int]
    #: Whether it is entered once at most.
    is_once: bool
    #: Of a cycle that never opens more than it closes, what each label opens that leads out.
    exits: Sequence[Sequence[int]]


class Plan(NamedTuple):
    """Who answers for what, and in which order that is worked out: from what leads nowhere back to the beginnings."""

    paid: Paid
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class _Worths:
    """What firings are worth."""

    counts: Counts
    #: Of a visit, and of a firing beyond visits.
    cost: Sequence[int]
    beyond: Sequence[int]
    paid: Paid
    #: How what one label opens comes together.
    together: Callable[[Iterable[int]], int]
    #: Of each operation's firing.
    worth: list[int]

    def whole(self, op: int) -> int:
        """Return what a visit comes to: its cost, and what it leads to."""
        most_ = 0
        for label, opened in self.paid[op].items():
            if label != EXHAUSTED:
                most_ = max(most_, self.of(opened))
        return self.cost[op] + most_

    def late(self, op: int) -> int:
        """Return what a firing beyond visits comes to."""
        return self.beyond[op] + self.of(self.paid[op].get(EXHAUSTED, ()))

    def of(self, opened: Iterable[int]) -> int:
        """Return what a label comes to that opens these."""
        worth = self.worth
        return self.together([worth[op] for op in opened])

    def reckon(self, ops: Iterable[int], apart: Collection[int]) -> int:
        """Work out the worths of some operations, in order; return what is counted apart."""
        for op in ops:
            self.worth[op] = self.late(op) if op in apart else self.whole(op)
        return sum([self.counts.visits[op] * max(0, self.whole(op) - self.worth[op]) for op in apart])


def most(shape: Shape, counts: Counts, plan: Plan, cost: Sequence[int], beyond: Sequence[int]) -> int:
    """Return how much all visits and firings of a run may come to together.

    Args:
        shape: The graph.
        counts: How often each operation may fire.
        plan: See `plan_of`.
        cost: Of each operation's visit.
        beyond: Of each operation's firing beyond its visits.
    """
    worths = _Worths(counts, cost, beyond, plan.paid, sum, [0] * len(cost))
    whole = 0
    for ops, apart, is_once, exits in plan.pieces:
        counted = worths.reckon(ops, apart)
        rest = max([worths.of(opened) for opened in exits], default=0)
        if is_once:
            rest += counted
        else:
            whole += counted
        if rest:
            for op in ops:
                worths.worth[op] += rest
    whole += sum([worths.worth[op] for op, begins in enumerate(shape.begins) if begins])
    visits = sum([often * each for often, each in zip(counts.visits, cost, strict=True)])
    return min(whole, visits + sum([often * each for often, each in zip(counts.beyond, beyond, strict=True)]))


def plan_of(shape: Shape, counts: Counts) -> Plan:
    """Let of each gate one member answer for it: the one that occurs most rarely, and can be closed otherwise."""
    paid: Paid = [{} for _ in shape.names]
    payers: list[int] = []
    for gate in shape.gates:
        at = 0 if len(gate.members) == 1 else _rarest(shape, counts, gate)
        op = gate.members[at][0]
        paid[op].setdefault(gate.labels[at], []).append(gate.op)
        payers.append(op)
    pieces = []
    for part, is_cycle in shape.parts:
        if not is_cycle:
            pieces.append(Piece(part, part if counts.beyond[part[0]] else (), is_once=False, exits=()))
            continue
        exits = _exits(part, counts, paid) if part[0] in counts.tokens else ()
        ops, apart = _unwind(part, counts.beyond, paid)
        pieces.append(Piece(ops, apart, _enter(shape, counts, part, payers) <= 1, exits))
    return Plan(paid, pieces)


def _rarest(shape: Shape, counts: Counts, gate: Gate) -> int:
    ranks = [
        (late, 0 if late else counts.visits[op] // together, -len(shape.out[op])) for op, late, together in gate.members
    ]
    return ranks.index(min(ranks))


def _exits(part: Sequence[int], counts: Counts, paid: Paid) -> list[list[int]]:
    """Return what each label opens that leads out of a cycle, which is no longer paid for within."""
    within = frozenset(part)
    exits = []
    for op in part:
        inner = {}
        for label, opened in paid[op].items():
            if opened[0] in within:
                inner[label] = opened
            elif label != EXHAUSTED or counts.beyond[op]:
                exits.append(opened)
        paid[op] = inner
    return exits


def _enter(shape: Shape, counts: Counts, part: Sequence[int], payers: Sequence[int]) -> int:
    """Return how often a part is entered, by what answers for it."""
    within = frozenset(part)
    entering = [gate for op in part for gate in shape.into[op] if payers[gate.number] not in within]
    return entries(shape, counts, part, entering)


def _unwind(part: Sequence[int], beyond: Sequence[int], paid: Paid) -> tuple[list[int], set[int]]:
    """Return a cycle in the order to work it out, and which of it is counted apart, so that there is such an order."""
    numbers = {op: number for number, op in enumerate(part)}
    apart = {op for op in part if beyond[op]}
    while True:
        leads = [_within(paid[op], numbers, is_apart=op in apart) for op in part]
        found = components(leads)
        rest = [each for each in found if len(each) > 1 or each[0] in leads[each[0]]]
        if not rest:
            return [part[each[0]] for each in found], apart
        apart.update(part[number] for each in rest for number in each)


def _within(paid: Mapping[str, Sequence[int]], numbers: Mapping[int, int], *, is_apart: bool) -> list[int]:
    """Return what an operation is worked out from, of those that are numbered."""
    return [
        numbers[opened]
        for label, through in paid.items()
        if (label == EXHAUSTED) == is_apart
        for opened in through
        if opened in numbers
    ]


def longest(shape: Shape, counts: Counts, span_ms: Sequence[int]) -> list[Leg]:
    """Return the longest way from where a run begins: what follows one another, each after the one before."""
    worth = [0] * len(span_ms)
    #: Operation → how long it takes to get through there, and what follows; below 0: nothing does.
    passed: list[tuple[int, int]] = [(0, -1)] * len(span_ms)
    parts: dict[int, Sequence[int]] = {}
    for part, is_cycle in shape.parts:
        if is_cycle:
            within = frozenset(part)
            following = _best([op for at in part for op in shape.successors[at] if op not in within], worth)
            for op, span in zip(part, _round(shape, counts, span_ms, part), strict=True):
                passed[op] = span, following
        else:
            passed[part[0]] = _through(shape, counts, span_ms[part[0]], part[0], worth)
        for op in part:
            parts[op] = part
            span, following = passed[op]
            worth[op] = span + (worth[following] if following >= 0 else 0)
    op = _best([op for op, begins in enumerate(shape.begins) if begins], worth)
    way = []
    while op >= 0:
        span, following = passed[op]
        way.append(Leg(tuple(parts[op]), span))
        op = following
    return way


def _best(ops: Sequence[int], worth: Sequence[int]) -> int:
    return max(ops, key=worth.__getitem__, default=-1)


def _through(shape: Shape, counts: Counts, span: int, op: int, worth: Sequence[int]) -> tuple[int, int]:
    """Return how the longest way goes through an operation that is in no cycle."""
    late: list[int] = []
    after: list[int] = []
    for label, through in shape.out[op].items():
        (late if label == EXHAUSTED else after).extend([gate.op for gate in through])
    following, beyond = _best(after, worth), _best(late, worth)
    # A firing beyond its visits closes at once.
    if counts.beyond[op] and beyond >= 0 and worth[beyond] > span + (worth[following] if following >= 0 else 0):
        return 0, beyond
    return span, following


def _round(shape: Shape, counts: Counts, span_ms: Sequence[int], part: Sequence[int]) -> Sequence[int]:
    """Return, of each operation of a cycle, how long a way that enters there may go round in it."""
    alone = sum([counts.visits[op] * span_ms[op] for op in part])
    numbers = {op: number for number, op in enumerate(part)}
    paid = [
        {
            label: [numbers[gate.op] for gate in through if gate.op in numbers]
            for label, through in shape.out[op].items()
        }
        for op in part
    ]
    if any(counts.beyond[op] and each.get(EXHAUSTED) for op, each in zip(part, paid, strict=True)):
        # What goes on from there at once could lead anywhere.
        return [alone] * len(part)
    own = Counts([counts.visits[op] for op in part], [counts.beyond[op] for op in part])
    nothing = [0] * len(part)
    worths = _Worths(
        own, [span_ms[op] for op in part], nothing, paid, lambda told: max(told, default=0), [0] * len(part)
    )
    counted = worths.reckon(*_unwind(range(len(part)), own.beyond, paid))
    return [min(worth + counted, alone) for worth in worths.worth]
