"""What instances tell one another so that limits of concurrency hold for all of them together."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from harpoon.model.units import Duration

#: A report is answered after so long, whether there is something to tell or not.
WAIT_MAX: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardHeld:
    """A shard, and when its holder took it."""

    shard: int
    #: The revision at which it was taken.
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReported:
    """What an instance has, and would have, of one key."""

    namespace: str
    key: str
    #: Permits that it has, used or not.
    held: int = 0
    #: Permits that it would have, and the limit: how many there may be at all.
    wants: int = 0
    most: int = 0
    #: Some of the runs that have them.
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitReport:
    """What an instance tells the one that gives out permits: all that it has, and all that it would have."""

    #: Who tells it.
    instance: str
    #: Rises with each report of the instance.
    number: int
    #: The shards whose runs it conducts.
    conducts: tuple[ShardHeld, ...] = ()
    #: The shards that it takes the other for the holder of.
    homes: tuple[ShardHeld, ...] = ()
    #: Of those that the other gives out permits of.
    keys: tuple[KeyReported, ...] = ()
    #: With nothing to tell, the answer waits for so long; at most 30s.
    wait: Duration = timedelta(0)

    def __post_init__(self) -> None:
        if self.wait > WAIT_MAX:
            raise ValueError(f"wait is at most {WAIT_MAX.seconds}s; ask again to wait longer")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGiven:
    """What an instance is given of a key, and how the key stands."""

    namespace: str
    key: str
    #: Permits that it has from now on, beside those it reported.
    given: int = 0
    #: Permits that are out, all instances together.
    held: int = 0
    #: Some of the runs that have them.
    runs: tuple[str, ...] = ()
    #: None are given out before these instances have told what they have.
    lacks: tuple[str, ...] = ()
    is_closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitAnswer:
    """What a report is answered; it counts only for who has reported nothing since."""

    number: int
    #: Of those that the instance would have.
    keys: tuple[KeyGiven, ...] = ()
