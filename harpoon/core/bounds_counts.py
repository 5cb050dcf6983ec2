"""How often each operation may fire in one run, at most.

An operation fires as often as what opens it occurs, and is visited as often as it fires, up to its ``visits``. Whatever
happens, happens after what opened it; so the least counts that satisfy this are never passed: at the first firing that
passed them, what led to it would not have. In a cycle they are reached by counting up from nothing. Where that takes
long, what is still rising is taken for as high as it can be, which is no less sound, and counted down from there.

Labels of one visit exclude one another. So does all that leads out of a cycle that never opens more than it closes:
what came in goes round, and comes out once.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from harpoon.core.bounds_shape import Gate, Shape
from harpoon.model.label import EXHAUSTED

#: As often as one likes.
ENDLESS: Final = 1 << 40
#: So often, or so many times its length, a cycle is counted before what still rises is taken for endless.
_STEPS_MIN: Final = 4000
_STEPS: Final = 6
#: So often is counted down after that.
_SWEEPS: Final = 8


@dataclass(frozen=True, slots=True)
class Counts:
    """Of each operation, by its number."""

    #: Firings that are visits.
    visits: list[int]
    #: Firings beyond its visits; each closes as ``exhausted``.
    beyond: list[int]
    #: Of an operation in a cycle that never opens more than it closes: the cycle's first, and how often it is entered.
    tokens: dict[int, tuple[int, int]] = field(default_factory=dict)

    def fires(self, gate: Gate) -> int:
        """Return how often a gate fires at most: as often as the rarest of its members occurs."""
        visits, beyond = self.visits, self.beyond
        return min([beyond[op] if late else visits[op] // together for op, late, together in gate.members])


class _Sources(NamedTuple):
    """What opens an operation, or the operations of a cycle."""

    #: So often anyway.
    base: int
    #: Operation, and how many gates of one member one visit of it passes at most.
    visited: list[tuple[int, int]]
    #: The same of its firings beyond its visits.
    late: list[tuple[int, int]]
    joins: list[Gate]


def count(shape: Shape) -> Counts:
    """Return how often each operation may fire."""
    counts = Counts([0] * len(shape.names), [0] * len(shape.names))
    for part, is_cycle in reversed(shape.parts):
        if not is_cycle:
            op = part[0]
            _put(shape, counts, op, _fired(counts, _sources(counts, shape.begins[op], shape.into[op])))
            continue
        if shape.is_steady(part):
            within = frozenset(part)
            entering = [gate for op in part for gate in shape.into[op] if not _comes_from(gate, within)]
            entered = entries(shape, counts, part, entering)
            _count_cycle(shape, part, counts)
            counts.tokens.update(dict.fromkeys(part, (part[0], entered)))
        else:
            _count_cycle(shape, part, counts)
    return counts


def entries(shape: Shape, counts: Counts, part: Sequence[int], entering: Sequence[Gate]) -> int:
    """Return how often a part is entered, by the gates named or because the run begins there."""
    return _fired(counts, _sources(counts, sum([shape.begins[op] for op in part]), entering))


def _comes_from(gate: Gate, within: frozenset[int]) -> bool:
    return any(op in within for op, _, _ in gate.members)


def _sources(counts: Counts, begins: int, gates: Sequence[Gate]) -> _Sources:
    """Sort gates by where they come from."""
    #: Operation, or cycle as ``~`` its first → label, of an operation → gates.
    passed: dict[int, dict[tuple[int, str], int]] = {}
    often: dict[int, int] = {}
    joins = []
    for gate in gates:
        if len(gate.members) > 1:
            joins.append(gate)
            continue
        op = gate.members[0][0]
        token = counts.tokens.get(op)
        key = op
        if token is not None:
            key = ~token[0]
            often[key] = token[1]
        labels = passed.setdefault(key, {})
        label = op, gate.labels[0]
        labels[label] = labels.get(label, 0) + 1
    sources = _Sources(begins, [], [], joins)
    for key, labels in passed.items():
        if key < 0:
            begins += often[key] * max(labels.values())
            continue
        late = labels.pop((key, EXHAUSTED), 0)
        if late:
            sources.late.append((key, late))
        if labels:
            sources.visited.append((key, max(labels.values())))
    return sources._replace(base=begins)


def _fired(counts: Counts, sources: _Sources) -> int:
    fired, visited, late, joins = sources
    for op, passed in visited:
        fired += counts.visits[op] * passed
    for op, passed in late:
        fired += counts.beyond[op] * passed
    for gate in joins:
        fired += counts.fires(gate)
    return min(fired, ENDLESS)


def _put(shape: Shape, counts: Counts, op: int, fired: int) -> bool:
    """Take note of how often an operation fires; return whether that is news."""
    most = shape.specs[op].visits
    if most == 1:
        # One that could fire again would have had to say so.
        fired = min(fired, 1)
    visits = min(fired, most)
    if (visits, fired - visits) == (counts.visits[op], counts.beyond[op]):
        return False
    counts.visits[op], counts.beyond[op] = visits, fired - visits
    return True


def _count_cycle(shape: Shape, part: Sequence[int], counts: Counts) -> None:
    within = frozenset(part)
    sources = {op: _sources(counts, shape.begins[op], shape.into[op]) for op in part}
    steps = max(_STEPS_MIN, _STEPS * len(part))
    #: As they lead to each other, so that it takes few steps.
    ahead = deque(reversed(part))
    waiting = set(part)
    endless: set[int] = set()
    while ahead:
        op = ahead.popleft()
        waiting.discard(op)
        steps -= 1
        if op in endless or not _put(shape, counts, op, _fired(counts, sources[op])):
            continue
        if steps < 0:
            endless.add(op)
            _put(shape, counts, op, ENDLESS)
        for following in shape.successors[op]:
            if following in within and following not in waiting:
                waiting.add(following)
                ahead.append(following)
    for _ in range(_SWEEPS if endless else 0):
        for op in reversed(part):
            _put(shape, counts, op, _fired(counts, sources[op]))
