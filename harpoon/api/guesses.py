"""Wrong credentials, counted by where they come from: who shows many is let try no more for a while."""

import math
from collections import OrderedDict
from typing import Final

from aiohttp import hdrs

from harpoon.api.problem import Refused
from harpoon.kit.clock import Clock

#: Wrong ones in a row that are nobody's harm, and so many a second from then on.
BURST: Final = 50
PER_SECOND: Final = 5.0
#: Origins that are remembered; the ones heard of last.
ORIGINS_MAX: Final = 10_000


class Guesses:
    """Counts wrong guesses: each fills a bucket by one, which leaks all the time.

    Args:
        clock: What spans are told by.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Origin → how full its bucket was, and when.
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, origin: str) -> None:
        """Let an origin try.

        Raises:
            Refused: It has guessed wrong too often; it says in how many seconds it may go on.
        """
        over = self._level(origin) - BURST
        if over >= 0:
            wait_s = math.ceil((over + 1) / PER_SECOND)
            raise Refused(429, "too many that were wrong; try again later", headers={hdrs.RETRY_AFTER: str(wait_s)})

    def missed(self, origin: str) -> None:
        """Count a wrong one."""
        self._levels[origin] = self._level(origin) + 1, self._now_s()
        self._levels.move_to_end(origin)
        while len(self._levels) > ORIGINS_MAX:
            self._levels.popitem(last=False)

    def _level(self, origin: str) -> float:
        level, at_s = self._levels.get(origin, (0.0, 0.0))
        return max(0.0, level - (self._now_s() - at_s) * PER_SECOND)

    def _now_s(self) -> float:
        return self._clock.now().elapsed.total_seconds()
