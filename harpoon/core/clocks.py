"""How far an instance's clock is off those of the others, and whether it may go by it.

What is stored is dated by the wall clock of whoever writes it, and others count on from there. So an instance that is
off by more than `SKEW_MAX` takes no holds until it is right again. Which clock is right nobody knows: the one in the
middle is taken for it; where two are, that of the instance that was there first.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final, NamedTuple

#: Off by more, an instance takes no holds; by no more than half of it, it does again.
SKEW_MAX: Final = timedelta(seconds=2)

_MILLISECOND = timedelta(milliseconds=1)


class Reading(NamedTuple):
    """Another instance's clock, as it was read from here."""

    #: Milliseconds by which it is ahead of ours; below 0: behind.
    ahead_ms: int
    #: When that instance joined, as a revision: the lower, the earlier.
    joined: int


def skew(readings: Iterable[Reading], joined: int) -> timedelta:
    """Return by how much our clock is ahead of the one that is taken for right; below 0: behind.

    Args:
        readings: Of the others that could be asked.
        joined: When we joined.
    """
    clocks = sorted((Reading(0, joined), *readings))
    middle = clocks[(len(clocks) - 1) // 2 : len(clocks) // 2 + 1]
    return -min(middle, key=lambda clock: clock.joined).ahead_ms * _MILLISECOND


def is_fit(found: timedelta, *, was_fit: bool) -> bool:
    """Return whether an instance whose clock is so far off may take holds."""
    return abs(found) <= (SKEW_MAX if was_fit else SKEW_MAX / 2)
