"""A term: the time that one lease of this instance lasts. In it, and only in it, this instance acts.

What is there all the time (the view, the doors, the registry) knows of no hold; what commands agents, places slots and
conducts runs is made with the term, by virtue of holds under its lease, and ends with it. Beginning one is recovering:
agents are adopted anew, with higher tokens, and nothing is remembered from the term before but what the store shows.
"""

import asyncio

from harpoon.control.bookings import Bookings
from harpoon.control.leadership import Leadership
from harpoon.control.means import Means
from harpoon.control.membership import Membership
from harpoon.control.metrics import Metrics
from harpoon.control.peers import Peers
from harpoon.control.shards import Conducting, Shards
from harpoon.control.shepherd import Shepherd
from harpoon.control.transformer import Transformer
from harpoon.control.view import View


class Term:
    """The wired loops of one term."""

    def __init__(
        self, means: Means, metrics: Metrics, view: View, member: Membership, conducting: Conducting | None = None
    ) -> None:
        self.member = member
        self.peers = Peers(means, metrics, view, member)
        self.shepherd = Shepherd(means, metrics, view, member)
        self._leadership = Leadership(means, metrics, view, member)
        self._transformer = Transformer(means, metrics, view, self.shepherd)
        self._shards = None if conducting is None else Shards(means, metrics, view, member, conducting)
        self._view = view

    @property
    def bookings(self) -> Bookings | None:
        """The index that slots are placed by, for reading; None: nothing is scheduled here."""
        return self._leadership.bookings

    async def run(self) -> None:
        """Do this instance's share of keeping jobs in their declared state, until cancelled.

        Raises:
            HoldLost: This instance may no longer act; alone or in a group.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.member.guard(), name="guard")
            # Who is live, this instance among them, is to be known before agents are shared out.
            await self._view.mirror.reached(self.member.joined)
            # So is whether this one is fit: what is nobody's would be taken at once.
            await self.peers.look()
            await self._view.mirror.reached(self.member.declared)
            # The transformer listens before the shepherd reports the first agent.
            group.create_task(self._transformer.run(), name="transformer")
            group.create_task(self.shepherd.run(), name="shepherd")
            group.create_task(self._leadership.run(), name="leadership")
            group.create_task(self.peers.run(), name="peers")
            if self._shards is not None:
                group.create_task(self._shards.run(), name="shards")
