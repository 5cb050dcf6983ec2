"""How long the successor of a placement that failed has to wait, and how many have failed in a row."""

from datetime import timedelta

from harpoon.core.standing import Health, Record
from harpoon.model.instant import Instant

#: The wait before the second replacement in a row; each further one waits twice as long, up to `BACKOFF_MAX`.
BACKOFF_MIN = timedelta(seconds=1)
BACKOFF_MAX = timedelta(minutes=1)
#: A task that ran for so long before it failed was a good one: counting begins anew.
STEADY = timedelta(minutes=10)

_MILLISECOND = timedelta(milliseconds=1)


def _ended_ms(dead: Record, now: Instant) -> int:
    """Return when a placement failed.

    Failures are dated by the agent's clock. One dated before its placement or after now is taken to have happened when
    it was placed: an agent's clock can neither stop replacements nor let them run hot.
    """
    decided_ms = dead.placement.decided_ms
    said_ms = decided_ms if dead.task is None else dead.task.since_ms
    return said_ms if decided_ms <= said_ms <= now.wall else decided_ms


def count_failures(dead: Record, now: Instant) -> int:
    """Return how many failed in a row before the successor of ``dead``."""
    if dead.health is Health.LOST:
        return dead.placement.failures
    ran = (_ended_ms(dead, now) - dead.placement.decided_ms) * _MILLISECOND
    return 1 if ran >= STEADY else dead.placement.failures + 1


def delay_after(failures: int) -> timedelta:
    """Return how long is waited after so many failures in a row."""
    return timedelta(0) if failures <= 1 else min(BACKOFF_MIN * 2 ** min(failures - 2, 10), BACKOFF_MAX)


def backoff(current: Record | None, now: Instant) -> timedelta:
    """Return how long the successor of a failed placement has still to wait."""
    if current is None or current.health is not Health.FAILED:
        return timedelta(0)
    delay = delay_after(count_failures(current, now))
    waited = (now.wall - _ended_ms(current, now)) * _MILLISECOND
    # A clock that was set back behind the decision would make the wait endless.
    return delay - waited if timedelta(0) <= waited < delay else timedelta(0)
