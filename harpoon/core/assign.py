"""Which live instance minds which agent: rendezvous hashing, and what an instance is to do about it.

It is no election: two instances that see different revisions may both think that an agent is theirs. Who has it is
settled by the hold alone, and whoever commands by virtue of it shows its token.

Rules.

1. An agent belongs to the fit instance that scores highest for it; the score is a hash of both names. So when an
   instance joins or leaves, only those agents move that are its own.
2. Instances that failed to reach an agent since it was last reached do not count for it, unless that leaves none.
3. What nobody fit would take stays with whoever has it.
"""

from collections.abc import Collection, Mapping
from enum import Enum, auto
from hashlib import blake2b

from harpoon.model.instance import Instance


class Verdict(Enum):
    """What an instance is to do about one agent."""

    #: It is ours, and shall be.
    KEEP = auto()
    #: It is nobody's, and ours to take.
    TAKE = auto()
    #: It is ours, and another's to be.
    HAND_OVER = auto()
    #: It is somebody else's business.
    LEAVE = auto()


def score(instance: str, agent: str) -> bytes:
    """Return how much an instance is the one for an agent; the same everywhere, and the more the higher."""
    return blake2b(f"{instance}\0{agent}".encode(), digest_size=8).digest()


def fit(instances: Mapping[str, Instance]) -> frozenset[str]:
    """Return the names of those that may take holds."""
    return frozenset(name for name, instance in instances.items() if not instance.unfit)


def owner(agent: str, candidates: Collection[str], failed_by: Collection[str] = ()) -> str | None:
    """Return which of the fit instances an agent belongs to; None: there are none.

    Args:
        agent: Its name.
        candidates: Names of fit instances.
        failed_by: Those that could not reach it.
    """
    able = [name for name in candidates if name not in failed_by] if failed_by else candidates
    return max(able or candidates, key=lambda name: (score(name, agent), name), default=None)


def decide(me: str, holder: str | None, belongs_to: str | None) -> Verdict:
    """Return what an instance does about an agent.

    Args:
        me: Its name.
        holder: Who has the agent's hold; None: nobody.
        belongs_to: As `owner` says.
    """
    if holder == me:
        return Verdict.KEEP if belongs_to in (me, None) else Verdict.HAND_OVER
    return Verdict.TAKE if holder is None and belongs_to == me else Verdict.LEAVE
