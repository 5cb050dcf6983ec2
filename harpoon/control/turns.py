"""What conducting runs may take of one turn of the event loop, all shards together: others are to have theirs.

A store that commits for many tells all of them at once, timers are due at once, and shards are loaded at once. Each
by itself is quick; so all of them ask here before they begin something, and wait for another turn when this one is
spent.

After a turn that was spent, what it left over is collected. The interpreter collects when there are so many objects
more than before; where many runs end at once there are hardly more, though most are new, and it looks through all of
them in one go.
"""

import asyncio
import gc
from datetime import timedelta
from typing import Final

from harpoon.kit.clock import Clock

#: Of one turn.
SPAN: Final = timedelta(milliseconds=4)
#: Collections of the youngest objects, to one of those that outlived some.
_YOUNGEST: Final = 4


class Turns:
    """The share of one instance.

    Args:
        clock: Tells how long something took; that of the loop stands still during a turn.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = timedelta(0)
        #: Somebody has begun something in the present turn.
        self._is_begun = False
        self._is_spent = False
        self._collected = 0

    @property
    def is_spent(self) -> bool:
        """Whether what is begun now had better wait for another turn."""
        if not self._is_begun:
            self._is_begun = True
            self._until = self._clock.now().elapsed + SPAN
            asyncio.get_running_loop().call_soon(self._end)
            return False
        self._is_spent = self._clock.now().elapsed >= self._until
        return self._is_spent

    async def wait(self) -> None:
        """Wait for a turn that is not spent; at once, if this one is not."""
        while self.is_spent:  # noqa: ASYNC110 what is waited for is the loop itself
            await asyncio.sleep(0)

    def _end(self) -> None:
        self._is_begun = False
        if self._is_spent:
            self._is_spent = False
            self._collected += 1
            gc.collect(0 if self._collected % _YOUNGEST else 1)
