"""Which waiting commits may share one transaction of etcd: pure.

Within a transaction all compares are evaluated before anything is written, and a key may be written only once. So
what one commit of a batch writes, no other may compare or write; many may compare the same key that nobody writes.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from harpoon.store.port import Compare, Write

#: Of etcd's default ``--max-txn-ops``: the commits of a batch, and the operations of the largest among them.
OPERATIONS_MAX: Final = 128
#: Of etcd's default ``--max-request-bytes`` of 1.5 MiB; a commit alone may have as many.
BYTES_MAX: Final = 1 << 20
#: Commits looked at to fill one batch.
LOOKED_AT_MAX: Final = 512


class Waits(Protocol):
    """A commit that waits."""

    @property
    def compares(self) -> Sequence[Compare]:
        """What must hold."""

    @property
    def writes(self) -> Sequence[Write]:
        """What is done if it does."""

    @property
    def size(self) -> int:
        """Bytes of its keys and values."""


class Packed(NamedTuple):
    """How many commits were looked at, and the places of those among them that go together."""

    looked_at: int
    places: tuple[int, ...]


def pack(waiting: Iterable[Waits]) -> Packed:
    """Choose the commits of the next batch; the first one always is."""
    places: list[int] = []
    compared: set[str] = set()
    written: set[str] = set()
    operations = size = looked_at = 0
    for place, commit in enumerate(waiting):
        if place == LOOKED_AT_MAX:
            break
        looked_at = place + 1
        most = max(operations, len(commit.compares), len(commit.writes))
        if places and (len(places) + 1 + most > OPERATIONS_MAX or size + commit.size > BYTES_MAX):
            continue
        compares = {compare.key for compare in commit.compares}
        writes = {write.key for write in commit.writes}
        if not (written.isdisjoint(compares) and written.isdisjoint(writes) and compared.isdisjoint(writes)):
            continue
        places.append(place)
        compared |= compares
        written |= writes
        operations, size = most, size + commit.size
        if len(places) + 1 + operations > OPERATIONS_MAX:
            break
    return Packed(looked_at, tuple(places))
