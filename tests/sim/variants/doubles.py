"""Two mistakes at a time, each in a layer that the other one stands behind: by the same course of events neither is found.

What would have been placed twice, by a late commit or by a view that is behind, the occupant of an exclusive slot has
the store refuse; and without occupants nothing is placed twice in the first place. Without both, the slot runs twice.
So with a run that is paused: what may be claimed of it is offered no more, and is not given to whoever asks all the same.
"""

from collections.abc import Mapping
from typing import Final

from tests.sim.variants.holds import HOLDS
from tests.sim.variants.placing import PLACING
from tests.sim.variants.redundant import REDUNDANT
from tests.sim.variants.variant import Variant, named

_ALONE: Final = named(*HOLDS, *PLACING, REDUNDANT["own_writes_not_awaited"].variant)
_BEHIND: Final = _ALONE["occupant_not_compared"]
_PAUSED: Final = tuple(REDUNDANT[name].variant for name in ("paused_is_offered", "paused_is_claimed"))
#: Name of a double → its mistakes.
HALVES: Final[Mapping[str, tuple[Variant, Variant]]] = {
    f"{name}_and_no_occupant": (_ALONE[name], _BEHIND)
    for name in (
        "sealed_in_vain",
        "scheduler_compares_no_hold",
        "scheduler_not_sealed",
        "doubt_not_awaited",
        "leader_not_sealed",
        "own_writes_not_awaited",
    )
} | {"paused_is_handed_out": (_PAUSED[0], _PAUSED[1])}
DOUBLES: Final = tuple(
    Variant(
        name=name,
        says=f"{first.says} {second.says}",
        kills=second.kills,
        edits=(*first.edits, *second.edits),
    )
    for name, (first, second) in HALVES.items()
)
