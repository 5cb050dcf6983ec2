"""Mistakes in which slots are to be, and where."""

from typing import Final

from harpoon.control import deed, occupancy, placing
from harpoon.control.bookings import Bookings
from harpoon.control.scheduler import Scheduler
from harpoon.control.view import View
from harpoon.core import exclusive, rollout, standing
from harpoon.core.candidate import Candidate
from harpoon.core.hosts import Room
from tests.sim.variants.variant import CONVERGES, Edit, Variant

#: The revision at which a job was last written.
_OF_THE_JOB: Final = "view.jobs.rows[f'{job.namespace}/{job.name}'].mod_revision"

PLACING: Final = (
    Variant(
        name="revoked_is_free",
        says="An exclusive slot is placed again as soon as its placement is revoked.",
        kills=frozenset({"S3", "S4"}),
        edits=(Edit(exclusive._Turn.decide, "if not slot.awaited:", "if True:"),),
    ),
    Variant(
        name="exclusive_is_dropped",
        says="The placement of an exclusive slot is deleted at once, as any other is.",
        kills=frozenset({"S3", "S4"}),
        edits=(Edit(deed.drop_unit, "if placement.is_exclusive and not placement.is_denied:", "if False:"),),
    ),
    Variant(
        name="time_frees_exclusive",
        says="An exclusive slot on a lost agent is placed elsewhere, for it has been long enough.",
        kills=frozenset({"S3", "S4"}),
        edits=(
            Edit(
                exclusive._Turn._mind,
                "if kept.health is not Health.FAILED:",
                "if kept.health not in (Health.FAILED, Health.HELD):",
            ),
            Edit(
                exclusive._Turn.decide,
                "if not slot.awaited:",
                "if all(one.health is Health.HELD for one in slot.awaited):",
            ),
        ),
    ),
    Variant(
        name="over_is_denied",
        says="An exclusive slot is placed again once its task is reported to be over.",
        kills=frozenset({"S3", "S4"}),
        edits=(
            Edit(
                exclusive._Turn.decide,
                "if not slot.awaited:",
                "if all(one.task is not None and one.task.state.is_over for one in slot.awaited):",
            ),
        ),
    ),
    Variant(
        name="revoked_without_guard",
        says="A placement is revoked whatever has become of its record meanwhile.",
        kills=frozenset({"S3", "S4", *CONVERGES}),
        edits=(Edit(deed.guards, "if rewritten else ()", "if False else ()"),),
    ),
    Variant(
        name="occupant_not_compared",
        says="A slot is given to a placement whichever has it as the store knows it.",
        kills=frozenset({"S3", "S4"}),
        edits=(Edit(occupancy.take, "_ended(view, key, row)", "()"),),
    ),
    Variant(
        name="waiting_not_honoured",
        says="A lost task of a job that waits for its agent is replaced all the same.",
        kills=frozenset({"S4", "S16", "S18"}),
        edits=(
            Edit(standing._health, "if is_evictable and not job.spec.waits_for_lost", "if is_evictable"),
            Edit(standing.is_evictee, "return is_lost and not job.spec.waits_for_lost", "return is_lost"),
        ),
    ),
    Variant(
        name="lost_never_replaced",
        says="A lost task is never replaced.",
        kills=frozenset({"L5"}),
        edits=(Edit(standing._health, "return Health.LOST if is_evictable", "return Health.LOST if False"),),
    ),
    Variant(
        name="evictions_unlimited",
        says="All lost tasks are replaced at once, however many they are.",
        kills=frozenset({"S16"}),
        edits=(Edit(Bookings.evict, "self._bucket.take(count, now)", "self._bucket"),),
    ),
    Variant(
        name="halt_ignored",
        says="Lost tasks are replaced also while most agents are lost.",
        kills=frozenset({"S16"}),
        edits=(Edit(View.halted, "is_halted = lost >= 2 and 2 * lost > agents", "is_halted = lost > agents"),),
    ),
    Variant(
        name="not_booked",
        says="What is being placed takes no room until the view shows it.",
        kills=frozenset({"S17"}),
        edits=(Edit(Bookings.book, "self.fleet.add(placement)", "pass"),),
    ),
    Variant(
        name="room_given_back_early",
        says="A task's room is given away when its record goes, while it still runs.",
        kills=frozenset({"S17"}),
        edits=(
            Edit(
                Bookings._settle,
                "if reported is not None and not reported.value.is_over:",
                "if False:",
            ),
        ),
    ),
    Variant(
        name="room_ignored",
        says="An agent takes tasks whatever processor they want.",
        kills=frozenset({"S17"}),
        edits=(
            Edit(Room.fits, "0 < need.cpu > self.cpu_capacity - self.cpu or ", ""),
            Edit(Room.lacks, "if 0 < need.cpu > cpu:", "if False:"),
            Edit(Candidate.fits, "0 < need.cpu > room.cpu_capacity - self._cpu or ", ""),
        ),
    ),
    Variant(
        name="number_of_the_job",
        says="A placement is numbered by the revision of its job, which does not rise with each.",
        kills=frozenset({"S4"}),
        edits=(Edit(placing.place_slots, "revision=view.revision,", f"revision={_OF_THE_JOB},"),),
    ),
    Variant(
        name="generation_ignored",
        says="A placement of an earlier generation is as good as one of the present.",
        kills=CONVERGES,
        edits=(
            Edit(standing.look, " and placement.generation == job.generation", ""),
            Edit(rollout._is_settled, "placement.generation != job.generation or ", ""),
        ),
    ),
    Variant(
        name="unscheduled_is_kept",
        says="The placements of a job that is unscheduled are kept.",
        kills=CONVERGES,
        edits=(Edit(standing.aims, "0 if job.is_terminating else job.spec.scale", "job.spec.scale"),),
    ),
    Variant(
        name="job_gone_is_ignored",
        says="What is placed for a job that is gone is nobody's business.",
        kills=frozenset({"S15", *CONVERGES}),
        edits=(Edit(Scheduler._decide, "return compose(", "return None and compose("),),
    ),
    Variant(
        name="old_is_kept",
        says="Of two placements of a slot the older one is kept beside the newer one that is ready.",
        kills=CONVERGES,
        edits=(Edit(rollout._drops, "current.is_healthy and not ", "False and not "),),
    ),
)
