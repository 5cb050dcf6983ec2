"""How the holder of a lease counts its time: pure, so that a simulated holder counts as a real one does.

A renewal counts from when it was *sent*: the store may have received it any time after that, so at that time plus what
was granted the lease may be over, whatever the answer says of it and however late it comes. The holder is told then, or
earlier by the margin it asked for, or sooner when the store says that the lease is gone.
"""

from typing import Final, NamedTuple

from harpoon.store.port import Renewal

#: A lease is renewed so often within its ttl.
RENEWALS: Final = 3
#: A renewal not answered for so long is tried at the next member; for short leases, an eighth of their ttl.
TRY_S: Final = 1.0
#: Pause between two tries.
AGAIN_S: Final = 0.1


class Counted(NamedTuple):
    """How long a lease can be relied on, by its holder's own clock."""

    #: Its holder is told then; it may be over a little later.
    until: float
    #: When it is to be renewed.
    due: float


def counted(sent: float, left_s: float, renewal: Renewal) -> Counted:
    """Count on from when the renewal was sent that was answered with so many seconds."""
    return Counted(sent + left_s - renewal.margin_s, sent + min(left_s / RENEWALS, renewal.every_s or left_s))


def patience(ttl_s: float) -> float:
    """Return how long one try to renew may take."""
    return min(TRY_S, ttl_s / 8)
