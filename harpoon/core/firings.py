"""How often each operation of a graph may fire in one run: an upper bound, from the shape of the graph alone.

A visit is closed with one label, so what follows on different labels of one visit excludes one another, and what
follows on one label does not. Wherever a label opens several operations, a run *forks*. Two things may both occur in a
run where two branches of one fork lead to them, one to each. So each operation that fires at most once keeps the
branches that lead to it, as the bits of a number: of all forks, side by side.

In a cycle that never opens more than it closes, what came in goes round, and comes out once: all that leads out of it
excludes one another, like the labels of one operation. A cycle that opens more than it closes can fire everything in
it, and after it, any number of times.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from harpoon.core.components import components
from harpoon.core.wiring import Trigger, Wiring
from harpoon.model.label import EXHAUSTED, Member

#: As often as one likes.
ENDLESS: Final = 1 << 30


class Source(NamedTuple):
    """Something that opens an operation, or some operations of a cycle: a trigger, or that a run begins with it."""

    op: str
    #: None: the run begins with it.
    trigger: Trigger | None


class Excluded(NamedTuple):
    """A trigger of several members that never fires, since two of them never occur in one run."""

    trigger: Trigger
    one: Member
    other: Member


@dataclass(slots=True)
class Firings:
    """How often each operation may fire."""

    #: Operation → at most so often; `ENDLESS`: there is no limit but ``visits``.
    counts: dict[str, int] = field(default_factory=dict)
    #: Of an operation that may fire more often than once, two sources that may both open it, or one twice.
    because: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    #: Sets of operations that lead to each other.
    cycles: list[list[str]] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)


#: How often something may occur, and, if that is once and known, the branches of forks that lead to it. There are many
#: of these, so they are plain tuples.
_State = tuple[int, int | None]
_ONCE: Final[_State] = (1, None)


def firings(wiring: Wiring, live: Sequence[Trigger], opened: Iterable[str]) -> Firings:
    """Return how often each operation may fire that can be opened.

    Args:
        wiring: The graph.
        live: Triggers of it that can fire.
        opened: Operations that can be opened, each once.
    """
    return _Reckoning(wiring, live, opened).reckon()


class _Reckoning:
    """Reckons the firings of one graph."""

    def __init__(self, wiring: Wiring, live: Sequence[Trigger], opened: Iterable[str]) -> None:
        self._wiring = wiring
        self._ops = wiring.spec.operations
        self._starts = frozenset(wiring.starts)
        self._is_live = [False] * len(wiring.triggers)
        for trigger in live:
            self._is_live[trigger.index] = True
        self._names = list(opened)
        self._told = Firings()
        self._out = wiring.out if all(self._is_live) else {name: self._live_out(name) for name in self._names}
        #: Operation → the state of what leads out of it, whatever the label.
        self._after: dict[str, _State] = {}
        #: Without two labels to choose from anywhere, everything that can occur does.
        self._is_certain = all(len(self._out[name]) < 2 for name in self._names)
        #: Of the forks: operation → label → index of a trigger → its bit.
        self._bits: dict[str, dict[str, dict[int, int]]] = {}
        self._ones, self._guards = 0, 0
        self._roots: dict[str, int] = {}
        if not self._is_certain:
            self._find_forks()

    def reckon(self) -> Firings:
        numbers = {name: number for number, name in enumerate(self._names)}
        successors = [
            [numbers[trigger.op] for triggers in self._out[name].values() for trigger in triggers]
            for name in self._names
        ]
        for component in reversed(components(successors)):
            if len(component) == 1 and component[0] not in successors[component[0]]:
                self._single(self._names[component[0]])
            else:
                names = sorted(self._names[number] for number in component)
                self._told.cycles.append(names)
                self._cycle(names)
        return self._told

    def _live_out(self, name: str) -> Mapping[str, list[Trigger]]:
        out = self._wiring.out[name]
        alive = {label: [one for one in triggers if self._is_live[one.index]] for label, triggers in out.items()}
        return {label: triggers for label, triggers in alive.items() if triggers}

    def _find_forks(self) -> None:
        if len(self._wiring.starts) > 1:
            self._roots = dict(zip(self._wiring.starts, self._fork(len(self._wiring.starts)), strict=True))
        for name in self._names:
            for label, triggers in self._out[name].items():
                if len(triggers) > 1:
                    bits = self._fork(len(triggers))
                    of_triggers = {trigger.index: bit for trigger, bit in zip(triggers, bits, strict=True)}
                    self._bits.setdefault(name, {})[label] = of_triggers

    def _fork(self, branches: int) -> list[int]:
        """Give each branch of a fork its bit, and the fork one above them that is never set."""
        low = self._guards.bit_length()
        self._ones |= ((1 << branches) - 1) << low
        self._guards |= 1 << (low + branches)
        return [1 << (low + branch) for branch in range(branches)]

    def _single(self, name: str) -> None:
        sources = self._sources([name], frozenset())
        state, because = (sources[0][1], ()) if len(sources) == 1 else self._merged(sources)
        self._told.counts[name] = state[0]
        if state[0] > 1:
            self._told.because[name] = because or (sources[0][0],)
        self._after[name] = state

    def _cycle(self, names: Sequence[str]) -> None:
        within = frozenset(names)
        state, _ = self._merged(self._sources(names, within))
        for name in names:
            self._told.counts[name] = ENDLESS
            for triggers in self._out[name].values():
                if len(triggers) > 1 and any(trigger.op in within for trigger in triggers):
                    state = (ENDLESS, None)
        for name in names:
            self._after[name] = state

    def _sources(self, names: Sequence[str], within: frozenset[str]) -> list[tuple[Source, _State]]:
        """Return what opens some operations from outside, with how often each may; something always may."""
        found: list[tuple[Source, _State]] = []
        for name in names:
            if name in self._starts:
                found.append((Source(name, None), (1, self._roots.get(name, 0))))
            for trigger in self._wiring.into[name]:
                is_entry = not within or not any(member.op in within for member in trigger.members)
                if is_entry and self._is_live[trigger.index]:
                    found.append((Source(name, trigger), self._of_trigger(trigger)))
        # What follows on `exhausted` where that never occurs, is there for good measure: it is no flaw.
        return [one for one in found if one[1][0]] or [(source, _ONCE) for source, _ in found[:1]]

    def _of_trigger(self, trigger: Trigger) -> _State:
        """Return how often a trigger may fire: as often as the rarest of its members."""
        if len(trigger.members) == 1:
            return self._of_member(trigger.members[0], trigger)
        if self._is_certain:
            after = self._after
            # Mostly all of them occur once.
            each = [
                1 if after[op][0] == 1 and label != EXHAUSTED else self._often(op, label)
                for op, label in trigger.members
            ]
            return min(each), 0
        count = ENDLESS
        branches: int | None = None
        told: list[tuple[Member, int]] = []
        excluded = self._too_many(trigger)
        for member in trigger.members:
            often, led = self._of_member(member, trigger)
            count = min(count, often)
            if led is None:
                continue
            if excluded is None and not self._may_both(branches, led):
                others = (one for one, bits in told if not self._may_both(bits, led))
                excluded = next((Excluded(trigger, other, member) for other in others), None)
            told.append((member, led))
            branches = (branches or 0) | led
        if excluded is not None:
            self._told.excluded.append(excluded)
        return count, branches if count == 1 else None

    def _too_many(self, trigger: Trigger) -> Excluded | None:
        """Return two labels of an operation of which more are needed than it has visits, where it may fire again."""
        labels: dict[str, list[Member]] = {}
        for member in trigger.members:
            if member.label != EXHAUSTED:
                labels.setdefault(member.op, []).append(member)
        for op, members in labels.items():
            if self._after[op][1] is None and 1 < self._ops[op].visits < len(members):
                return Excluded(trigger, members[-2], members[-1])
        return None

    def _of_member(self, member: Member, trigger: Trigger) -> _State:
        op, label = member
        branches = self._after[op][1]
        if branches is not None and op in self._bits and label in self._bits[op]:
            branches |= self._bits[op][label][trigger.index]
        return self._often(op, label), branches

    def _often(self, op: str, label: str) -> int:
        """Return how often an operation is closed so, at most."""
        count, most = self._after[op][0], self._ops[op].visits
        if label == EXHAUSTED:
            most = max(self._told.counts[op] - most, 0)
        return min(count, most)

    def _merged(self, sources: Sequence[tuple[Source, _State]]) -> tuple[_State, tuple[Source, ...]]:
        """Return how often any of some sources opens what they open, and if that is more than once, by which."""
        total = 0
        branches: int | None = None
        because: tuple[Source, ...] = ()
        for number, (source, (count, led)) in enumerate(sources):
            if count > 1:
                because = because or (source,)
            elif not because and number and self._may_both(branches, led):
                before = (one for one, (_, other) in sources[:number] if self._may_both(other, led))
                because = (next(before, sources[0][0]), source)
            total += count
            branches = self._either(branches, led) if number else led
        if because:
            return (min(total, ENDLESS), None), because
        return (1, branches), because

    def _either(self, one: int | None, other: int | None) -> int | None:
        """Return the branches that lead to one of two things that exclude one another.

        They are not known where both come from one fork by other sets of its branches: one of them may then go
        together with something that the other excludes.
        """
        if one is None or other is None or self._forks(one) & self._forks(other) & self._forks(one ^ other):
            return None
        return one | other

    def _may_both(self, one: int | None, other: int | None) -> bool:
        """Whether two things that occur at most once may occur in one run: a fork leads to them by other branches."""
        if self._is_certain or one is None or other is None:
            return True
        return bool(self._forks(one) & self._forks(other) & ~self._forks(one & other))

    def _forks(self, branches: int) -> int:
        """Return the forks any branch of which is set, as their upper bits: adding ones carries into those."""
        return (branches + self._ones) & self._guards
