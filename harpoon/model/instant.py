"""The moment a decision is made at: an argument of every pure function, never read inside one."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A moment, told twice, because no single clock serves both purposes.

    Spans inside a process are differences of ``elapsed``, which never jumps. What outlives the process
    (dues, display) is ``wall``, which may.
    """

    #: Monotonic time since an arbitrary start; only differences mean anything.
    elapsed: timedelta
    #: UTC milliseconds since the epoch.
    wall: int
