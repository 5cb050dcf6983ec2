"""What is done for each of several items, in an operation with ``foreach`` or a batch: S28."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.proof.checks.conducting import part_of, triggers_of
from tests.proof.checks.reading import (
    LABEL,
    REASON,
    RETRY,
    STEPS,
    OfRuns,
    RunKnown,
    Visit,
    Written,
    cancelled_by,
    field_of,
    is_item,
    opened_by,
)
from tests.proof.history import Committed, RunAsked, RunTold
from tests.proof.judge import Terms
from tests.proof.state import State

_FAILURES: Final = frozenset({"fail", "timeout", "lost", "exhausted"})
#: Where a retry tells the items that it does anew.
_ITEMS: Final = 10
_INPUT: Final = 3
_PARALLEL, _MOST = 50, 500


@dataclass(slots=True)
class _Group:
    """The items of a visit."""

    count: int
    #: Those that are to be done.
    wanted: tuple[int, ...]
    #: What was opened, and not closed: its visit → which item that is.
    open: dict[Visit, int] = field(default_factory=dict)
    #: Item → the label that it was closed with.
    came: dict[int, str] = field(default_factory=dict)
    opened: list[int] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(label in _FAILURES for index, label in self.came.items() if index in self.opened)

    def left(self) -> list[int]:
        """Return the items that came to nothing."""
        return [index for index in range(self.count) if self.came.get(index, "") in ("", "cancelled", *_FAILURES)]


class ItemsOnce(OfRuns):
    """S28. Of what was done anew, the others keep what they came to."""

    name = "S28"
    says = (
        "Each item is opened once, in its order, while less than `parallel` are under way; what has items comes to an end by "
        "what all of them came to; a retry of some does these anew and no others."
    )

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Run → operation and visit → its items; of visits that were closed, the latest of each operation.
        self._groups: dict[str, dict[Visit, _Group]] = {}
        self._went: dict[str, dict[str, _Group]] = {}
        #: Run → operation → items that its next visit does anew.
        self._anew: dict[str, dict[str, tuple[int, ...]]] = {}
        #: Run and reason of a retry → the items that it does anew, and those that had come to nothing.
        self._retried: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self._asked: dict[str, RunAsked] = {}

    def on_run_asked(self, event: RunAsked) -> None:
        if event.verb == "retry" and event.args.get("items") is not None:
            self._asked[event.op] = event

    def on_run_told(self, event: RunTold) -> None:
        asked = self._asked.pop(event.op, None)
        told = None if asked is None else self._retried.get((asked.run, asked.args["reason"]))
        if asked is None or told is None or event.outcome != "done":
            return
        anew, left = told
        if anew != sorted(asked.args["items"] or left):
            raise self.refute(f"items {anew} of run {asked.run} are done anew, and others were asked for", asked, event)

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        kind = written[0]
        if not run.seq:
            self._groups[key], self._went[key], self._anew[key] = {}, {}, {}
        groups = self._groups[key]
        if kind == "t":
            self._note_retry(key, run, written, event)
        if kind in "xu" and (kind == "u" or field_of(written, RETRY) is None):
            self._close(key, run, written, event)
        for op, visit, _ in cancelled_by(written):
            self._close_by(key, run, (op, visit), "cancelled")
        if kind == "e":
            self._went[key] |= {op: group for (op, _), group in groups.items()}
            groups.clear()
        for opened in opened_by(written):
            self._open(key, run, opened, event)

    def _each(self, run: RunKnown, op: str) -> Mapping[str, Any] | None:
        """Return how an operation goes through its items; None: it has none."""
        spec = self.spec_of(run)
        found = spec.get("together") if op == STEPS else spec.get("operations", {}).get(op, {}).get("foreach")
        told: Mapping[str, Any] | None = found
        return told

    def _home(self, run: RunKnown, item: Visit) -> tuple[Visit, int]:
        """Return whose item a visit is, and which."""
        name, visit = item
        op, _, place = name.removesuffix("]").partition("[")
        if place:
            return (op, visit), int(place)
        each = self._each(run, op) or {}
        given = each.get("items")
        most = len(given) if isinstance(given, list) else each.get("max", _MOST)
        return (op, (visit - 1) // most + 1), (visit - 1) % most

    def _open(self, key: str, run: RunKnown, opened: Written, event: Committed) -> None:
        op, visit = opened[:2]
        groups = self._groups[key]
        if not is_item(op):
            items = field_of(opened, _INPUT)
            if self._each(run, op) is not None and isinstance(items, list):
                self._begin(key, (op, visit), len(items))
            return
        home, index = self._home(run, (op, visit))
        group = groups.get(home)
        what = f"item {index} of {home[0]} in run {key}"
        if group is None:
            raise self.refute(f"{what} is opened, and that is not under way", event)
        each = self._each(run, home[0]) or {}
        if group.wanted[len(group.opened) : len(group.opened) + 1] != (index,):
            raise self.refute(f"{what} is opened, and is not the next", event)
        if len(group.open) >= each.get("parallel", _PARALLEL):
            raise self.refute(f"{what} is opened beside {len(group.open)} others", event)
        if group.failed > each.get("tolerate", 0):
            raise self.refute(f"{what} is opened, and too many have failed", event)
        group.opened.append(index)
        group.open[op, visit] = index

    def _begin(self, key: str, visit: Visit, count: int) -> None:
        anew, before = self._anew[key].pop(visit[0], None), self._went[key].get(visit[0])
        group = self._groups[key][visit] = _Group(count, tuple(range(count)) if anew is None else anew)
        if anew is not None and before is not None:
            group.came = {index: label for index, label in before.came.items() if index not in anew}

    def _close(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        kind, (op, visit) = written[0], written[3:5]
        label = written[6] if kind == "u" else written[LABEL]
        group = self._groups[key].get((op, visit))
        if kind == "x" and group is not None:
            each = self._each(run, op) or {}
            is_full = group.failed <= each.get("tolerate", 0)
            cancelled = {(one, number) for one, number, _ in cancelled_by(written)}
            if label == "done" and not (is_full and len(group.opened) == len(group.wanted) and not group.open):
                raise self.refute(f"visit {visit} of {op} in run {key} is done, and not all of its items are", event)
            if label == "fail" and is_full:
                raise self.refute(
                    f"visit {visit} of {op} in run {key} fails, and not too many of its items have", event
                )
            if cancelled != set(group.open):
                raise self.refute(f"visit {visit} of {op} in run {key} closes, and not what is open of it", event)
        self._close_by(key, run, (op, visit), label)

    def _close_by(self, key: str, run: RunKnown, which: Visit, label: str) -> None:
        groups = self._groups[key]
        if is_item(which[0]):
            home, index = self._home(run, which)
            group = groups.get(home) or self._went[key].get(home[0])
            if group is not None and which in group.open:
                del group.open[which]
                group.came[index] = label
        elif (group := groups.pop(which, None)) is not None:
            self._went[key][which[0]] = group

    def _note_retry(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        op, items = written[3], field_of(written, _ITEMS)
        part = part_of(triggers_of(self.spec_of(run)), op)
        self._anew[key] = {one: anew for one, anew in self._anew[key].items() if one not in part}
        if items is None:
            return
        latest = max((visit for name, visit in self._groups[key] if name == op), default=None)
        group = self._went[key].get(op) if latest is None else self._groups[key][op, latest]
        if group is None or not set(items) <= set(range(group.count)):
            raise self.refute(f"items {items} of {op} in run {key} are done anew, and there are none", event)
        self._anew[key][op] = tuple(items)
        name = key.partition("/")[2]
        self._retried[name, field_of(written, REASON["t"]) or ""] = items, group.left()
