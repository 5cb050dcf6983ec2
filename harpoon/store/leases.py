"""Leases of a store that lives in the process of those who hold them.

Such a lease renews itself wherever the store does its work, so it lasts while the process does: it runs out when
the process stood still for longer than its ttl, and ends when it is revoked or the store is closed. It survives
no restart. Spans are monotonic (`Instant.elapsed`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from harpoon.store.port import Put, Write

#: How often a lease is renewed within its ttl.
_RENEWALS = 3


class OwnLease:
    """A lease granted by a store in this process."""

    def __init__(self, number: int, ttl: timedelta, revoke: Callable[["OwnLease"], Awaitable[None]]) -> None:
        self.lost = asyncio.Event()
        #: Unique within one life of the store; what is written beside a leased key.
        self.number = number
        self.ttl = ttl
        self._revoke = revoke

    async def revoke(self) -> None:
        """End the lease now and delete its keys; nothing when it is over."""
        await self._revoke(self)


def leases_of(writes: Iterable[Write]) -> dict[str, OwnLease]:
    """Return the leases that ``writes`` put keys under.

    Raises:
        ValueError: One was granted by another kind of store.
    """
    found = {}
    for write in writes:
        if isinstance(write, Put) and write.lease is not None:
            if not isinstance(write.lease, OwnLease):
                raise ValueError(f"the lease of {write.key} is not one of this store")
            found[write.key] = write.lease
    return found


class Leases:
    """The living leases and their deadlines; whoever keeps the keys calls `overdue` as often as `look_at` says."""

    def __init__(self) -> None:
        self._deadlines: dict[OwnLease, timedelta] = {}
        #: Over, but their keys are not deleted yet.
        self._dying: dict[OwnLease, None] = {}

    def __contains__(self, lease: OwnLease) -> bool:
        """Whether a lease lives."""
        return lease in self._deadlines

    def add(self, lease: OwnLease, now: timedelta) -> None:
        """Let a lease live."""
        self._deadlines[lease] = now + lease.ttl

    def end(self, lease: OwnLease) -> None:
        """Let a lease live no more; it is overdue until it is buried."""
        if self._deadlines.pop(lease, None) is not None:
            self._dying[lease] = None

    def bury(self, lease: OwnLease) -> None:
        """Forget a lease that was ended; its keys are deleted."""
        self._dying.pop(lease, None)

    def all(self) -> tuple[OwnLease, ...]:
        """Return the living leases."""
        return tuple(self._deadlines)

    def overdue(self, now: timedelta) -> tuple[OwnLease, ...]:
        """Renew the leases whose time is not over, end the others, and return all that are to be buried."""
        for lease, deadline in list(self._deadlines.items()):
            if now >= deadline:
                self.end(lease)
            else:
                self._deadlines[lease] = now + lease.ttl
        return tuple(self._dying)

    def look_at(self) -> timedelta | None:
        """Return when to look again at the latest, or None when there is nothing to renew."""
        return min(
            (deadline - lease.ttl + lease.ttl / _RENEWALS for lease, deadline in self._deadlines.items()), default=None
        )
