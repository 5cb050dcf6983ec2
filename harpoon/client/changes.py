"""Changes, typed: accepted mutations that can be waited for."""

import asyncio
from datetime import timedelta
from typing import Final

from harpoon.client.caller import Caller, noun
from harpoon.kit.errors import Unavailable
from harpoon.model.status import ChangeState, ChangeStatus
from harpoon.model.units import format_duration

#: One blocked request; less than any proxy or this client gives it.
BLOCK: Final = timedelta(seconds=15)
#: Pause before a server that is away is asked again.
RETRY_AFTER: Final = timedelta(milliseconds=250)


class Changes:
    """The changes of one server; errors are those of `Jobs`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, change: str) -> ChangeStatus:
        """Return how far a change has come."""
        return noun(ChangeStatus, await self._caller.get("changes", change))

    async def wait(self, change: str, *, within: timedelta | None = None) -> ChangeStatus:
        """Return once the change is done, has failed, or a later one has taken its place: its ``state`` tells which.

        A server that is away is asked again.

        Raises:
            TimeoutError: It was none of these in time. The change goes on.
        """
        async with asyncio.timeout(None if within is None else within.total_seconds()):
            while True:
                try:
                    told = await self._caller.get("changes", change, query={"wait": format_duration(BLOCK)})
                except Unavailable:
                    await asyncio.sleep(RETRY_AFTER.total_seconds())
                    continue
                status = noun(ChangeStatus, told)
                if status.is_done or status.state in (ChangeState.SUPERSEDED, ChangeState.FAILED):
                    return status
