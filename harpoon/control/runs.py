"""Who conducts which run: what the doors and the exchange find conductors by, for all the process's life.

Conductors come and go with the holds of their shards (`control.shards`); whoever looks one up uses it at once.
"""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import shard_of
from harpoon.control.run_reader import RunReader
from harpoon.control.view import View

#: Keys of shards' holds in the view.
SHARD_HOLDS: Final = "shards/"


def shard_name(shard: int) -> str:
    """Return what a shard is called where holds are shared out."""
    return f"{shard:02d}"


class Runs:
    """The conductors of this instance.

    Args:
        view: Shows who holds what.
        reader: Reads what is not conducted here.
    """

    def __init__(self, view: View, reader: RunReader) -> None:
        self.reader = reader
        self._view = view
        self._conductors: dict[int, Conductor] = {}
        #: Shard → its conductor, of those that this instance conducts now.
        self.conductors: Mapping[int, Conductor] = MappingProxyType(self._conductors)
        self._is_changed = asyncio.Event()
        #: Called at once when conductors come and go, before anything follows from it.
        self.changed: Callable[[], None] = lambda: None

    def conductor_of(self, key: str) -> Conductor | None:
        """Return who conducts a run here, given ``<namespace>/<run>``, open or not; None: another instance does."""
        return self._conductors.get(shard_of(key))

    async def awaited(self, key: str, within_s: float) -> Conductor | None:
        """Return who conducts a run here, or does within so long; None: nobody does here."""
        try:
            async with asyncio.timeout(within_s):
                while (conductor := self.conductor_of(key)) is None:
                    await self._is_changed.wait()
        except TimeoutError:
            return None
        return conductor

    def holder_of(self, key: str) -> str | None:
        """Return the instance that holds a run's shard, as the view shows it; None: nobody does now."""
        row = self._view.holds.rows.get(SHARD_HOLDS + shard_name(shard_of(key)))
        return None if row is None else row.value.instance

    def enter(self, shard: int, conductor: Conductor) -> None:
        """Have a shard's conductor found, which has loaded its runs."""
        self._conductors[shard] = conductor
        self.changed()
        self._is_changed.set()
        self._is_changed = asyncio.Event()

    def leave(self, shard: int, conductor: Conductor) -> None:
        """Have it found no longer; nothing, if it is not the one that is found."""
        if self._conductors.get(shard) is conductor:
            del self._conductors[shard]
            self.changed()
