"""Mistakes in what becomes of batch jobs and system jobs."""

from typing import Final

from harpoon.control.batches import Batches
from harpoon.control.scheduler import Scheduler
from harpoon.core import batch, batch_roll, members
from tests.sim.variants.variant import CONVERGES, Edit, Variant

TOILING: Final = (
    Variant(
        name="withdrawn_before_noted",
        says="What came of a task is known to who withdraws it, and written only when the job has ended.",
        kills=frozenset({"S25"}),
        edits=(
            Edit(
                Batches.course,
                "if record != known and (known is not None or record.results or record.outcome):",
                "if record != known and record.outcome:",
            ),
        ),
    ),
    Variant(
        name="noted_without_compare",
        says="What came of a task is written without comparing what was known before, or that the writer may.",
        kills=frozenset({"S23", "S25"}),
        edits=(
            Edit(
                Scheduler._reconcile,
                "return Deed(key=key, compares=compares, units=(course.writes,), guards=course.guards)",
                "return Deed(key=key, compares=(), units=(course.writes,), guards=course.guards)",
            ),
        ),
    ),
    Variant(
        name="noted_again",
        says="A task that has failed is noted at each pass until its placement is gone.",
        kills=frozenset({"S25"}),
        edits=(
            Edit(
                batch.note,
                "parse_task_id(last.task).number >= placement.number",
                "parse_task_id(last.task).number > placement.number",
            ),
        ),
    ),
    Variant(
        name="stopping_takes_no_turn",
        says="Tasks that are to stop, and have not yet, take none of what may run at once.",
        kills=frozenset({"S24"}),
        edits=(
            Edit(
                batch_roll._Turn.choose,
                "room = self._rules.parallel - self._busy - lingering",
                "room = self._rules.parallel - self._busy",
            ),
        ),
    ),
    Variant(
        name="one_attempt_more",
        says="A slot is tried once more than it may be.",
        kills=frozenset({"S25"}),
        edits=(
            Edit(
                batch_roll._Turn._open,
                "result.attempts >= self._rules.attempts",
                "result.attempts > self._rules.attempts",
            ),
            Edit(batch._spent, "one.attempts >= rules.attempts", "one.attempts > rules.attempts"),
        ),
    ),
    Variant(
        name="complete_is_tried_again",
        says="A slot that is complete is placed as long as it has attempts left.",
        kills=frozenset({"S23"}),
        edits=(Edit(batch_roll._Turn._open, "result.is_complete or ", ""),),
    ),
    Variant(
        name="placed_by_an_old_record",
        says="A slot is placed by what a view shows of it, whatever the store knows to have come of it.",
        kills=frozenset({"S23"}),
        edits=(
            Edit(
                Batches.course,
                "return Course(compares=(same,), record=record, due=",
                "return Course(compares=(), record=record, due=",
            ),
        ),
    ),
    Variant(
        name="each_version_is_a_run",
        says="A job that is changed in whatever way starts over with what it has come to.",
        kills=frozenset({"S23", "S25"}),
        edits=(Edit(batch.note, "record.version != job.run.version:", "job.version != job.run.version:"),),
    ),
    Variant(
        name="failed_goes_on",
        says="What is left of a job that has failed is placed all the same.",
        kills=frozenset({"S25"}),
        edits=(
            Edit(
                batch_roll.roll_batch,
                "if not (job.is_terminating or record.outcome or judge(job, record, now).outcome):",
                "if not job.is_terminating:",
            ),
        ),
    ),
    Variant(
        name="run_before_is_kept",
        says="A job that starts over keeps what still runs of the run before.",
        kills=frozenset({*CONVERGES, "L9"}),
        edits=(Edit(batch_roll._Turn._why_gone, "if not is_of_run(job, placement):", "if False:"),),
    ),
    Variant(
        name="deadline_passed_unseen",
        says="A deadline that passed while nobody scheduled is none any more.",
        kills=frozenset({"L9"}),
        edits=(
            Edit(
                batch.judge,
                "time_left(job, now) <= _NOTHING:",
                "-timedelta(seconds=2) < time_left(job, now) <= _NOTHING:",
            ),
        ),
    ),
    Variant(
        name="ended_is_kept",
        says="A job that has ended is kept for good.",
        kills=frozenset({"L9"}),
        edits=(
            Edit(
                Batches.course,
                "if expires is not None and expires <= now.wall:",
                "expires = None\n    if expires is not None:",
            ),
        ),
    ),
    Variant(
        name="numbered_for_good",
        says="A task of a system job is taken for that of the agent that has the number by now which its own had.",
        kills=frozenset({"S18", "S26", *CONVERGES}),
        edits=(
            Edit(
                members.numbered,
                "return tuple(one._replace(placement=replace(one.placement, slot=numbers[one.placement.agent])) "
                "for one in standings)",
                "return tuple(standings)",
            ),
        ),
    ),
)
