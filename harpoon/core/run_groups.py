"""What a run's workflow says of it, and what has become of the items of its operations: read off its chronicle."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from harpoon.core.chronicle import Chronicle, Visit
from harpoon.core.graph import home_of, item_of, member_of
from harpoon.model.label import CANCELLED, FAILURES
from harpoon.model.operation import Operation
from harpoon.model.visit_shown import ItemCounts, ItemStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Most:
    """What one operation may come to in one run."""

    visits: int
    attempts: int
    #: Milliseconds from a visit's being opened to its being closed.
    span_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What a picture needs of a run's workflow."""

    operations: Mapping[str, Operation]
    #: Operation → what it may come to.
    most: Mapping[str, Most]
    #: Node whose visits are items → what is done with one.
    bare: Mapping[str, Operation] = field(default_factory=dict)

    def doing(self, op: str) -> Operation | None:
        """Return what a visit does, by the name that it has in the log; None: it is not known."""
        return self.operations.get(op) or self.bare.get(op)


#: Of a run whose workflow is not kept any more in the form that it was on.
UNKNOWN: Final = Plot(operations={}, most={})


def counted(told: Chronicle, plot: Plot) -> dict[tuple[str, int], ItemCounts]:
    """Return what has become of the items of each visit that has some."""
    found = {
        (visit.op, visit.visit): Counter[ItemStatus]()
        for visit in told.visits.values()
        if (one := plot.operations.get(visit.op)) is not None and one.foreach is not None
    }
    for visit in told.visits.values():
        place = place_of(visit, plot)
        if place is not None:
            found[place[0]][status_of(visit)] += 1
    for key, group in found.items():
        visit = told.visits[key]
        if visit.before:
            kept = [index for index in range(len(items_of(visit))) if index not in visit.anew]
            items = [item_at(told, plot, visit, index) for index in kept]
            group.update(status_of(item) for item in items if item is not None)
    return {key: _told(told.visits[key], group) for key, group in found.items()}


def item_at(told: Chronicle, plot: Plot, whole: Visit, index: int) -> Visit | None:
    """Return the visit that is an item of another one, or that this one keeps the item of; None: it was not opened."""
    operation = plot.operations[whole.op]
    assert operation.foreach is not None, "it has items"
    while whole.before and index not in whole.anew:
        whole = told.visits[whole.op, whole.before]
    if member_of(whole.op) in plot.bare:
        return told.visits.get((member_of(whole.op), (whole.visit - 1) * operation.foreach.most + 1 + index))
    return told.visits.get((member_of(whole.op, index), whole.visit))


def place_of(visit: Visit, plot: Plot) -> tuple[tuple[str, int], int] | None:
    """Return whose item a visit is, and which, from 0 on; None: it is none, or that is not known any more."""
    home = home_of(visit.op)
    operation = None if home is None else plot.operations.get(home)
    if home is None or operation is None or operation.foreach is None:
        return None
    number, index = item_of(visit.op, visit.visit, operation.foreach.most)
    return (home, number), index


def status_of(visit: Visit) -> ItemStatus:
    """Return how an item stands that was opened."""
    if not visit.is_closed:
        return ItemStatus.OPEN
    label = visit.latest.label
    if label == CANCELLED:
        return ItemStatus.CANCELLED
    return ItemStatus.FAILED if label in FAILURES else ItemStatus.DONE


def items_of(visit: Visit) -> Sequence[Any]:
    """Return the items of a visit of an operation that has some; none, if they could not be told."""
    return visit.opened.input if isinstance(visit.opened.input, list) else ()


def items_said(group: ItemCounts) -> str:
    """Say ``37 of 100 done, 2 failed, 50 under way``."""
    parts = [f"{group.done} of {group.count} done"]
    for count, word in ((group.failed, "failed"), (group.cancelled, "cancelled"), (group.open, "under way")):
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)


def _told(visit: Visit, found: Mapping[ItemStatus, int]) -> ItemCounts:
    """Count those that were not begun, too: when nothing goes on any more, they count as cancelled."""
    count = len(items_of(visit))
    told = {status.value: found.get(status, 0) for status in ItemStatus}
    told[(ItemStatus.CANCELLED if visit.is_closed else ItemStatus.PENDING).value] += count - sum(told.values())
    return ItemCounts(count=count, **told)
