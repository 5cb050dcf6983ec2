"""A term: the time from taking the scheduler's hold to losing it. In it, and only in it, this instance acts.

What is there all the time (the view, the doors, the registry) knows of no hold; what commands agents and places slots
is made with the term, by virtue of its hold, and ends with it. Beginning one is recovering: agents are adopted anew,
with higher tokens, and nothing is remembered from the term before but what the store shows.
"""

import asyncio

from harpoon.control.bookings import Bookings
from harpoon.control.means import HoldLost, Means
from harpoon.control.metrics import Metrics
from harpoon.control.scheduler import Scheduler
from harpoon.control.shepherd import Shepherd
from harpoon.control.transformer import Transformer
from harpoon.control.view import View
from harpoon.store.hold import Hold


class Term:
    """The wired loops of one term."""

    def __init__(self, means: Means, metrics: Metrics, view: View, hold: Hold) -> None:
        self.hold = hold
        self.shepherd = Shepherd(means, metrics, view, hold.lease)
        self._scheduler = Scheduler(means, metrics, view, hold)
        self._transformer = Transformer(means, metrics, view, self.shepherd)
        self._view = view

    @property
    def bookings(self) -> Bookings | None:
        """The index that slots are placed by, for reading; None: nothing is scheduled yet."""
        return self._scheduler.bookings

    async def run(self) -> None:
        """Keep jobs in their declared state until cancelled.

        Raises:
            HoldLost: This instance may no longer act; alone or in a group.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._guard(), name="guard")
            # What was written before the hold was taken is to be known before anything is done by virtue of it.
            await self._view.mirror.reached(self.hold.token.revision)
            # The transformer listens before the shepherd reports the first agent.
            group.create_task(self._transformer.run(), name="transformer")
            group.create_task(self.shepherd.run(), name="shepherd")
            group.create_task(self._scheduler.run(), name="scheduler")

    async def _guard(self) -> None:
        await self.hold.lost.wait()
        raise HoldLost("the lease of this instance was lost")
