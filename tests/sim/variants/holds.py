"""Mistakes in who may act: leases, holds and their tokens, sealing, and what is compared by virtue of them."""

from typing import Final

from harpoon.control.leadership import Leadership
from harpoon.control.membership import Membership
from harpoon.control.outbox import Outbox
from harpoon.control.scheduler import Scheduler
from harpoon.core import machine
from harpoon.store import hold
from tests.sim.variants.variant import CONVERGES, Edit, Variant

HOLDS: Final = (
    Variant(
        name="taken_without_compare",
        says="A hold is taken whether or not somebody has it.",
        kills=frozenset({"S1", "S2", "S3", "S4"}),
        edits=(Edit(hold.acquire_all, "[Compare(key, mod=0) for key in keys]", "()"),),
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
        name="scheduler_not_sealed",
        says="After a commit that may have happened the scheduler goes on at once, by what its view shows.",
        kills=frozenset({"S3", "S4", "S17"}),
        edits=(Edit(Scheduler._resolve, "await seal(self._store, self._hold, self._instance)", "self._hold"),),
    ),
    Variant(
        name="doubt_not_awaited",
        says="After a commit that may have happened the scheduler seals its hold, and decides before its view shows what came of it.",
        kills=frozenset({"S3", "S4", "S17"}),
        edits=(Edit(Scheduler._resolve, "await self._view.mirror.reached(sealed.sealed)", "pass"),),
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
        name="lease_end_ignored",
        says="An instance whose lease is over does not begin another term.",
        kills=frozenset({"L2", *CONVERGES}),
        edits=(
            Edit(Membership.guard, "await self.lease.lost.wait()", "await asyncio.Event().wait()"),
            Edit(Membership.declare, "if self.lease.lost.is_set():", "if False:"),
        ),
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
)
