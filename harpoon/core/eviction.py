"""How fast lost tasks are replaced: a bucket of tokens, one for each, filled again with time.

Many tasks that are lost at once are seldom many machines that died: mostly the fault is on the way to them, or here. So
replacing begins at once, but the more of them there are the longer it takes; and while too many agents are lost, which
is not counted here, it halts.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from harpoon.model.instant import Instant

#: Lost tasks replaced at once, after a time in which none were.
BURST: Final = 200
#: And from then on, so many a second.
PER_SECOND: Final = 20
#: As it is told of those that wait for it.
LIMITED: Final = f"replacing lost tasks is limited to {PER_SECOND} a second"
#: No limit: as many as a job may have, and more.
UNLIMITED: Final = 1 << 30

#: A token takes so long to come back.
_EACH: Final = timedelta(seconds=1) / PER_SECOND
_FULL: Final = BURST * _EACH


@dataclass(frozen=True, slots=True)
class Bucket:
    """The tokens there are, told by when the bucket is full again; spans are those of a clock that never jumps."""

    #: Full from this moment on.
    full_at: timedelta = timedelta(0)

    def available(self, now: Instant) -> int:
        """Return how many lost tasks may be replaced now."""
        return max(0, (_FULL - self._missing(now)) // _EACH)

    def take(self, count: int, now: Instant) -> "Bucket":
        """Return the bucket after so many were replaced."""
        return Bucket(now.elapsed + self._missing(now) + count * _EACH) if count else self

    def due(self, count: int, now: Instant) -> timedelta:
        """Return the span until so many more may be replaced, one after the other; nothing if they may be now."""
        return max(timedelta(0), self._missing(now) + count * _EACH - _FULL)

    def _missing(self, now: Instant) -> timedelta:
        return max(timedelta(0), self.full_at - now.elapsed)
