"""Small graphs for tests, and everything that their runs can come to, found by trying it all."""

from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import strategies as st

from harpoon.core.wiring import Wiring, possible, wire
from harpoon.kit import codec
from harpoon.model.label import EXHAUSTED, Member
from harpoon.model.workflow import WorkflowSpec

#: Firings in one run that are followed.
FIRINGS_MAX = 10
#: States of its runs that are tried.
STATES_MAX = 400


def spec(start: str | None = None, **operations: Any) -> WorkflowSpec:
    """Return the spec of a workflow of these operations; those that say nothing of what they do are workers."""
    kinds = ("worker", "wait", "choose")
    told = {name: op if any(kind in op for kind in kinds) else {"worker": "w", **op} for name, op in operations.items()}
    rest = {} if start is None else {"start": start}
    return codec.decode(WorkflowSpec, orjson.dumps({"operations": told, **rest}))


class Run:
    """A run of a graph in which nobody works: what is open, what each trigger waits for, how often each fired."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.fired = dict.fromkeys(wiring.spec.operations, 0)
        self.open: list[tuple[str, bool]] = []
        self.seen: dict[int, frozenset[Member]] = {}
        self.met: frozenset[int] = frozenset()
        for name in wiring.starts:
            self.fire(name)

    def copy(self) -> "Run":
        other = object.__new__(Run)
        other.wiring, other.fired, other.open = self.wiring, dict(self.fired), list(self.open)
        other.seen, other.met = dict(self.seen), self.met
        return other

    def fire(self, name: str) -> None:
        self.fired[name] += 1
        self.open.append((name, self.fired[name] > self.wiring.spec.operations[name].visits))

    def close(self, at: int, label: str) -> None:
        name, _ = self.open.pop(at)
        member = Member(name, label)
        for trigger in self.wiring.out[name].get(label, ()):
            seen = self.seen.get(trigger.index, frozenset()) | {member}
            if seen == set(trigger.members):
                seen = frozenset()
                self.met |= {trigger.index}
                self.fire(trigger.op)
            self.seen[trigger.index] = seen

    def state(self) -> object:
        return (tuple(sorted(self.open)), tuple(self.fired.items()), tuple(sorted(self.seen.items())), self.met)


def ends(wiring: Wiring, states_max: int) -> Iterator[Run]:
    """Yield every state that a run can come to, as far as it fires no more than `FIRINGS_MAX` times."""
    ahead, known = [Run(wiring)], set()
    while ahead:
        run = ahead.pop()
        yield run
        if sum(run.fired.values()) > FIRINGS_MAX:
            continue
        for at, (name, is_exhausted) in enumerate(run.open):
            op = wiring.spec.operations[name]
            labels = [EXHAUSTED] if is_exhausted else sorted(possible(op) - {EXHAUSTED})
            # Labels that lead nowhere are all alike.
            dull = [label for label in labels if label not in wiring.out[name]]
            for label in [*(label for label in labels if label in wiring.out[name]), *dull[:1]]:
                after = run.copy()
                after.close(at, label)
                state = after.state()
                if state not in known:
                    known.add(state)
                    if len(known) > states_max:
                        return
                    ahead.append(after)


@st.composite
def specs(draw: st.DrawFn, *, size: int = 6, is_acyclic: bool = False) -> WorkflowSpec:
    """Draw workflows of a few operations, wired at random."""
    names = "abcdefgh"[: draw(st.integers(1, size))]
    operations: dict[str, Any] = {}
    for at, name in enumerate(names):
        after, before = (names[at + 1 :], names[:at]) if is_acyclic else (names, names)
        op: dict[str, Any] = {"worker": "w", "visits": draw(st.sampled_from([1, 1, 2, 3]))}
        if after:
            targets = st.lists(st.sampled_from(after), min_size=1, max_size=2, unique=True)
            labels = st.sampled_from(["done", "fail", "x", "exhausted"])
            op["next"] = draw(st.dictionaries(labels, targets, max_size=2))
        if before:
            members = st.tuples(st.sampled_from(before), st.sampled_from(["", ".fail", ".x"])).map("".join)
            op["needs"] = draw(st.one_of(st.just([]), st.lists(members, min_size=2, max_size=3, unique=True)))
        op["labels"] = ["x"]
        operations[name] = op
    start = draw(st.none() | st.sampled_from(names))
    return spec(start, **operations)


def begins(told: WorkflowSpec) -> bool:
    """Whether there is something that a run begins with."""
    return not wire(told)[1]


def wiring(told: WorkflowSpec) -> Wiring:
    found, flaws = wire(told)
    assert not flaws, flaws
    return found
