"""What the store of a simulation keeps beside its keys, and what it is asked to do to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from harpoon.store.port import Change, Compare, Write

if TYPE_CHECKING:
    from tests.sim.way import SimWay


class Past(NamedTuple):
    """A revision, kept for watches, and for answers of yesterday."""

    changes: tuple[Change, ...]
    #: What it replaced.
    before: tuple[Change, ...]
    #: When that was, by the store's clock.
    at: float


@dataclass(slots=True, eq=False)
class Granted:
    """A lease as the store has it."""

    number: int
    ttl_s: int
    #: Whoever asked for it.
    way: "SimWay"
    #: Not renewed any more after this; let go at ``over_at``.
    deadline: float = 0.0
    over_at: float = 0.0


@dataclass(slots=True, eq=False)
class Order:
    """A commit on its way."""

    way: "SimWay"
    compares: Sequence[Compare]
    writes: Sequence[Write]
    #: Key → number of the lease it is put under.
    leases: Mapping[str, int]
    #: Its author waits no longer.
    is_given_up: bool = False
