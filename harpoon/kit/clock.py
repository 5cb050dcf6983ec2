"""The one place that reads clocks and makes randomness; everything else is handed a `Clock` or a ``Random``."""

import random
import time
from datetime import timedelta
from typing import Protocol

from harpoon.model.instant import Instant


class Clock(Protocol):
    """Tells the moment. A simulation hands in its own."""

    def now(self) -> Instant:
        """Return the present moment."""


def elapsed_s() -> float:
    """Return seconds on a clock that only rises, the same in all threads: for spans where no `Clock` is handed in."""
    return time.monotonic()


class SystemClock:
    """The clocks of the machine."""

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(elapsed=timedelta(seconds=time.monotonic()), wall=time.time_ns() // 1_000_000)


Random = random.Random


def system_random() -> Random:
    """Return a source of randomness seeded by the machine. It is for jitter, not for secrets."""
    return random.Random()  # noqa: S311 jitter only
