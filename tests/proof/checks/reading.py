"""The logs of runs as they are written, read event by event: what all checks of runs begin with.

A log is read as it stands, and nothing of what the product makes of it is taken over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.proof.history import Committed
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State

#: Kind of an event → where it tells what it opens.
_OPENED: Final = {"s": 3, "f": 3, "x": 10, "r": 4, "t": 9, "u": 13, "m": 7}
#: And the attempts that it closes as cancelled beside its own.
_CANCELLED: Final = {"x": 13, "t": 8, "u": 12}
#: And by when the run is over from then on.
_DEADLINE: Final = {"t": 4, "u": 7}
#: And why somebody wanted it, and by which order.
REASON: Final = {"t": 6, "u": 10, "m": 5}
ORDER: Final = {"t": 7, "u": 11, "m": 6}
LABEL, RETRY, SIGNAL = 7, 11, 12
#: What the node is called whose visits are the items of an operation: its name, and then one of these.
_ITEM: Final = "["
STEPS: Final = "steps"

Visit = tuple[str, int]
Written = list[Any]


@dataclass(slots=True)
class RunKnown:
    """What is known of a run."""

    header: Mapping[str, Any]
    #: It goes by that now.
    generation: str = ""
    #: By then it is over; None: what has been copied from another run does not tell.
    deadline_ms: int | None = None
    #: After how many commits it was first there.
    since: int = 0
    #: What is read of it just now was copied from another run, or has followed from that at once.
    is_copied: bool = False
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


def cancelled_by(event: Written) -> list[tuple[str, int, int]]:
    """Return the attempts that an event closes beside its own: operation, visit and number."""
    return [(op, visit, attempt) for op, visit, attempt in field_of(event, _CANCELLED.get(event[0], len(event))) or []]


def is_item(op: str) -> bool:
    """Whether the visits of a node are items of others."""
    return op.endswith("]")


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
            run.is_copied = bool(run.header.get("origin")) and run.since == self.state.count
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
            header = change.new.value
            deadline_ms = None if header.get("origin") else header.get("deadline_ms")
            self._runs[change.key] = RunKnown(header, header["generation"], deadline_ms, self.state.count)
            for written in header.get("started") or ():
                yield change.key, written

    def _judge_kept(self, key: str, change: Change, event: Committed) -> None:
        """Judge that a record was written again, or deleted."""

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        """Judge the next event of a run, which does not have it yet."""

    def spec_of(self, run: RunKnown, generation: str = "") -> Mapping[str, Any]:
        """Return the workflow that a run goes by, or another generation of that."""
        header = run.header
        key = f"{header['namespace']}/{header['workflow']}/{generation or run.generation}"
        row = self.state.value("graphs", key)
        return {} if row is None else row["spec"]

    def op_of(self, run: RunKnown, name: str) -> Mapping[str, Any]:
        """Return what is done in the visits of a node: of one that has items nothing is, for these do it."""
        spec = self.spec_of(run)
        told: Mapping[str, Any] = spec.get("operations") or {}
        if is_item(name):
            home, _, place = name.removesuffix("]").partition(_ITEM)
            return told.get(sorted(told)[int(place)] if place else home, {}) if told else {}
        found = told.get(name, {})
        return {key: found[key] for key in ("visits", "next") if key in found} if found.get("foreach") else found


def _follow(run: RunKnown, written: Written) -> None:
    kind, run.seq, run.now_ms = written[:3]
    if kind == "c":
        _, _, _, op, visit, attempt, token = written[:7]
        run.open[op, visit] = attempt, token
    elif kind == "x" and field_of(written, RETRY) is not None:
        _, _, _, op, visit, attempt = written[:6]
        run.open[op, visit] = attempt + 1, ""
    elif kind in "xu":
        run.open.pop((written[3], written[4]), None)
    elif kind == "e":
        run.is_over = True
        run.open.clear()
    elif kind == "m":
        run.generation = written[3]
    for op, visit, _ in cancelled_by(written):
        run.open.pop((op, visit), None)
    if kind in _DEADLINE:
        run.is_over, run.deadline_ms = False, written[_DEADLINE[kind]]
    for op, visit, *_ in opened_by(written):
        run.visits[op] = max(visit, run.visits.get(op, 0))
        run.open[op, visit] = 1, ""
