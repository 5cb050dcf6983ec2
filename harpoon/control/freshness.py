"""Jobs as they stand in the store, where the view of this instance may be a moment behind what another one has told.

A mutation that is committed compares what it was decided by, so a view that is behind costs it no more than another
try. What is refused, and what seems to ask for nothing, is never compared: that is looked up here.
"""

from collections.abc import Sequence
from typing import Any

from harpoon.control.view import View
from harpoon.store import settle
from harpoon.store.port import Compare, Store
from harpoon.store.table import Table


class Freshness:
    """Brings the view up to what a request may know.

    Args:
        store: The truth.
        view: What is decided by.
        table: What requests speak of, if not of jobs.
    """

    def __init__(self, store: Store, view: View, table: Table[Any] | None = None) -> None:
        self._store = store
        self._view = view
        self._table = table or view.jobs

    async def see(self, key: str, if_match: int | None) -> None:
        """Wait until the view shows the job that a request speaks of, given its key.

        1. A job is made by way of another instance. 2. It is to be scaled by way of this one, whose view is a moment
        behind. To say that there is no such job would be wrong.

        Raises:
            StoreUnavailable: The view does not show it in time, or the store could not answer.
        """
        if key in self._table.rows and (if_match is None or if_match <= self._view.revision):
            return
        entry = await self._store.get(self._table.prefix + key)
        if entry is not None:
            await self._view.mirror.shows(entry.mod_revision)

    async def still_holds(self, compares: Sequence[Compare]) -> bool:
        """Whether jobs that would not change still stand as they were seen; if not, the view shows then how they do.

        1. A job is changed by way of another instance. 2. It is to be changed back by way of this one, whose view is a
        moment behind, so that nothing seems to be asked for. To be called in the turn in which they were seen.

        Raises:
            StoreUnavailable: As of `see`.
        """
        # The view goes on while the store is asked.
        seen = self._view.revision
        if await self._store.revision() <= seen:
            return True
        for compare in compares:
            entry = await self._store.get(compare.key)
            if (0 if entry is None else entry.mod_revision) != compare.mod:
                await settle.see_others(self._store, self._view.mirror, (compare,))
                return False
        return True
