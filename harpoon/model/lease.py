"""The times of an instance's lease: how long it lasts, how often it is renewed, how early its end counts.

They are checked together, for none of them is right by itself: the time between two renewals, of which one may be lost,
and the time to stop acting must fit into the lease; and a take-over into the time that an agent may be out of reach.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

#: etcd grants no less at its defaults: one and a half of its election timeout, in whole seconds.
TTL_MIN: Final = timedelta(seconds=2)
#: Nobody would mind the agents of an instance that died for so long.
TTL_MAX: Final = timedelta(seconds=60)
#: Time to stop acting: what is shorter than a busy turn of the event loop is none.
MARGIN_MIN: Final = timedelta(milliseconds=100)
#: What a take-over takes beyond the leases: others are to hear of it, dial the agents and be obeyed.
TAKEOVER: Final = timedelta(seconds=2)

_DEFAULT_TTL: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How long an instance's lease lasts, and how it is kept.

    Raises:
        ValueError: They do not go together; the message is the inequality, with its numbers.
    """

    #: One that is not renewed for so long is over, and what was held under it is another's to take.
    ttl: timedelta
    #: It is renewed so often.
    keepalive: timedelta
    #: Its holder stops acting so long before it may be over.
    margin: timedelta

    def __post_init__(self) -> None:
        ttl, keepalive, margin = self.ttl, self.keepalive, self.margin
        if not TTL_MIN <= ttl <= TTL_MAX:
            raise ValueError(
                f"lease_ttl is {_told(TTL_MIN)} (etcd grants no less at its defaults) to {_told(TTL_MAX)} (for longer "
                f"nobody would mind the agents of an instance that died): got {_told(ttl)}"
            )
        if margin < MARGIN_MIN:
            raise ValueError(
                f"fence_margin >= {_told(MARGIN_MIN)} does not hold (it is the time to stop acting): "
                f"got {_told(margin)}"
            )
        if keepalive <= timedelta(0):
            raise ValueError(f"keepalive > 0 s does not hold: got {_told(keepalive)}")
        if 2 * keepalive + margin > ttl:
            raise ValueError(
                "2 x keepalive + fence_margin <= lease_ttl does not hold (one renewal may be lost): "
                f"2 x {_told(keepalive)} + {_told(margin)} = {_told(2 * keepalive + margin)} > {_told(ttl)}"
            )

    @classmethod
    def of(
        cls, ttl: timedelta = _DEFAULT_TTL, keepalive: timedelta | None = None, margin: timedelta | None = None
    ) -> Self:
        """Return the times with what is usual where nothing is said: a third of the ttl, and a tenth of it."""
        return cls(
            ttl=ttl,
            keepalive=ttl / 3 if keepalive is None else keepalive,
            margin=ttl / 10 if margin is None else margin,
        )

    def check_lost_after(self, lost_after: timedelta) -> None:
        """Check that an instance that dies is followed by another before its agents' time is over.

        Leases run out twice as late when the store loses its leader. The time of an agent that is not reached runs on
        meanwhile, and whoever comes when it is over takes the agent for lost at the first try that fails.

        Raises:
            ValueError: It may be; the message is the inequality, with its numbers.
        """
        needed = 2 * self.ttl + TAKEOVER
        if lost_after < needed:
            raise ValueError(
                f"lost_after >= 2 x lease_ttl + {_told(TAKEOVER)} does not hold (an agent's time would run out while "
                f"nobody minds it): {_told(lost_after)} < 2 x {_told(self.ttl)} + {_told(TAKEOVER)} = {_told(needed)}"
            )


def _told(span: timedelta) -> str:
    return f"{round(span.total_seconds(), 3):g} s"
