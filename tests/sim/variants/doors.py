"""Mistakes in what becomes of a user's mutation."""

from typing import Final

from harpoon.control import drafts, records
from harpoon.control.cordons import Cordons
from harpoon.control.freshness import Freshness
from harpoon.control.registry import Registry
from harpoon.store import settle
from tests.sim.variants.variant import Edit, Variant

_ACKNOWLEDGED: Final = frozenset({"S5", "S6", "S12"})

DOORS: Final = (
    Variant(
        name="if_match_ignored",
        says="A mutation happens also if the job is not as its author has seen it.",
        kills=frozenset({"S6"}),
        edits=(Edit(records.check_precondition, "if if_match is not None", "if False and if_match is not None"),),
    ),
    Variant(
        name="put_without_compare",
        says="A mutation is written without comparing the job that it was decided by.",
        kills=_ACKNOWLEDGED | {"S4"},
        edits=(
            Edit(
                drafts.drafted,
                "compares.append(Compare(JOBS + key, mod=0 if row is None else row.mod_revision))",
                "pass",
            ),
        ),
    ),
    Variant(
        name="acknowledged_before_commit",
        says="A mutation is acknowledged when it is sent to the store.",
        kills=_ACKNOWLEDGED,
        edits=(
            Edit(
                Registry._write,
                "await settle.commit(self._store, compares, (writes + prunes)[:WRITES_MAX])",
                "self._view.revision\n    import asyncio\n    self._sent = asyncio.ensure_future("
                "settle.commit(self._store, compares, (writes + prunes)[:WRITES_MAX]))",
            ),
        ),
    ),
    Variant(
        name="doubt_acknowledged",
        says="A mutation of which nobody knows whether it happened is acknowledged.",
        kills=_ACKNOWLEDGED,
        edits=(Edit(settle.commit, "raise doubt", "return await store.revision()"),),
    ),
    Variant(
        name="tried_again_blindly",
        says="A mutation whose answer was lost is tried again whatever happened meanwhile.",
        kills=_ACKNOWLEDGED,
        edits=(Edit(settle._try_again, "await store.commit(compares, writes)", "await store.commit((), writes)"),),
    ),
    Variant(
        name="doubt_is_refused",
        says="A mutation whose answer was lost is told not to have happened.",
        kills=_ACKNOWLEDGED,
        edits=(
            Edit(
                settle.commit,
                'StoreUnavailable("the store did not answer in time", maybe_applied=True, trouble=Trouble.TIMEOUT)',
                'StoreUnavailable("the store did not answer in time", maybe_applied=False, trouble=Trouble.TIMEOUT)',
            ),
            Edit(settle.commit, "doubt = error", "pass"),
        ),
    ),
    Variant(
        name="unchanged_by_an_old_view",
        says="That a mutation changes nothing is told by a view that may be behind.",
        kills=_ACKNOWLEDGED,
        edits=(Edit(Freshness.still_holds, "if await self._store.revision() <= seen:", "if True:"),),
    ),
    Variant(
        name="view_moves_while_asked",
        says="That a job still stands is asked of a view that is a newer one by then than what the job was seen in.",
        kills=_ACKNOWLEDGED,
        edits=(Edit(Freshness.still_holds, "<= seen:", "<= self._view.revision:"),),
    ),
    Variant(
        name="stale_is_not_found",
        says="That there is no such job is told by a view that may be behind.",
        kills=_ACKNOWLEDGED,
        edits=(Edit(Freshness.see, "if entry is not None:", "if False:"),),
    ),
    Variant(
        name="death_told_last",
        says="That an agent is dead is written when all that it had is free already.",
        kills=frozenset({"S3", "S4"}),
        edits=(Edit(Cordons._bury, "[*part, record]", "part"),),
    ),
)
