"""Bringing back what is finished while those who ask for work wait for some."""

import asyncio

from harpoon.kit.errors import Invalid
from harpoon.worker.outbox import Outbox
from harpoon.worker.session import Session
from harpoon.worker.wire import closing_of


class Returning:
    """Sends what is in the outbox, one request at a time; what gathers meanwhile goes with the next one."""

    def __init__(self, session: Session, outbox: Outbox) -> None:
        self._session = session
        self._outbox = outbox

    async def run(self) -> None:
        """Bring back until cancelled."""
        while True:
            await self._outbox.wait()
            # Whoever is about to ask for work takes them along, and what ends in the same turn goes together.
            await asyncio.sleep(0)
            closings = self._outbox.take()
            if not closings:
                continue
            try:
                answer = await self._session.exchange({"closings": [closing_of(one) for one in closings]})
            except Invalid as error:
                self._outbox.refused(closings, error)
            else:
                self._outbox.answered(closings, answer.results)
