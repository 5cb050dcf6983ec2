"""Mistakes in who gets room that several want."""

from typing import Final

from harpoon.control import placing
from harpoon.control.bookings import Bookings
from harpoon.control.scheduler import Scheduler
from harpoon.core import place, preempt
from tests.sim.variants.variant import CONVERGES, Edit, Variant

PRESSING: Final = (
    Variant(
        name="equals_make_room",
        says="Tasks of jobs that are as urgent go, too.",
        kills=frozenset({"S21"}),
        edits=(Edit(preempt._Search._is_lower, ">= job.spec.priority", "> job.spec.priority"),),
    ),
    Variant(
        name="others_make_room_unasked",
        says="Tasks of lower priority go for jobs that did not ask for it.",
        kills=frozenset({"S21"}),
        edits=(Edit(place.place, "if job.spec.preempt:", "if True:"),),
    ),
    Variant(
        name="room_not_kept",
        says="Room that is made is kept for nobody, and goes to the least urgent: to what made it, again and again.",
        kills=CONVERGES,
        edits=(
            Edit(Scheduler._urgency, "-row.value.spec.priority", "row.value.spec.priority"),
            Edit(Bookings.see_pending, "row.value.kept", "{}"),
            Edit(placing._kept, "decision.pending.kept, reservation", "{}, reservation"),
        ),
    ),
)
