"""What runs of workflows do, by their own logs: S7, S8 with S10, and S9.

A log is read here as it is written, and what a workflow's edges make of it is worked out anew: nothing is taken over from
what decides it. Of runs that were repaired or moved, and of those with items, a plain replay does that (`tests.core.replaying`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from harpoon.core.event import load
from harpoon.core.graph import Graph, compile_graph
from harpoon.kit import codec
from harpoon.model.workflow import WorkflowSpec
from tests.core.replaying import Replay
from tests.proof.checks.reading import (
    LABEL,
    RETRY,
    OfRuns,
    RunKnown,
    Visit,
    Written,
    cancelled_by,
    field_of,
    is_item,
    opened_by,
)
from tests.proof.history import Committed
from tests.proof.judge import Terms
from tests.proof.state import Change, State

#: Labels of what ran out, whatever its worker says.
_BY_CLOCKS: Final = frozenset({"timeout", "lost"})
_TRIES: Final = {"fail": 1, "timeout": 1, "lost": 5}
#: What a run that is over goes on by.
_REPAIRS: Final = "tu"


class OneCompletion(OfRuns):
    """S7. An attempt is claimed once, by a token of its own, and closed once, by that."""

    name = "S7"
    says = "An attempt of a run is claimed once, by a token that no other ever has, and closed once, by whoever has it."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._tokens: set[str] = set()

    def _judge_kept(self, key: str, change: Change, event: Committed) -> None:
        if change.new is not None:
            raise self.refute(f"the log of run {key} is written again at {change.key}", event)
        if not self._runs[key].is_over:
            raise self.refute(f"{change.key} is deleted, and run {key} is not over", event)

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        kind, seq, now_ms = written[:3]
        if run.is_over and kind not in _REPAIRS:
            raise self.refute(f"run {key} is over, and event {seq} follows", event)
        if seq != run.seq + 1 or now_ms < run.now_ms:
            raise self.refute(f"event {seq} of run {key} follows event {run.seq}", event)
        for one in cancelled_by(written):
            self._judge_open(key, run, one, event)
        if kind == "u":
            self._judge_open(key, run, (written[3], written[4], written[5]), event)
        if kind not in "cx":
            return
        op, visit, attempt, token = written[3:7]
        what = self._judge_open(key, run, (op, visit, attempt), event)
        held = run.open[op, visit][1]
        if kind == "x":
            if token != held:
                raise self.refute(f"{what} is closed by another token than it was claimed by", event)
        elif held:
            raise self.refute(f"{what} is claimed twice", event)
        elif token in self._tokens and not run.is_copied:
            raise self.refute(f"{what} is claimed by a token that there was before", event)
        else:
            self._tokens.add(token)

    def _judge_open(self, key: str, run: RunKnown, which: tuple[str, int, int], event: Committed) -> str:
        """Judge that an attempt is open, or that none of its visit is, if its number is 0; return what it is called."""
        op, visit, attempt = which
        what = f"attempt {attempt} of visit {visit} of {op} in run {key}"
        if run.open.get((op, visit), (0, ""))[0] != attempt:
            raise self.refute(f"{what} is not open", event)
        return what


class FiresOnce(OfRuns):
    """S8 and S10. What is worked out here is the rule of triggers alone: a set of members, complete again and again.

    From the first event on that is more than that, such as a repair, the log is replayed.
    """

    name = "S8"
    says = "Each edge fires once for each closing with its label; a join, once for all of its members having occurred."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._logs: dict[str, list[Written]] = {}
        self._replays: dict[str, Replay] = {}

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        if not run.seq:
            self._logs[key] = []
            self._replays.pop(key, None)
        replay = self._replays.get(key)
        if replay is None and (written[0] in "tum" or any(is_item(op) for op, *_ in opened_by(written))):
            replay = self._replays[key] = Replay(self._graph(run, run.header["generation"]), {})
            self._take(key, run, replay, self._logs.pop(key, []), event)
        if replay is None:
            self._logs.setdefault(key, []).append(written)
            self._judge_plain(key, run, written, event)
            return
        self._take(key, run, replay, [written], event)
        if written[0] == "e" and written[3] == "succeeded" and (replay.left or replay.cut):
            raise self.refute(f"run {key} has succeeded, and has not gone on", event)

    def _graph(self, run: RunKnown, generation: str) -> Graph:
        return compile_graph(codec.load(WorkflowSpec, codec.dump(self.spec_of(run, generation))))

    def _take(self, key: str, run: RunKnown, replay: Replay, log: list[Written], event: Committed) -> None:
        for written in log:
            if written[0] == "m":
                replay.graphs[written[3]] = self._graph(run, written[3])
            try:
                replay.take([load(written)])
            except (AssertionError, LookupError) as error:
                raise self.refute(f"event {written[1]} of run {key} is not what follows: {error!r}", event) from None

    def _judge_plain(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        triggers = triggers_of(self.spec_of(run))
        if written[0] == "x" and field_of(written, RETRY) is None:
            _occur(run, triggers, f"{written[3]}.{written[LABEL]}")
        begun: list[str] = []
        for op, visit, *rest in opened_by(written):
            trigger = rest[0] if rest else None
            if visit != run.visits.get(op, 0) + begun.count(op) + 1:
                raise self.refute(f"visit {visit} of {op} in run {key} is not the next", event)
            begun.append(op)
            if trigger is None:
                if visit > 1:
                    raise self.refute(f"run {key} begins with {op}, which was opened before", event)
            elif triggers[trigger][0] != op or not run.due.get(trigger, 0):
                raise self.refute(f"{op} fires in run {key}, and nothing that opens it is complete", event)
            else:
                run.due[trigger] -= 1
        if written[0] == "e" and written[3] == "succeeded":
            left = [triggers[trigger][0] for trigger, count in run.due.items() if count]
            if left or run.open:
                open_ = left or [op for op, _ in run.open]
                raise self.refute(f"run {key} has succeeded, and has not gone on to {open_[0]}", event)


def triggers_of(spec: Mapping[str, Any]) -> list[tuple[str, frozenset[str]]]:
    """Return what opens an operation, by number: in the order of names, needs first."""
    found: list[tuple[str, frozenset[str]]] = []
    for name, op in sorted(spec.get("operations", {}).items()):
        if op.get("needs"):
            found.append((name, frozenset(need if "." in need else f"{need}.done" for need in op["needs"])))
        for label, targets in sorted((op.get("next") or {}).items()):
            told = [targets] if isinstance(targets, str) else targets
            found += [(target, frozenset({f"{name}.{label}"})) for target in told]
    return found


def part_of(triggers: list[tuple[str, frozenset[str]]], op: str) -> set[str]:
    """Return an operation, and all that it leads to."""
    found, before = {op}, set[str]()
    while found != before:
        before = set(found)
        found |= {one for one, members in triggers if any(member.partition(".")[0] in before for member in members)}
    return found


def _occur(run: RunKnown, triggers: list[tuple[str, frozenset[str]]], member: str) -> None:
    for number, (_, members) in enumerate(triggers):
        if member in members:
            occurred = run.occurred.setdefault(number, set())
            occurred.add(member)
            if occurred == members:
                occurred.clear()
                run.due[number] = run.due.get(number, 0) + 1


@dataclass(slots=True)
class _Spent:
    """What a run has used up."""

    #: Operation → visits since these were allowed anew; and all that there were.
    used: Counter[str] = field(default_factory=Counter)
    visited: Counter[str] = field(default_factory=Counter)
    #: Open visits, but for items; those that its end has cut short.
    open: set[Visit] = field(default_factory=set)
    cut: set[Visit] = field(default_factory=set)
    #: Those beyond the visits of their operation.
    beyond: set[Visit] = field(default_factory=set)
    #: The most that one operation may be visited, by whatever generation; repairs and moves that there were.
    most: Counter[str] = field(default_factory=Counter)
    repairs: int = 0
    #: Visit → how often it ended by which clock.
    tries: dict[Visit, Counter[str]] = field(default_factory=dict)


class WithinBounds(OfRuns):
    """S9. That a run ends by its deadline is a matter of clocks: see L3.

    A repair allows the visits of its part anew, and gives those back that an end has cut short.
    """

    name = "S9"
    says = "No operation is visited more often than its visits, and each visit tried as often as its retries allow."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._spent: dict[str, _Spent] = {}

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        kind = written[0]
        spent = _Spent() if not run.seq else self._spent.setdefault(key, _Spent())
        self._spent[key] = spent
        if kind in "cx":
            self._judge_attempt(key, run, written, event)
        if kind in "xu" and (kind == "u" or field_of(written, RETRY) is None):
            spent.open.discard((written[3], written[4]))
        spent.open.difference_update((op, visit) for op, visit, _ in cancelled_by(written))
        if kind == "e":
            spent.cut, spent.open = spent.open, set()
        elif kind in _REPAIRS:
            self._repair(run, spent, written)
        elif kind == "m":
            spent.repairs += 1
        for op, visit, *_ in opened_by(written):
            if not is_item(op):
                self._visit(key, run, (op, visit), written, event)

    def _repair(self, run: RunKnown, spent: _Spent, written: Written) -> None:
        spent.repairs += 1
        its = (written[3], written[4]) if written[0] == "u" else None
        for op, visit in spent.cut if run.is_over else ():
            spent.used[op] -= (op, visit) != its and (op, visit) not in spent.beyond
        spent.cut = set()
        if written[0] == "t":
            for op in part_of(triggers_of(self.spec_of(run)), written[3]):
                spent.used[op] = 0

    def _visit(self, key: str, run: RunKnown, visit: Visit, written: Written, event: Committed) -> None:
        spent, (op, _) = self._spent[key], visit
        generation = written[3] if written[0] == "m" else run.generation
        most = self.spec_of(run, generation).get("operations", {}).get(op, {}).get("visits", 1)
        spent.open.add(visit)
        if spent.used[op] >= most:
            spent.beyond.add(visit)
            return
        spent.used[op] += 1
        spent.visited[op] += 1
        spent.most[op] = max(most, spent.most[op])
        if spent.visited[op] > spent.most[op] * (1 + spent.repairs):
            raise self.refute(f"{op} in run {key} is visited more often than its repairs allow", event)

    def _judge_attempt(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        op, visit, attempt = written[3:6]
        told = self.op_of(run, op)
        spent = self._spent[key]
        is_plain = not (spent.repairs or is_item(op))
        is_beyond = (op, visit) in spent.beyond or (is_plain and visit > told.get("visits", 1))
        if is_beyond and (written[0] == "c" or written[LABEL] != "exhausted"):
            raise self.refute(f"visit {visit} of {op} in run {key} is beyond its visits, and not exhausted", event)
        if not (is_beyond or is_plain) and written[0] == "x" and written[LABEL] == "exhausted":
            raise self.refute(f"visit {visit} of {op} in run {key} is exhausted, and there are visits left", event)
        retry = told.get("retry") or {}
        tries = sum((retry.get(kind) or {}).get("attempts", usual) - 1 for kind, usual in _TRIES.items())
        what = f"attempt {attempt} of visit {visit} of {op} in run {key}"
        if attempt > tries + 1:
            raise self.refute(f"{what} is one too many", event)
        if written[0] == "x" and written[LABEL] in _BY_CLOCKS and told.get("worker"):
            self._judge_given_up(what, key, told, written, event)

    def _judge_given_up(self, what: str, key: str, told: Mapping[str, Any], written: Written, event: Committed) -> None:
        """Judge whether a visit whose worker fell silent, or was too slow, is tried again; handlers may have no use for it."""
        label = written[LABEL]
        spent = self._spent[key].tries.setdefault((written[3], written[4]), Counter())
        spent[label] += 1
        most = ((told.get("retry") or {}).get(label) or {}).get("attempts", _TRIES[label])
        if (field_of(written, RETRY) is None) != (spent[label] >= most):
            raise self.refute(f"{what} is {label} for the {spent[label]}. time, of {most}", event)
