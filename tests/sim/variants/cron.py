"""Mistakes in how cron jobs are fired."""

from typing import Final

from harpoon.control import cron as firing
from harpoon.control.crontab import Crontab
from harpoon.core import cron_due
from tests.sim.variants.variant import Edit, Variant

CRON: Final = (
    Variant(
        name="fires_beside_its_record",
        says="A child is made in a commit, and that it was is noted in another.",
        kills=frozenset({"S22"}),
        edits=(
            Edit(
                firing.Crons._fire,
                "revision = await self._write(key, decision.record, ((child, None),))",
                "revision = await self._write(key, known, ((child, None),))",
            ),
        ),
    ),
    Variant(
        name="fires_what_passed_again",
        says="What was decided is forgotten, so that a due is fired again by whoever looks next.",
        kills=frozenset({"S22", "L8"}),
        edits=(
            Edit(
                cron_due._fire,
                "after = replace(record, seen_ms=due_ms, fired=firing, missed=record.missed + missed)",
                "after = replace(record, seen_ms=due_ms - 60_000, fired=firing, missed=record.missed + missed)",
            ),
        ),
    ),
    Variant(
        name="decides_and_does_nothing",
        says="A due is found to be fired, and no child is made.",
        kills=frozenset({"L8"}),
        edits=(
            Edit(
                firing.Crons._pass,
                "return await self._fire(key, job, known, decision)",
                "return True",
            ),
        ),
    ),
    Variant(
        name="fires_without_compare",
        says="A child is made whether or not another has made it, and whatever was decided since.",
        kills=frozenset({"S22"}),
        edits=(
            Edit(
                Crontab.write,
                "revision = await settle.commit(self._store, known, ",
                "revision = await settle.commit(self._store, (), ",
            ),
        ),
    ),
    Variant(
        name="passed_over_in_silence",
        says="Dues that passed before the one that is fired are not counted.",
        kills=frozenset({"S22"}),
        edits=(
            Edit(
                cron_due._fire,
                "fired=firing, missed=record.missed + missed)",
                "fired=firing, missed=record.missed)",
            ),
        ),
    ),
)
