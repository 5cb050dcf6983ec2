"""What an agent's minder has to write, one commit after the other, each by virtue of the agent's hold.

After a write of which nobody knows whether it happened the hold is sealed before the next one: else it could come true
behind that, and an older state of a task would hide a newer one.

What an agent reported goes with its registration, so nothing is written once that is gone: nobody would ever delete it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from harpoon.control.means import HoldLost, Means
from harpoon.control.metrics import Metrics
from harpoon.control.view import AGENTS
from harpoon.kit.news import News
from harpoon.store.hold import Hold, seal
from harpoon.store.port import Compare, Delete, Put, StoreUnavailable, Write

#: Writes of one commit of ours: under the store's limit, and small enough that others get their turn.
WRITES_AT_ONCE: Final = 90
#: How long the news that a task is starting may wait.
LINGER_S: Final = 0.02
#: Wait after a commit that the store could not answer.
RETRY_S: Final = 0.5

_log = structlog.get_logger(__name__)


class Outbox:
    """Writes that wait, by key; a later one for the same key takes the place of the earlier one."""

    def __init__(self, means: Means, metrics: Metrics, hold: Hold, registered: Compare) -> None:
        """Make one; ``registered`` holds as long as the agent's registration is there."""
        #: As it was sealed last.
        self.hold = hold
        self._registered = registered
        self._agent = registered.key.removeprefix(AGENTS)
        self._store = means.store
        self._instance = means.instance
        self._metrics = metrics
        self._writes: dict[str, Write] = {}
        #: The last word on the link, when the agent is left to others.
        self._farewell: Write | None = None
        #: Whether a write may have happened, or may yet.
        self._is_in_doubt = False
        self._has_mail = asyncio.Event()

    def mail(self, write: Write, *, is_urgent: bool = True) -> None:
        """Queue a write; a later one for the same key takes its place, at the end.

        A task that is starting has mostly started a moment later: such news lingers, so that the better one need not
        wait for its commit.
        """
        self._writes.pop(write.key, None)
        self._writes[write.key] = write
        if is_urgent:
            self._has_mail.set()
        elif len(self._writes) == 1:
            asyncio.get_running_loop().call_later(LINGER_S, self._has_mail.set)

    def resign(self, farewell: Put) -> None:
        """Give the hold back once all that waits is written, in one commit with the last word on the link."""
        self._farewell = farewell
        self._has_mail.set()

    async def post(self) -> None:
        """Commit what is queued, one commit at a time, until cancelled.

        Raises:
            HoldLost: The hold is gone, or was given back; or the agent is no longer registered.
        """
        news = News()
        while True:
            await self._has_mail.wait()
            if not self._writes and self._farewell is None:
                # What lingered went along with something urgent.
                self._has_mail.clear()
                continue
            keys = list(self._writes)[:WRITES_AT_ONCE]
            writes = [self._writes.pop(key) for key in keys] or self._last_words()
            if not self._writes and self._farewell is None:
                self._has_mail.clear()
            try:
                revision = await self._commit(writes)
            except StoreUnavailable as error:
                # Written again as it is, unless there is something newer: a state, not an increment.
                kept = {write.key: write for write in writes if write.key != self.hold.key}
                self._writes = kept | self._writes
                self._has_mail.set()
                if news.is_news(str(error), asyncio.get_running_loop().time()):
                    _log.warning("publish_failed", agent=self._agent, reason=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            if revision is None:
                raise HoldLost(f"the hold of agent {self._agent} is gone, or its registration")
            if any(write.key == self.hold.key for write in writes):
                raise HoldLost("it was not reached from here, and is left to another instance")
            news.forget()
            self._metrics.published.inc(len(writes))

    def _last_words(self) -> list[Write]:
        """Return what gives the hold back: nothing else may come after it."""
        assert self._farewell is not None, "somebody has mail"
        return [self._farewell, Delete(self.hold.key)]

    async def _commit(self, writes: Sequence[Write]) -> int | None:
        """Commit by virtue of the hold, once nothing more can come of what was committed before."""
        store = self._store
        if self._is_in_doubt:
            sealed = await seal(store, self.hold, self._instance)
            if sealed is None:
                return None
            self.hold, self._is_in_doubt = sealed, False
        # Until it is answered; being cancelled is no answer.
        self._is_in_doubt = True
        try:
            revision = await store.commit((self.hold.compare, self._registered), writes)
        except StoreUnavailable as error:
            self._is_in_doubt = error.maybe_applied
            raise
        self._is_in_doubt = False
        return revision
