"""Mistakes in how rollouts go: what they take away, what they try, when they end."""

from typing import Final

from harpoon.control.rollouts import Rollouts
from harpoon.core import progress, rollout, standing
from tests.sim.variants.variant import CONVERGES, Edit, Variant

ROLLING: Final = (
    Variant(
        name="breaks_before_it_makes",
        says="A ready task goes in the commit that places its successor, whatever the job's updates allow.",
        kills=frozenset({"S19"}),
        edits=(
            Edit(
                rollout._Turns.decide,
                "surge -= 1\n        self.wants.append(_want(slot, [], now))",
                "surge -= 1\n        self.wants.append(_want(slot, slot.records, now))",
            ),
        ),
    ),
    Variant(
        name="placed_is_enough",
        says="A ready task goes as soon as its successor is placed.",
        kills=frozenset({"S19"}),
        edits=(
            Edit(
                rollout._drops,
                "elif current is not None and current.health is Health.WAITING and old.health is not Health.HELD:",
                "if current is not None and current.health is Health.WAITING and old.health is not Health.HELD:",
            ),
        ),
    ),
    Variant(
        name="ready_is_healthy",
        says="A successor counts as soon as it is ready, however long it is to be watched.",
        kills=frozenset({"S19"}),
        edits=(Edit(standing._unproven_for, "return max(_NOTHING, job.spec", "return min(_NOTHING, job.spec"),),
    ),
    Variant(
        name="canaries_without_number",
        says="All slots are on trial at once.",
        kills=frozenset({"S20"}),
        edits=(Edit(standing.aims, "if slot not in there][: max(0, room)]", "if slot not in there]"),),
    ),
    Variant(
        name="promoted_by_nobody",
        says="A rollout goes on beyond its canaries by itself.",
        kills=frozenset({"S20"}),
        edits=(Edit(progress.brake_of, "if not is_paused and not canaries:", "if not is_paused:"),),
    ),
    Variant(
        name="never_complete",
        says="That a rollout is complete is never written down.",
        kills=CONVERGES,
        edits=(Edit(Rollouts.course, "replace(record, is_complete=True)", "record"),),
    ),
)
