"""What runs of workflows do, by their own logs: S7, S8 with S10, and S9.

A log is read here as it is written, and what a workflow's edges make of it is worked out anew: nothing is taken over from
what decides it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.proof.history import Committed
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State

#: Kind of an event → where it tells what it opens, what it is about, and by which token.
_OPENED: Final = {"s": 3, "f": 3, "x": 10, "r": 4}
LABEL, RETRY = 7, 11
#: Labels of what ran out, whatever its worker says.
_BY_CLOCKS: Final = frozenset({"timeout", "lost"})
_TRIES: Final = {"fail": 1, "timeout": 1, "lost": 5}

Visit = tuple[str, int]
Written = list[Any]


@dataclass(slots=True)
class RunKnown:
    """What is known of a run."""

    header: Mapping[str, Any]
    seq: int = 0
    now_ms: int = 0
    is_over: bool = False
    #: Each open visit → its attempt, and the token by which that is claimed.
    open: dict[Visit, tuple[int, str]] = field(default_factory=dict)
    #: Operation → its latest visit.
    visits: dict[str, int] = field(default_factory=dict)
    #: Trigger → which of its members have occurred, and how often it is complete and has not fired.
    occurred: dict[int, set[str]] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)


def field_of(event: Written, at: int) -> Any:
    """Return a field; those at the end are left out where they are empty."""
    return event[at] if at < len(event) else None


def opened_by(event: Written) -> list[Written]:
    return field_of(event, _OPENED.get(event[0], len(event))) or []


class OfRuns(Check):
    """Reads the logs of runs, event by event."""

    tables = ("runs", "log")

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._runs: dict[str, RunKnown] = {}

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            self._runs.clear()
        for key, written in self._written(event):
            run = self._runs[key]
            self._judge(key, run, written, event)
            _follow(run, written)

    def _written(self, event: Committed) -> Iterator[tuple[str, Written]]:
        """Yield the events of a commit: headers hold those that a run begins with."""
        for change in self.state.changed:
            if change.table == "runs":
                yield from self._of_header(change)
        for change in self.state.changed:
            if change.table == "log":
                key, _, name = change.key.rpartition("/")
                # Parts of a record that was cut mean nothing by themselves, and may be written again.
                if key not in self._runs or "." in name:
                    continue
                if change.old is not None:
                    self._judge_kept(key, change, event)
                if change.new is not None and isinstance(change.new.value, list):
                    for written in change.new.value:
                        yield key, written

    def _of_header(self, change: Change) -> Iterator[tuple[str, Written]]:
        if change.new is None:
            self._runs.pop(change.key, None)
        elif change.key in self._runs:
            self._runs[change.key].header = change.new.value
        else:
            self._runs[change.key] = RunKnown(change.new.value)
            for written in change.new.value.get("started") or ():
                yield change.key, written

    def _judge_kept(self, key: str, change: Change, event: Committed) -> None:
        """Judge that a record was written again, or deleted."""

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        """Judge the next event of a run, which does not have it yet."""

    def spec_of(self, run: RunKnown) -> Mapping[str, Any]:
        """Return the workflow that a run goes by."""
        header = run.header
        row = self.state.value("graphs", f"{header['namespace']}/{header['workflow']}/{header['generation']}")
        return {} if row is None else row["spec"]


def _follow(run: RunKnown, written: Written) -> None:
    kind, run.seq, run.now_ms = written[:3]
    if kind == "c":
        _, _, _, op, visit, attempt, token = written[:7]
        run.open[op, visit] = attempt, token
    elif kind == "x":
        _, _, _, op, visit, attempt = written[:6]
        if field_of(written, RETRY) is None:
            run.open.pop((op, visit), None)
        else:
            run.open[op, visit] = attempt + 1, ""
    elif kind == "e":
        run.is_over = True
    for op, visit, *_ in opened_by(written):
        run.visits[op] = visit
        run.open[op, visit] = 1, ""


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
        if run.is_over:
            raise self.refute(f"run {key} is over, and event {seq} follows", event)
        if seq != run.seq + 1 or now_ms < run.now_ms:
            raise self.refute(f"event {seq} of run {key} follows event {run.seq}", event)
        if kind not in "cx":
            return
        op, visit, attempt, token = written[3:7]
        what = f"attempt {attempt} of visit {visit} of {op} in run {key}"
        is_open, held = run.open.get((op, visit), (0, ""))
        if is_open != attempt:
            raise self.refute(f"{what} is not open", event)
        if kind == "x":
            if token != held:
                raise self.refute(f"{what} is closed by another token than it was claimed by", event)
        elif held:
            raise self.refute(f"{what} is claimed twice", event)
        elif token in self._tokens:
            raise self.refute(f"{what} is claimed by a token that there was before", event)
        else:
            self._tokens.add(token)


class FiresOnce(OfRuns):
    """S8 and S10. What is worked out here is the rule of triggers alone: a set of members, complete again and again."""

    name = "S8"
    says = "Each edge fires once for each closing with its label; a join, once for all of its members having occurred."

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        spec = self.spec_of(run)
        triggers = _triggers(spec)
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


def _triggers(spec: Mapping[str, Any]) -> list[tuple[str, frozenset[str]]]:
    """Return what opens an operation, by number: in the order of names, needs first."""
    found: list[tuple[str, frozenset[str]]] = []
    for name, op in sorted(spec.get("operations", {}).items()):
        if op.get("needs"):
            found.append((name, frozenset(need if "." in need else f"{need}.done" for need in op["needs"])))
        for label, targets in sorted((op.get("next") or {}).items()):
            told = [targets] if isinstance(targets, str) else targets
            found += [(target, frozenset({f"{name}.{label}"})) for target in told]
    return found


def _occur(run: RunKnown, triggers: list[tuple[str, frozenset[str]]], member: str) -> None:
    for number, (_, members) in enumerate(triggers):
        if member in members:
            occurred = run.occurred.setdefault(number, set())
            occurred.add(member)
            if occurred == members:
                occurred.clear()
                run.due[number] = run.due.get(number, 0) + 1


class WithinBounds(OfRuns):
    """S9. That a run ends by its deadline is a matter of clocks: see L3."""

    name = "S9"
    says = "No operation is visited more often than its visits, and each visit tried as often as its retries allow."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Run, operation and visit → how often it ended by which clock.
        self._spent: dict[tuple[str, str, int], Counter[str]] = {}

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        if written[0] == "s":
            self._spent = {known: spent for known, spent in self._spent.items() if known[0] != key}
        if written[0] not in "cx":
            return
        op, visit, attempt = written[3:6]
        told = self.spec_of(run).get("operations", {}).get(op, {})
        if visit > told.get("visits", 1) and (written[0] == "c" or written[LABEL] != "exhausted"):
            raise self.refute(f"visit {visit} of {op} in run {key} is beyond its visits, and not exhausted", event)
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
        spent = self._spent.setdefault((key, written[3], written[4]), Counter())
        spent[label] += 1
        most = ((told.get("retry") or {}).get(label) or {}).get("attempts", _TRIES[label])
        if (field_of(written, RETRY) is None) != (spent[label] >= most):
            raise self.refute(f"{what} is {label} for the {spent[label]}. time, of {most}", event)
