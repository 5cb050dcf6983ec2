"""Mistakes in what becomes of an agent's word, and of commands to it."""

from typing import Final

from harpoon.control.minder import Minder
from harpoon.control.outbox import Outbox
from harpoon.control.roster import Roster
from harpoon.control.shepherd import Shepherd
from harpoon.core import loss, machine, telling
from harpoon.core.transform import transform
from harpoon.kit.loop import Loop
from tests.sim.variants.variant import CONVERGES, Edit, Variant

MINDING: Final = (
    Variant(
        name="old_snapshot_taken",
        says="The answer to an adoption is believed also when later changes have overtaken it.",
        kills=frozenset({"S3", "S4", "S15", *CONVERGES}),
        edits=(Edit(machine._adopt, "is_latest = snapshot.seq >= state.seq", "is_latest = True"),),
    ),
    Variant(
        name="never_sent_again",
        says="A command that was sent is never given again, whatever becomes of it.",
        kills=CONVERGES,
        edits=(
            Edit(
                machine._answer, "(replace(state, pending={**state.pending, **refused}) if refused else state)", "state"
            ),
            Edit(machine._step, "now.elapsed + PENDING_MAX", "timedelta.max"),
        ),
    ),
    Variant(
        name="denial_asked_once",
        says="A denial is on its way until the task is gone, though its record may have failed.",
        kills=CONVERGES,
        edits=(Edit(machine._step, "now.elapsed + PENDING_MAX", "timedelta.max"),),
    ),
    Variant(
        name="denial_recorded_unanswered",
        says="A denial is recorded once it was asked for, whatever the agent answers.",
        kills=frozenset({"S3", "S4"}),
        edits=(
            Edit(
                Minder.command,
                "if result.is_ok and result.is_denied and result.task in denials",
                "if result.task in denials",
            ),
        ),
    ),
    Variant(
        name="edge_triggered",
        says="Only what changes is looked at: nothing is compared when an agent is taken over, or now and then.",
        kills=frozenset({"S15", *CONVERGES}),
        edits=(
            Edit(machine._adopt, "signals.Reconcile(None)", "signals.Reconcile(frozenset())"),
            Edit(Loop._resync, "for key in self._everything():", "for key in ():"),
        ),
    ),
    Variant(
        name="strays_kept",
        says="A task that nothing places any more is not stopped.",
        kills=frozenset({"S15", *CONVERGES}),
        edits=(Edit(transform, "stops.append(StopTask(task=task_id, reason=why))", "pass"),),
    ),
    Variant(
        name="unreported_is_denied",
        says="A revoked task that its agent does not report is not denied: it is taken for gone.",
        kills=frozenset({"S3", "S4", *CONVERGES}),
        edits=(Edit(transform, "forgets.append(ForgetTask(task=task_id, reason=why, is_denied=True))", "continue"),),
    ),
    Variant(
        name="published_once",
        says="What could not be written of an agent's tasks is not written again.",
        kills=CONVERGES,
        edits=(Edit(Outbox.post, "self._writes = kept | self._writes", "len(kept)"),),
    ),
    Variant(
        name="older_word_wins",
        says="What could not be written is written over what was heard since.",
        kills=frozenset({"S4", "S15", *CONVERGES}),
        edits=(Edit(Outbox.post, "self._writes = kept | self._writes", "self._writes = self._writes | kept"),),
    ),
    Variant(
        name="gone_never_told",
        says="That an agent has forgotten a task is not written.",
        kills=frozenset({"S15", *CONVERGES}),
        edits=(Edit(telling.publish, "if task in before and task not in after", "if False"),),
    ),
    Variant(
        name="hold_not_asked_of_the_view",
        says="Commands are decided on a view that shows the agent's hold to be over.",
        kills=frozenset({"S3", "S4", "S15", "S18", *CONVERGES}),
        edits=(Edit(Shepherd.is_commandable, " and self._holding.shows(agent, minder.hold)", ""),),
    ),
    Variant(
        name="begun_with_a_view_that_was_wrong",
        says="Who minds an agent goes on with what the view lacked when that is mended.",
        kills=CONVERGES,
        edits=(Edit(Shepherd._keep, " or name in self._misled", ""),),
    ),
    Variant(
        name="nobody_passed_on",
        says="An instance keeps an agent that it cannot reach.",
        kills=frozenset({"L2", *CONVERGES}),
        edits=(Edit(loss.despair, "if loss or state.away_since is None", "if True or state.away_since is None"),),
    ),
    Variant(
        name="failed_forgotten",
        says="An agent is given back to the very instance that could not reach it.",
        kills=frozenset({"L2", *CONVERGES}),
        edits=(Edit(Shepherd._judge, "() if link is None else link.value.failed_by", "()"),),
    ),
    Variant(
        name="failed_for_ten_minutes",
        says="Word from an agent is no news to an instance that failed to reach it.",
        kills=CONVERGES,
        edits=(Edit(Roster._count_again, "if row is None or ", "if True or row is None or "),),
    ),
    Variant(
        name="word_elsewhere_ignored",
        says="Who cannot reach an agent goes on thinking that nobody else can, though another has had word from it.",
        kills=frozenset({"L2", *CONVERGES}),
        edits=(
            Edit(
                machine._step,
                "state.failed_by if failed_by is None else state.failed_by & failed_by",
                "state.failed_by",
            ),
        ),
    ),
    Variant(
        name="lost_early",
        says="An agent counts as lost soon after its link broke.",
        kills=frozenset({"L4", "S16", "S18", *CONVERGES}),
        edits=(
            Edit(
                machine._break, "lost_at=now.elapsed + state.lost_after", "lost_at=now.elapsed + state.lost_after / 6"
            ),
        ),
    ),
    Variant(
        name="lost_for_ever",
        says="An agent that is reached again is not told to be connected.",
        kills=frozenset({"S16", *CONVERGES}),
        edits=(Edit(machine._adopt, "effects.append(told)", "pass"),),
    ),
)
