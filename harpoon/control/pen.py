"""Writing by virtue of a hold, until it is known what came of it: the part of a ledger that deals with the store.

A commit whose answer was lost has happened or not, or may happen yet. So the hold is sealed first, which ends the
last; then it is read which; and what did not happen is written again, as it was, under the hold as it is then.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from harpoon.control.means import HoldLost
from harpoon.kit.news import News
from harpoon.store.hold import HOLDS, Hold, seal
from harpoon.store.port import Compare, Entry, Put, Store, StoreUnavailable, Trouble, Write

#: Wait before a store that is away is asked again.
RETRY_S: Final = 0.1
_ENDING: Final = frozenset({Trouble.CLOSED, Trouble.ROLLED_BACK})

_log = structlog.get_logger(__name__)


class Pen:
    """Writes by virtue of one hold, one commit at a time.

    Args:
        store: Where.
        hold: By virtue of what.
        instance: Who has the hold.
    """

    def __init__(self, store: Store, hold: Hold, instance: str) -> None:
        #: As it was sealed last.
        self.hold = hold
        self._store = store
        self._instance = instance
        self._name = hold.key.removeprefix(HOLDS)
        #: Of our own last commit; what we write later stands at a higher revision.
        self._last = hold.sealed
        self._news = News()

    def written(self, revision: int) -> None:
        """Take note of a commit that was made by virtue of the hold, with others."""
        self._last = revision

    async def commit(
        self, compares: Sequence[Compare], writes: Sequence[Write], failed: StoreUnavailable | None = None
    ) -> bool:
        """Commit by virtue of the hold; return False if one of ``compares`` does not hold.

        Args:
            compares: Beside the hold.
            writes: At least one.
            failed: What came of it when it was tried with others.

        Raises:
            HoldLost: The hold is not ours any more.
            StoreUnavailable: The store was closed, or was rolled back.
        """
        while True:
            if failed is not None:
                await self._bear(failed)
                if failed.maybe_applied:
                    await self._seal()
                    if await self._has_happened(writes):
                        return True
                failed = None
            try:
                revision = await self._store.commit((self.hold.compare, *compares), writes)
            except StoreUnavailable as error:
                failed = error
                continue
            if revision is not None:
                self._last = revision
                return True
            if await self.is_held():
                return False

    async def _bear(self, error: StoreUnavailable) -> None:
        """Wait a little for a store that is away.

        Raises:
            HoldLost: It need not be waited for.
            StoreUnavailable: The same.
        """
        if error.trouble in _ENDING:
            raise error
        if self.hold.lost.is_set():
            raise HoldLost(f"the lease of {self._name} is over")
        if self._news.is_news(str(error), asyncio.get_running_loop().time()):
            _log.warning("ledger_waits_for_store", hold=self._name, reason=str(error))
        await asyncio.sleep(RETRY_S)

    async def _seal(self) -> None:
        """Make sure that nothing more comes of what was sent."""
        while True:
            try:
                hold = await seal(self._store, self.hold, self._instance)
            except StoreUnavailable as error:
                await self._bear(error)
                continue
            if hold is None:
                raise HoldLost(f"the hold of {self._name} is gone")
            self.hold = hold
            return

    async def _has_happened(self, writes: Sequence[Write]) -> bool:
        """Whether a commit has happened of which nothing more can come.

        What only deletes is taken for not done: to do it again changes nothing.
        """
        put = next((write for write in writes if isinstance(write, Put)), None)
        if put is None:
            return False
        entry = await self.read(put.key)
        if entry is None or entry.mod_revision <= self._last or entry.value != put.value:
            return False
        self._last = entry.mod_revision
        return True

    async def is_held(self) -> bool:
        """Whether the hold is as it was sealed last; if it is ours, but sealed anew, go on with that.

        Raises:
            HoldLost: It is not ours any more.
        """
        entry = await self.read(self.hold.key)
        if entry is None or entry.create_revision != self.hold.token.revision:
            raise HoldLost(f"the hold of {self._name} is gone")
        if entry.mod_revision == self.hold.sealed:
            return True
        await self._seal()
        return False

    async def read(self, key: str) -> Entry | None:
        """Return a key as it is, however long that takes."""
        while True:
            try:
                return await self._store.get(key)
            except StoreUnavailable as error:
                await self._bear(error)
