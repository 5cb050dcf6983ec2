"""The heartbeats of the crew: claims that last equally long are kept together, in one bulk for all of their runs.

Nothing else is known here of the attempts: what is not to be kept any more has to be left.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from harpoon.control.crew_post import Held, State
from harpoon.control.work_sent import ConductorOf, Sent, send
from harpoon.core.offers import AttemptId

#: Heartbeats in the time after which a claim is lost.
BEATS: Final = 3


class Pulse:
    """Keeps the claims of a crew that is at work.

    Args:
        conductor_of: Who conducts a run here.
        spawn: Has something done by the crew.
        lose: Told of attempts that are the crew's no longer, and how that shows.
    """

    def __init__(
        self,
        conductor_of: ConductorOf,
        spawn: Callable[[Coroutine[None, None, None]], object],
        lose: Callable[[AttemptId, str], None],
    ) -> None:
        self._conductor_of = conductor_of
        self._spawn = spawn
        self._lose = lose
        #: Milliseconds of a heartbeat → what has to be kept so.
        self._kept: dict[int, dict[AttemptId, Held]] = {}

    def keep(self, held: Held) -> None:
        """Keep the claim of an attempt from now on."""
        beat_ms = held.beat_ms
        kept = self._kept.get(beat_ms)
        if kept is None:
            kept = self._kept[beat_ms] = {}
            self._beat_later(beat_ms)
        kept[held.id] = held

    def leave(self, held: Held) -> None:
        """Keep it no longer."""
        for kept in self._kept.values():
            if kept.get(held.id) is held:
                del kept[held.id]

    def _beat_later(self, beat_ms: int) -> None:
        asyncio.get_running_loop().call_later(beat_ms / BEATS / 1000, self._beat, beat_ms)

    def _beat(self, beat_ms: int) -> None:
        held = list(self._kept[beat_ms].values())
        if not held:
            del self._kept[beat_ms]
            return
        sent = send([one.beat() for one in held], self._conductor_of, lambda one, own: one.beat(own))
        self._spawn(self._told(held, sent))
        self._beat_later(beat_ms)

    async def _told(self, held: Sequence[Held], sent: Sent[bool]) -> None:
        # What is not known is not denied.
        for one, is_held in zip(held, await sent.told(True), strict=True):
            if not is_held and one.state is State.BEGUN:
                self._lose(one.id, "it is not this server's any more")
