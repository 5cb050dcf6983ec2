"""Mistakes that no run shows: something else stands behind what they leave out, or no property asks for it.

They are no proof against the layer that is left out: it may spare work, or hold where what stands behind it does not.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from harpoon.control import denial, offering, shards
from harpoon.control.holding import Holding
from harpoon.control.leadership import Leadership
from harpoon.control.outbox import Outbox
from harpoon.control.scheduler import Scheduler
from harpoon.control.shards import Shards
from harpoon.control.shepherd import Shepherd
from harpoon.core import clocks, loss, machine, step
from harpoon.core.assign import decide
from harpoon.store import hold, renewing, settle
from harpoon.store.mirror import Mirror
from tests.sim.variants.variant import CONVERGES, Edit, Variant


class Spare(NamedTuple):
    """A variant that survives, and why it may."""

    variant: Variant
    why: str


_ACKNOWLEDGED: Final = frozenset({"S5", "S6", "S12"})
_LOST_WORDS: Final = frozenset({"S3", "S4", "S11", "S15", "S17", "S18", *CONVERGES})
_ALL: Final = (
    (
        Variant(
            name="given_back_without_compare",
            says="A hold is given back whoever has it by now.",
            kills=frozenset({"S1", "S2", "S3", "S4", *CONVERGES, "L2"}),
            edits=(Edit(hold.Hold.release, "(Compare(self.key, create=self.token.revision),)", "()"),),
        ),
        "Whoever has it by then finds out by the next compare, and takes it anew: nothing is written by virtue of a hold that is gone.",
    ),
    (
        Variant(
            name="scheduler_compares_no_job",
            says="The scheduler writes without comparing the job that it decided for.",
            kills=frozenset({"S3", "S4", "S15", "S18", *CONVERGES}),
            edits=(
                Edit(
                    Scheduler._decide,
                    "self._hold.compare, Compare(JOBS + key, mod=0 if row is None else row.mod_revision)",
                    "self._hold.compare,",
                ),
            ),
        ),
        "The view shows the job's change right after, and the slot is decided again; one leader has one pass over a job at a time. It is for what an operator adopts after a restore, which is not simulated.",
    ),
    (
        Variant(
            name="outbox_compares_no_registration",
            says="A minder writes of an agent that is not registered any more.",
            kills=frozenset({"S4", "S15", *CONVERGES}),
            edits=(Edit(Outbox._commit, "(self.hold.compare, self._registered)", "(self.hold.compare,)"),),
        ),
        "A later agent of that name has what is left over deleted when it is adopted; that none ever comes is not simulated.",
    ),
    (
        Variant(
            name="denial_recorded_without_hold",
            says="A denial is recorded by one who does not hold the agent any more.",
            kills=frozenset({"S3", "S4"}),
            edits=(Edit(denial._record, "Compare(hold.key, create=hold.token.revision), ", "*(), "),),
        ),
        "An agent keeps the latest denials also when its mark rises, so that a denial by virtue of an earlier token holds.",
    ),
    (
        Variant(
            name="lease_counted_for_ever",
            says="The holder of a lease relies on it until the store says that it is over.",
            kills=frozenset({"S1", "S2", "S3", "S4", "L2", *CONVERGES}),
            edits=(Edit(renewing.counted, "sent + left_s - renewal.margin_s", "sent + left_s + 1e6"),),
        ),
        "Commits compare the hold and agents compare the token; that a holder stops by itself spares refusals only.",
    ),
    (
        Variant(
            name="handed_over_while_minded",
            says="An agent's hold is given back while its minder still commands it.",
            kills=frozenset({"S1", "S2", "S3", "S4", "L2", *CONVERGES}),
            edits=(Edit(Shepherd._hand_over, "await self._stop(name)", "pass"),),
        ),
        "Commits compare the hold and agents compare the token, so a minder that is ended too late does nothing.",
    ),
    (
        Variant(
            name="former_hold_kept",
            says="An instance goes on with what it held under a former lease.",
            kills=frozenset({"S2", "L2", *CONVERGES}),
            edits=(Edit(Holding.holder, " and row.create_revision > self._member.joined", ""),),
        ),
        "A term's lease is revoked before the next begins, and its holds go with it; what is left is found gone when it is sealed.",
    ),
    (
        Variant(
            name="taken_from_others",
            says="An instance takes every agent that is its own, also while another has it.",
            kills=frozenset({"S1", "S2", "L2", *CONVERGES}),
            edits=(Edit(decide, "if holder is None and belongs_to == me", "if belongs_to == me"),),
        ),
        "A hold is taken only if nobody has it, whoever thinks that it is his.",
    ),
    (
        Variant(
            name="mirror_not_awaited_by_minders",
            says="A minder begins by a view that does not show yet what was written by virtue of its hold.",
            kills=frozenset({"S4", "S15", *CONVERGES}),
            edits=(Edit(Shepherd._mind_by, "await self._view.mirror.reached(hold.sealed)", "pass"),),
        ),
        "That nobody has the hold is told by the same view, which shows by then all that was written by virtue of it; what is sealed was waited for.",
    ),
    (
        Variant(
            name="mirror_not_awaited_by_leaders",
            says="Leading begins by a view that does not show yet what the former leader did.",
            kills=frozenset({"S3", "S4", "S17"}),
            edits=(Edit(Leadership._lead, "await self._view.mirror.reached(hold.sealed)", "pass"),),
        ),
        "As of minders.",
    ),
    (
        Variant(
            name="stream_gap_ignored",
            says="What is left out of an agent's stream is not missed.",
            kills=frozenset({"S15", *CONVERGES}),
            edits=(Edit(machine._change, " or changed.seq > state.seq + 1", ""),),
        ),
        "A stream is a connection, which leaves nothing out; another life of the daemon breaks it.",
    ),
    (
        Variant(
            name="pending_forgotten",
            says="Nobody remembers what is on its way, so it is sent again whenever anything is heard.",
            kills=frozenset({"L6", "L7", *CONVERGES}),
            edits=(Edit(machine.is_pending, "return now.elapsed <", "return False and now.elapsed <"),),
        ),
        "Commands are safe to repeat, and nothing is commanded unless something woke it: it only says things twice.",
    ),
    (
        Variant(
            name="lost_without_a_second_try",
            says="An agent counts as lost though another instance might reach it.",
            kills=frozenset({"S16", "S18", *CONVERGES}),
            edits=(Edit(loss.lose, "if not is_due or (state.others and not state.failed_by):", "if not is_due:"),),
        ),
        "An agent is passed on after half of the time in which it is lost, so that another has tried by then.",
    ),
    (
        Variant(
            name="old_list_taken",
            says="A list of the past is taken for the present.",
            kills=_LOST_WORDS | {"S12"},
            edits=(Edit(Mirror._pages, "if page.revision < known:", "if False:"),),
        ),
        "No store that is simulated goes back behind what an instance was told.",
    ),
    (
        Variant(
            name="own_writes_not_awaited",
            says="A job is decided again before the view shows what was decided of it before.",
            kills=frozenset({"S3", "S4", "S17"}),
            edits=(Edit(Scheduler._decide, "if self._wrote.get(key, 0) > view.revision:", "if False:"),),
        ),
        "A slot that is placed twice is its occupant's, if its job is exclusive; else what was placed stays booked until the view shows it, and of two placements the older one goes. See `doubles`.",
    ),
    (
        Variant(
            name="others_not_awaited",
            says="Who was overtaken decides again by a view that does not show yet by what.",
            kills=_ACKNOWLEDGED | {"S3", "S4", "S17"},
            edits=(Edit(settle.see_others, "await mirror.shows(revision)", "return True"),),
        ),
        "Compares fail again, so that deciding by an old view costs tries, and may end in `unavailable`; the store takes nothing that is decided so.",
    ),
    (
        Variant(
            name="paused_is_claimed",
            says="Attempts of a run may be claimed while it is paused.",
            kills=frozenset({"S27"}),
            edits=(Edit(step.claim, "if run.is_paused:", "if False:"),),
        ),
        "What may be claimed of a run is taken back when it is paused, so that nobody asks for it. See `doubles`.",
    ),
    (
        Variant(
            name="paused_is_offered",
            says="What may be claimed of a run is not taken back when it is paused.",
            kills=frozenset({"S27"}),
            edits=(
                Edit(
                    offering.tell,
                    'exchange.withdrawn(run, [attempt.ref for attempt in run.ready.values()], "paused", draft)',
                    "pass",
                ),
            ),
        ),
        "A run gives nothing away while it is paused, whoever asks for it. See `doubles`.",
    ),
    (
        Variant(
            name="shard_not_renewed",
            says="An instance that conducts a shard again goes on by the hold that its last conductor had.",
            kills=frozenset({"S7", "S5"}),
            edits=(Edit(Shards._conduct, "if hold.sealed <= self._begun.get(name, 0):", "if False:"),),
        ),
        "A hold that is taken anew was made at a higher revision than all before, and one that is gone on with is sealed as it is renewed.",
    ),
    (
        Variant(
            name="shard_given_back_unwritten",
            says="A shard is handed over without waiting until what was decided of its runs is durable.",
            kills=frozenset({"S5", "S7", "S8"}),
            edits=(Edit(shards._end, "await ledger.drained()", "pass"),),
        ),
        "What was not durable was told to nobody, and whoever asked for it is told to ask again; it only spares that.",
    ),
    (
        Variant(
            name="unfit_clock_ignored",
            says="An instance takes holds whatever its clock says.",
            kills=frozenset({"S16", "S18", "L4", *CONVERGES}),
            edits=(Edit(clocks.is_fit, "return abs(found)", "return True or abs(found)"),),
        ),
        "What is dated wrongly makes an agent lost too early or too late, and nothing is asked of that once a clock went wrong.",
    ),
)
REDUNDANT: Final[Mapping[str, Spare]] = {variant.name: Spare(variant, why) for variant, why in _ALL}
