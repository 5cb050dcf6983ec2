"""Ownership: a leased key that one instance can have, and the token that proves it.

A hold does not stop its former holder from acting; the token does. So every write by virtue of a hold carries
`Hold.compare`, and every command by virtue of it carries `Hold.token`:

1. A holds, and stalls. 2. Its lease runs out, and its key with it. 3. B makes the key anew, at a higher revision.
4. A wakes and acts on: its commits fail the compare, and whoever has heard of B's token refuses the lower one.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from harpoon.model.token import Token
from harpoon.store.port import Compare, Delete, Lease, Put, Store, StoreUnavailable

HOLDS: Final = "/h/1/ctl/holds/"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that was acquired; whether it still is, only a commit with `compare` tells."""

    key: str
    token: Token
    lease: Lease

    @property
    def compare(self) -> Compare:
        """The condition that each write by virtue of this hold carries."""
        return Compare(self.key, create=self.token.revision)

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lease is over; the hold may be lost somewhat earlier than this tells."""
        return self.lease.lost

    async def release(self, store: Store) -> None:
        """Give the hold up, if it is still this one.

        Raises:
            StoreUnavailable: The store could not answer; the lease's end will give it up.
        """
        await store.commit((self.compare,), (Delete(self.key),))


async def acquire(store: Store, lease: Lease, name: str, instance: str, incarnation: int) -> Hold | None:
    """Take the hold ``name`` for ``instance``, or return None: somebody has it, perhaps a former self.

    Args:
        store: Where it is held.
        lease: How long it is held, at most.
        name: What is held.
        instance: Unique name of the running process; never used again by a later one.
        incarnation: The store's life number; the first part of the token.

    Raises:
        StoreUnavailable: The store could not answer, or the lease is over.
    """
    key = HOLDS + name
    try:
        revision = await store.commit((Compare(key, mod=0),), (Put(key, instance.encode(), lease),))
    except StoreUnavailable as error:
        if not error.maybe_applied:
            raise
        # The answer was lost, perhaps after the commit: the key tells whose it is.
        entry = await store.get(key)
        revision = entry.create_revision if entry is not None and entry.value == instance.encode() else None
    return None if revision is None else Hold(key, Token(incarnation=incarnation, revision=revision), lease)
