"""What is wrong with the shape of a workflow: what nothing leads to, what can never fire, what fires too often."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from harpoon.core.components import components, way_round
from harpoon.core.firings import Excluded, Firings, Source, firings
from harpoon.core.wiring import Flaw, Trigger, Wiring
from harpoon.model.label import EXHAUSTED
from harpoon.model.operation import VISITS_MAX

#: Operations of a way that are named: so many from its beginning, and so many from its end.
_FIRST: Final = 8
_LAST: Final = 3


class Spread:
    """What a run can come to, whatever its operations are closed with."""

    def __init__(self, wiring: Wiring) -> None:
        #: Operations that can be opened, in the order in which they first can.
        self.opened = dict.fromkeys(wiring.starts)
        #: Triggers that can fire.
        self.live: list[Trigger] = []
        missing = [len(trigger.members) for trigger in wiring.triggers]
        ahead = list(wiring.starts)
        while ahead:
            for triggers in wiring.out[ahead.pop()].values():
                for trigger in triggers:
                    missing[trigger.index] -= 1
                    if not missing[trigger.index]:
                        self.live.append(trigger)
                        if trigger.op not in self.opened:
                            self.opened[trigger.op] = None
                            ahead.append(trigger.op)


def graph_flaws(wiring: Wiring) -> Iterator[Flaw]:
    """Yield what is wrong, as far as its names do not hide it. It takes time in proportion to the graph."""
    spread = Spread(wiring)
    if wiring.is_whole and wiring.starts:
        yield from _never_opened(wiring, spread)
    told = firings(wiring, spread.live, spread.opened)
    for excluded in told.excluded:
        yield _never_fires(excluded)
    yield from _fire_again(wiring, spread, told)
    yield from _endless(wiring)


def way(names: Sequence[str]) -> str:
    """Write a way through operations, its middle left out where it is long."""
    left_out = len(names) - _FIRST - _LAST
    if left_out > 1:
        names = [*names[:_FIRST], f"({left_out} more)", *names[-_LAST:]]
    return " → ".join(names)


def _never_opened(wiring: Wiring, spread: Spread) -> Iterator[Flaw]:
    """Yield, of what is never opened, whatever does not only follow from something else that is not."""
    closed = [name for name in wiring.spec.operations if name not in spread.opened]
    numbers = {name: number for number, name in enumerate(closed)}
    successors = _successors(wiring, closed, numbers)
    found = components(successors)
    component_of = {number: at for at, component in enumerate(found) for number in component}
    entered = {
        component_of[following]
        for number, all_following in enumerate(successors)
        for following in all_following
        if component_of[following] != component_of[number]
    }
    for at, component in enumerate(found):
        if at in entered:
            continue
        first = min(component)
        if first in successors[first] or len(component) > 1:
            round_ = way([closed[number] for number in way_round(first, successors, set(component))])
            yield Flaw(f"/spec/operations/{closed[first]}", f"it can never open, for it waits for itself: {round_}")
        else:
            begins = f"the run begins with {', '.join(wiring.starts[:_FIRST])}"
            yield Flaw(
                f"/spec/operations/{closed[first]}",
                f"nothing leads to it, and {begins}; name it in the next of another operation, or give it needs",
            )
    if closed:
        yield from _never_met(wiring, spread)


def _never_met(wiring: Wiring, spread: Spread) -> Iterator[Flaw]:
    """Yield the needs of operations that other triggers open, but that are never met themselves."""
    for trigger in wiring.triggers:
        if trigger.op not in spread.opened or len(trigger.members) == 1:
            continue
        for index, member in enumerate(trigger.members):
            if member.op not in spread.opened:
                yield Flaw(
                    f"/spec/operations/{trigger.op}/needs/{index}",
                    f"{member} never occurs, for {member.op} can never open; so these needs are never met",
                )


def _never_fires(excluded: Excluded) -> Flaw:
    trigger, one, other = excluded
    if one.op == other.op:
        why = f"{one.op} is never closed as {one.label} and as {other.label} in one run"
    else:
        why = f"{one} and {other} exclude one another"
    return Flaw(
        f"/spec/operations/{trigger.op}/needs",
        f"it can never be met: {why}; for either of them, write an edge in the next of each",
    )


def _fire_again(wiring: Wiring, spread: Spread, told: Firings) -> Iterator[Flaw]:
    """Yield the operations that may fire more often than once, but do not say how often."""
    lacking = {name for name in told.counts if wiring.spec.operations[name].visits == 1}
    cycles = [cycle for cycle in told.cycles if not lacking.isdisjoint(cycle)]
    if cycles:
        yield from _in_cycles(wiring, spread, cycles, lacking)
    for name, because in told.because.items():
        if name in lacking:
            yield Flaw(f"/spec/operations/{name}/visits", _why_again(because))


def _in_cycles(
    wiring: Wiring, spread: Spread, cycles: Sequence[Sequence[str]], lacking: Collection[str]
) -> Iterator[Flaw]:
    opened = list(spread.opened)
    numbers = {name: number for number, name in enumerate(opened)}
    successors = _successors(wiring, opened, numbers, {trigger.index for trigger in spread.live})
    for cycle in cycles:
        within = {numbers[name] for name in cycle}
        #: Operation → a way round that it is on, and where.
        rounds: dict[str, tuple[list[str], int]] = {}
        for name in cycle:
            if name not in lacking:
                continue
            if name not in rounds:
                found = [opened[number] for number in way_round(numbers[name], successors, within)][:-1]
                rounds = {one: (found, at) for at, one in enumerate(found)} | rounds
            round_, at = rounds[name]
            told = way([*round_[at:], *round_[:at], name])
            yield Flaw(f"/spec/operations/{name}/visits", f"it may fire again and again, {told}; {_HOW_OFTEN}")


_HOW_OFTEN: Final = f"say how often at most, such as visits: 2 (up to {VISITS_MAX})"


def _why_again(because: tuple[Source, ...]) -> str:
    """Say by what an operation may fire more often than once, and what to do."""
    told = ["the beginning of the run" if one.trigger is None else _members(one.trigger) for one in because]
    if len(told) == 1:
        return f"it may fire more often than once, for {told[0]} may occur more often; {_HOW_OFTEN}"
    if told[0] == told[1]:
        return f"it fires twice on {told[0]}, which leads to it twice; leave one out, or {_HOW_OFTEN}"
    return (
        f"it may fire more often than once, on {told[0]} and on {told[1]}, which may both occur; "
        f"join them in its needs, or {_HOW_OFTEN}"
    )


def _members(trigger: Trigger) -> str:
    shown = [str(member) for member in trigger.members[:3]]
    return ", ".join(shown) + (", …" if len(trigger.members) > 3 else "")


def _endless(wiring: Wiring) -> Iterator[Flaw]:
    """Yield the cycles of edges on ``exhausted`` alone, which ``visits`` does not end."""
    exhausted = {
        trigger.index for trigger in wiring.triggers if all(member.label == EXHAUSTED for member in trigger.members)
    }
    if not exhausted:
        return
    names = list(wiring.spec.operations)
    numbers = {name: number for number, name in enumerate(names)}
    successors = _successors(wiring, names, numbers, exhausted)
    for component in components(successors):
        first = min(component)
        if len(component) > 1 or first in successors[first]:
            round_ = way([names[number] for number in way_round(first, successors, set(component))])
            yield Flaw(
                f"/spec/operations/{names[first]}",
                f"once it is exhausted the run would go round for ever, {round_}; let {EXHAUSTED} lead out of there",
            )


def _successors(
    wiring: Wiring, names: Sequence[str], numbers: dict[str, int], among: Collection[int] | None = None
) -> list[list[int]]:
    """Return what operations lead to, by their numbers; by some triggers, or by all."""
    return [
        [
            numbers[trigger.op]
            for triggers in wiring.out[name].values()
            for trigger in triggers
            if trigger.op in numbers and (among is None or trigger.index in among)
        ]
        for name in names
    ]
