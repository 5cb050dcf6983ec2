"""Mistakes in who may act: leases, holds and their tokens, sealing, and what is compared by virtue of them."""

from typing import Final

from harpoon.control import denial
from harpoon.control.holding import Holding
from harpoon.control.leadership import Leadership
from harpoon.control.membership import Membership
from harpoon.control.outbox import Outbox
from harpoon.control.scheduler import Scheduler
from harpoon.control.shepherd import Shepherd
from harpoon.core import machine
from harpoon.core.assign import decide
from harpoon.store import hold, renewing
from tests.sim.variants.variant import CONVERGES, Edit, Variant

HOLDS: Final = (
    Variant(
        name="taken_without_compare",
        says="A hold is taken whether or not somebody has it.",
        kills=frozenset({"S1", "S2", "S3", "S4"}),
        edits=(Edit(hold.acquire_all, "[Compare(key, mod=0) for key in keys]", "()"),),
    ),
    Variant(
        name="given_back_without_compare",
        says="A hold is given back whoever has it by now.",
        kills=frozenset({"S1", "S2", "S3", "S4", *CONVERGES, "L2"}),
        edits=(Edit(hold.Hold.release, "(Compare(self.key, create=self.token.revision),)", "()"),),
    ),
    Variant(
        name="sealed_in_vain",
        says="What is written by virtue of a hold does not compare how the hold was sealed last.",
        kills=frozenset({"S3", "S4", "S17", *CONVERGES}),
        edits=(Edit(hold.Hold.compare, "mod=self.sealed", "create=self.token.revision"),),
    ),
    Variant(
        name="token_of_the_last_write",
        says="A hold's token is the revision of its key's last write, so that sealing it makes up a token.",
        kills=frozenset({"S1", "S2"}),
        edits=(
            Edit(
                hold.seal,
                "return replace(hold, sealed=revision)",
                "return replace(hold, sealed=revision, token=replace(hold.token, revision=revision))",
            ),
        ),
    ),
    Variant(
        name="scheduler_compares_no_hold",
        says="The scheduler writes without comparing that it may.",
        kills=frozenset({"S3", "S4", "S17"}),
        edits=(Edit(Scheduler._decide, "compares = (self._hold.compare, ", "compares = (*(), "),),
    ),
    Variant(
        name="scheduler_compares_no_job",
        says="The scheduler writes without comparing the job that it decided for.",
        kills=frozenset({"S3", "S4", "S15", "S18", *CONVERGES}),
        edits=(Edit(Scheduler._decide, "self._hold.compare, Compare(JOBS + key, mod=row.mod_revision)", "self._hold.compare,"),),
    ),
    Variant(
        name="scheduler_not_sealed",
        says="After a commit that may have happened the scheduler goes on at once, by what its view shows.",
        kills=frozenset({"S3", "S4", "S17"}),
        edits=(Edit(Scheduler._resolve, "await seal(self._store, self._hold, self._instance)", "self._hold"),),
    ),
    Variant(
        name="doubt_not_awaited",
        says="After a commit that may have happened the scheduler seals its hold, and decides before its view shows what came of it.",
        kills=frozenset({"S3", "S4", "S17"}),
        edits=(
            Edit(Scheduler._resolve, "await self._view.mirror.reached(sealed.sealed)", "pass"),
        ),
    ),
    Variant(
        name="leader_not_sealed",
        says="An instance that leads again by a hold it still has does not seal it first.",
        kills=frozenset({"S3", "S4", "S17"}),
        edits=(
            Edit(
                Leadership._take,
                "return None if hold is None else await seal(means.store, hold, means.instance)",
                "return hold",
            ),
        ),
    ),
    Variant(
        name="outbox_not_sealed",
        says="After a write that may have happened a minder writes the next one at once.",
        kills=frozenset({"S4", "S15", *CONVERGES}),
        edits=(Edit(Outbox._commit, "if self._is_in_doubt:", "if False:"),),
    ),
    Variant(
        name="outbox_compares_no_hold",
        says="A minder writes what its agent says without comparing that it may.",
        kills=frozenset({"S4", "S15", *CONVERGES}),
        edits=(Edit(Outbox._commit, "(self.hold.compare, self._registered)", "(self._registered,)"),),
    ),
    Variant(
        name="outbox_compares_no_registration",
        says="A minder writes of an agent that is not registered any more.",
        kills=frozenset({"S4", "S15", *CONVERGES}),
        edits=(Edit(Outbox._commit, "(self.hold.compare, self._registered)", "(self.hold.compare,)"),),
    ),
    Variant(
        name="denial_recorded_without_hold",
        says="A denial is recorded by one who does not hold the agent any more.",
        kills=frozenset({"S3", "S4"}),
        edits=(Edit(denial._record, "Compare(hold.key, create=hold.token.revision), ", "*(), "),),
    ),
    Variant(
        name="lease_end_ignored",
        says="An instance whose lease is over does not begin another term.",
        kills=frozenset({"L2", *CONVERGES}),
        edits=(
            Edit(Membership.guard, "await self.lease.lost.wait()", "await asyncio.Event().wait()"),
            Edit(Membership.declare, "if self.lease.lost.is_set():", "if False:"),
        ),
    ),
    Variant(
        name="lease_counted_for_ever",
        says="The holder of a lease relies on it until the store says that it is over.",
        kills=frozenset({"S1", "S2", "S3", "S4", "L2", *CONVERGES}),
        edits=(Edit(renewing.counted, "sent + left_s - renewal.margin_s", "sent + left_s + 1e6"),),
    ),
    Variant(
        name="handed_over_while_minded",
        says="An agent's hold is given back while its minder still commands it.",
        kills=frozenset({"S1", "S2", "S3", "S4", "L2", *CONVERGES}),
        edits=(Edit(Shepherd._hand_over, "await self._stop(name)", "pass"),),
    ),
    Variant(
        name="former_hold_kept",
        says="An instance goes on with what it held under a former lease.",
        kills=frozenset({"S2", "L2", *CONVERGES}),
        edits=(Edit(Holding.holder, " and row.create_revision > self._member.joined", ""),),
    ),
    Variant(
        name="taken_from_others",
        says="An instance takes every agent that is its own, also while another has it.",
        kills=frozenset({"S1", "S2", "L2", *CONVERGES}),
        edits=(Edit(decide, "if holder is None and belongs_to == me", "if belongs_to == me"),),
    ),
    Variant(
        name="no_adoption",
        says="An agent is taken to be ours as soon as its stream is open, before it took our token.",
        kills=frozenset({"S1", "S3", "S4", "S15", "L2", *CONVERGES}),
        edits=(
            Edit(machine._open, "return after, (signals.Adopt(),)", "return _adopt(after, snapshot, now)"),
            Edit(machine.advance, "assert after.phase in allowed", "assert True"),
        ),
    ),
    Variant(
        name="mirror_not_awaited_by_minders",
        says="A minder begins by a view that does not show yet what was written by virtue of its hold.",
        kills=frozenset({"S4", "S15", *CONVERGES}),
        edits=(Edit(Shepherd._mind_by, "await self._view.mirror.reached(hold.sealed)", "pass"),),
    ),
    Variant(
        name="mirror_not_awaited_by_leaders",
        says="Leading begins by a view that does not show yet what the former leader did.",
        kills=frozenset({"S3", "S4", "S17"}),
        edits=(Edit(Leadership._lead, "await self._view.mirror.reached(hold.sealed)", "pass"),),
    ),
)
