"""Who has the slots of exclusive jobs, as the store knows it: it refuses a second placement that a view cannot refuse.

A view may lack what the store holds, and not know it: etcd has had faults that leave an event out of a watch.

1. A slot is placed. 2. The view of whoever schedules next lacks that. 3. It places the slot again, and both run.

So each slot of an exclusive job has a record of its own, its *occupant*, which names the task that has it. Rules:

1. It is written in the very commit that makes a placement, and only if it stands there as the view shows it.
2. It has no say any more once the view shows that what it names is denied, or the store has no placement of that.
3. A placement that none names, since an earlier release made it, is named as soon as it is seen.
4. It goes when its slot has no placement any more.

A commit that fails by this is not tried again before the view shows what the store holds (`store.settle.see_others`).
"""

from collections.abc import Container, Iterator
from typing import NamedTuple

from harpoon.control.view import PLACEMENTS, SLOTS, View, placement_key, slot_key
from harpoon.kit import codec
from harpoon.model.name import TaskId
from harpoon.model.task import Occupant, Placement
from harpoon.store.port import Compare, Delete, Put, Write
from harpoon.store.table import Row


class Succession(NamedTuple):
    """What becomes of an occupant, and what must hold for that."""

    write: Write
    compares: tuple[Compare, ...]


def take(view: View, placement: Placement) -> Succession:
    """Return what gives a slot to an exclusive placement; it belongs into the commit that makes that."""
    key = slot_key(placement)
    row = view.occupants.rows.get(key.removeprefix(SLOTS))
    occupant = Occupant(task=placement.task, agent=placement.agent)
    return Succession(Put(key, codec.dump(occupant)), _ended(view, key, row))


def align(view: View, key: str, placed: Container[int], dropped: Container[TaskId]) -> Iterator[Succession]:
    """Yield what brings the occupants of a job into line with its placements.

    Args:
        view: Shows both.
        key: Of the job.
        placed: Slots whose occupants are written with what is being placed.
        dropped: Tasks whose placements are being deleted, if they are denied.
    """
    occupants = view.occupants_of(key)
    heirs: dict[int, Row[Placement]] = {}
    for row in view.placements_of(key).values():
        placement = row.value
        if placement.is_exclusive and not placement.is_denied and placement.slot not in placed:
            heir = heirs.get(placement.slot)
            if heir is None or heir.value.number < placement.number:
                heirs[placement.slot] = row
    for number, heir in heirs.items():
        known = occupants.get(str(number))
        if f"{key}/{number}" not in view.occupants.unreadable and (known is None or _is_over(view, known.value)):
            write, compares = take(view, heir.value)
            yield Succession(write, (*compares, Compare(placement_key(heir.value), mod=heir.mod_revision)))
    for slot, named in occupants.items():
        if not slot.isdecimal() or int(slot) in placed or int(slot) in heirs or not _is_over(view, named.value):
            continue
        if named.value.task in dropped or not view.is_recorded(named.value.agent, named.value.task):
            at = f"{SLOTS}{key}/{slot}"
            yield Succession(Delete(at), _ended(view, at, named))


def _is_over(view: View, occupant: Occupant) -> bool:
    """Whether a slot is its occupant's no more, as far as the view shows."""
    placed = view.placement(occupant.task)
    return not view.is_recorded(occupant.agent, occupant.task) if placed is None else placed.value.is_denied


def _ended(view: View, key: str, row: Row[Occupant] | None) -> tuple[Compare, ...]:
    """Return what holds if a slot has no occupant, or one that has it no more."""
    if row is None:
        return (Compare(key, mod=0),)
    same = Compare(key, mod=row.mod_revision)
    if view.placement(row.value.task) is not None:
        return (same,)
    return (same, Compare(f"{PLACEMENTS}{row.value.agent}/{row.value.task}", mod=0))
