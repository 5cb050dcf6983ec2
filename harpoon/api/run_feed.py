"""Fan-out of what happens in runs: one watch of the store for all who watch the same, and one encoding of an event.

What is watched is what the store has, so it is durable, and the same whichever instance conducts the run: a run that is
taken over is told on without a break. A watch of many runs needs one watch of all runs an instance; that of one run
needs its log only. All shards are of one store, whose revisions order them: one number says how far all of them were
told. A channel is there for as long as somebody listens.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import Counter

from harpoon.api.run_channel import Channel
from harpoon.api.run_selection import RunSelection
from harpoon.control.run_changes import EVERYTHING, log_of
from harpoon.control.view import WORKFLOWS, View
from harpoon.store.cluster import REGISTRY
from harpoon.store.port import Store


class RunFeed:
    """The channels of one application."""

    def __init__(self, store: Store, view: View, encoded: Counter) -> None:
        self._store = store
        self._view = view
        self._encoded = encoded
        #: Prefix in the store → the channel that hears it.
        self._channels: dict[str, Channel] = {}

    def __len__(self) -> int:
        return len(self._channels)

    @asynccontextmanager
    async def channel(self, run: str | None, selection: RunSelection) -> AsyncIterator[Channel]:
        """Yield the channel of a run, or of many, which hears everything from now on at least, until the block ends.

        Args:
            run: ``<namespace>/<run>``; None: many.
            selection: What will be wanted of it.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        prefix = prefix_of(selection) if run is None else log_of(run)
        channel = self._found(prefix)
        if channel is None:
            after = await self._store.revision()
            channel = self._found(prefix) or self._open(prefix, after, is_one=run is not None)
        channel.users += 1
        try:
            yield channel
        finally:
            channel.users -= 1
            if not channel.users:
                channel.stop()
                if self._channels.get(prefix) is channel:
                    del self._channels[prefix]

    def _found(self, prefix: str) -> Channel | None:
        channel = self._channels.get(prefix)
        return None if channel is None or channel.failure is not None else channel

    def _open(self, prefix: str, after: int, *, is_one: bool) -> Channel:
        channel = Channel(self._store, prefix, after, None if is_one else self._view, self._encoded)
        self._channels[prefix] = channel
        return channel


def prefix_of(selection: RunSelection) -> str:
    """Return where in the store all is that is wanted of many runs, or workflows."""
    if not selection.has_workflows:
        return EVERYTHING
    # Runs and workflows are apart; what lies between is heard and passed over, so that both are told by one revision.
    return REGISTRY if selection.has_events else WORKFLOWS


RUN_FEED: web.AppKey[RunFeed] = web.AppKey("run_feed", RunFeed)
