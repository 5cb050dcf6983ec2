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

from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Shares(NamedTuple):
    """Who answers for what: of each operation, and of each gate."""

    paid: Paid
    payers: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Worths:
    """What firings are worth, as it is worked out: from what leads nowhere back to where the run begins."""

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
        told = [self.of(opened) for label, opened in self.paid[op].items() if label != EXHAUSTED]
        return self.cost[op] + max(told, default=0)

    def late(self, op: int) -> int:
        """Return what a firing beyond visits comes to."""
        return self.beyond[op] + self.of(self.paid[op].get(EXHAUSTED, ()))

    def of(self, opened: Iterable[int]) -> int:
        """Return what a label comes to that opens these."""
        return self.together([self.worth[op] for op in opened])

    def reckon(self, part: Sequence[int], *, is_cycle: bool) -> int:
        """Work out the worths in a part; return what is counted apart."""
        apart, order = self._unwind(part) if is_cycle else ({op for op in part if self.counts.beyond[op]}, part)
        for op in order:
            self.worth[op] = self.late(op) if op in apart else self.whole(op)
        return sum(self.counts.visits[op] * max(0, self.whole(op) - self.worth[op]) for op in apart)

    def _unwind(self, part: Sequence[int]) -> tuple[set[int], list[int]]:
        """Return which operations of a cycle are counted apart, and all of it in the order to work it out."""
        numbers = {op: number for number, op in enumerate(part)}
        apart = {op for op in part if self.counts.beyond[op]}
        while True:
            leads = [self._within(op, numbers, is_apart=op in apart) for op in part]
            found = components(leads)
            rest = [each for each in found if len(each) > 1 or each[0] in leads[each[0]]]
            if not rest:
                return apart, [part[each[0]] for each in found]
            apart.update(part[number] for each in rest for number in each)

    def _within(self, op: int, numbers: Mapping[int, int], *, is_apart: bool) -> list[int]:
        return [
            numbers[opened]
            for label, through in self.paid[op].items()
            if (label == EXHAUSTED) == is_apart
            for opened in through
            if opened in numbers
        ]


def most(shape: Shape, counts: Counts, shares: Shares, cost: Sequence[int], beyond: Sequence[int]) -> int:
    """Return how much all visits and firings of a run may come to together.

    Args:
        shape: The graph.
        counts: How often each operation may fire.
        shares: See `share`.
        cost: Of each operation's visit.
        beyond: Of each operation's firing beyond its visits.
    """
    worths = _Worths(counts, cost, beyond, list(shares.paid), sum, [0] * len(cost))
    apart = 0
    for part, is_cycle in shape.parts:
        rest = 0
        if part[0] in counts.tokens:
            counted, rest = _go_round(worths, part)
        else:
            counted = worths.reckon(part, is_cycle=is_cycle)
        if counted and _enter(shape, counts, part, shares.payers) == 1:
            rest += counted
        else:
            apart += counted
        if rest:
            for op in part:
                worths.worth[op] += rest
    whole = apart + sum([worths.worth[op] for op, begins in enumerate(shape.begins) if begins])
    visits = sum([often * each for often, each in zip(counts.visits, cost, strict=True)])
    return min(whole, visits + sum([often * each for often, each in zip(counts.beyond, beyond, strict=True)]))


def share(shape: Shape, counts: Counts) -> Shares:
    """Let of each gate one member answer for it: the one that occurs most rarely, and can be closed otherwise."""
    paid: Paid = [{} for _ in shape.names]
    payers: list[int] = []
    for gate in shape.gates:
        at = 0 if len(gate.members) == 1 else _rarest(shape, counts, gate)
        op = gate.members[at][0]
        paid[op].setdefault(gate.labels[at], []).append(gate.op)
        payers.append(op)
    return Shares(paid, payers)


def _rarest(shape: Shape, counts: Counts, gate: Gate) -> int:
    ranks = [
        (late, 0 if late else counts.visits[op] // together, -len(shape.out[op])) for op, late, together in gate.members
    ]
    return ranks.index(min(ranks))


def _go_round(worths: _Worths, part: Sequence[int]) -> tuple[int, int]:
    """Reckon a cycle that never opens more than it closes; return what is counted apart, and what leads out of it."""
    within = frozenset(part)
    out = 0
    for op in part:
        inner = {label: opened for label, opened in worths.paid[op].items() if opened[0] in within}
        for label, opened in worths.paid[op].items():
            if label not in inner and (label != EXHAUSTED or worths.counts.beyond[op]):
                out = max(out, worths.of(opened))
        worths.paid[op] = inner
    return worths.reckon(part, is_cycle=True), out


def _enter(shape: Shape, counts: Counts, part: Sequence[int], payers: Sequence[int]) -> int:
    """Return how often a part is entered, by what answers for it."""
    within = frozenset(part)
    entering = [gate for op in part for gate in shape.into[op] if payers[gate.number] not in within]
    return entries(shape, counts, part, entering)


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
    apart = worths.reckon(range(len(part)), is_cycle=True)
    return [min(worth + apart, alone) for worth in worths.worth]
