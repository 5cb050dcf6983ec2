"""The items of a run's operations, one by one, as they are shown."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from harpoon.core.chronicle import Chronicle, Visit
from harpoon.core.run_groups import Plot, item_at, items_of, status_of
from harpoon.core.run_picture import state_of, waits_for
from harpoon.model.visit_shown import ItemObject, ItemStatus


class Items(NamedTuple):
    """Which items are wanted."""

    #: Of this operation; None: of all.
    op: str | None = None
    #: Of this visit of it; None: of all.
    visit: int | None = None
    #: That stand so; none: whatever they do.
    statuses: frozenset[str] = frozenset()


def items(told: Chronicle, plot: Plot, choice: Items, now_ms: int) -> list[ItemObject]:
    """Return the items that are wanted, by the order in which the visits were opened that they are of."""
    return [
        item
        for visit in told.visits.values()
        if choice.op in (None, visit.op) and choice.visit in (None, visit.visit)
        for item in _items(visit, told, plot, now_ms)
        if not choice.statuses or item.status in choice.statuses
    ]


def _items(whole: Visit, told: Chronicle, plot: Plot, now_ms: int) -> Iterator[ItemObject]:
    operation = plot.operations.get(whole.op)
    if operation is None or operation.foreach is None:
        return
    for index, value in enumerate(items_of(whole)):
        visit = item_at(told, plot, whole, index)
        item = _pending(whole, index, value)
        yield item if visit is None else _begun(item, visit, told, plot, now_ms)


def _pending(whole: Visit, index: int, value: Any) -> ItemObject:
    return ItemObject(
        op=whole.op,
        visit=whole.visit,
        index=index,
        status=ItemStatus.CANCELLED if whole.is_closed else ItemStatus.PENDING,
        item=value,
        attempts=0,
        label=None,
        worker=None,
        opened_ms=None,
        started_ms=None,
        ended_ms=None,
        error="",
        waits_for="" if whole.is_closed else "its turn",
        output=None,
    )


def _begun(item: ItemObject, visit: Visit, told: Chronicle, plot: Plot, now_ms: int) -> ItemObject:
    operation, one = plot.doing(visit.op), visit.latest
    state = state_of(one, visit, operation, now_ms)
    return replace(
        item,
        status=status_of(visit),
        attempts=len(visit.tries),
        label=one.label,
        worker=one.worker,
        opened_ms=visit.opened_ms,
        started_ms=visit.claimed_ms,
        ended_ms=one.ended_ms,
        error=one.error or visit.opened.error or "",
        waits_for=waits_for(visit, operation, state, is_paused=told.is_paused),
        output=one.output,
    )
