"""The clocks of an operation, worked out once for all its attempts."""

from typing import Final, NamedTuple

from harpoon.model.operation import Operation

#: Percent of a clock at which it is warned of, unless the operation says otherwise.
WARN: Final = 80


class Pace(NamedTuple):
    """The clocks of an operation, in milliseconds; and how long before each is due it is warned of."""

    queue_ms: int
    queue_ahead_ms: int
    timeout_ms: int
    timeout_ahead_ms: int
    heartbeat_ms: int
    heartbeat_ahead_ms: int


def pace_of(spec: Operation) -> Pace:
    """Return the clocks of an operation."""
    ahead = 100 - (spec.warn or WARN)
    queue_ms, timeout_ms, heartbeat_ms = spec.queue_timeout_ms, spec.timeout_ms, spec.heartbeat_ms
    return Pace(
        queue_ms,
        queue_ms * ahead // 100,
        timeout_ms,
        timeout_ms * ahead // 100,
        heartbeat_ms,
        heartbeat_ms * ahead // 100,
    )
