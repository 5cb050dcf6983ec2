"""Ownership: a leased key that one instance can have, and the token that proves it.

A hold does not stop its former holder from acting; the token does. So every write by virtue of a hold carries
`Hold.compare`, and every command by virtue of it carries `Hold.token`:

1. A holds, and stalls. 2. Its lease runs out, and its key with it. 3. B makes the key anew, at a higher revision.
4. A wakes and acts on: its commits fail the compare, and whoever has heard of B's token refuses the lower one.

A holder is also protected from itself:

1. A commit's answer is lost. 2. Its author reads that it did not happen, and decides otherwise. 3. The commit arrives
after all, and happens behind what was decided. So what is written by virtue of a hold compares how the hold's key was
written last, and after a lost answer that is written again first (`seal`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.instance import Holder
from harpoon.model.token import Token
from harpoon.store.port import Compare, Delete, Entry, Lease, Put, Store, StoreUnavailable

HOLDS: Final = "/h/1/ctl/holds/"
#: The hold by which one instance decides for all.
SCHEDULER: Final = "scheduler"
#: Who is live.
INSTANCES: Final = "/h/1/ctl/instances/"
#: Holds taken in one commit: under the store's limit, and small enough that others get their turn.
ACQUIRED_MAX: Final = 60
#: Prefixes of all keys that are written with a lease: they belong to a running process, and go with no registry.
LEASED: Final = (HOLDS, INSTANCES)


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that was acquired; whether it still is, only a commit with `compare` tells."""

    key: str
    token: Token
    lease: Lease
    #: The revision at which it was taken, or sealed last.
    sealed: int

    @property
    def compare(self) -> Compare:
        """The condition that each write by virtue of this hold carries."""
        return Compare(self.key, mod=self.sealed)

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lease is over; the hold may be lost somewhat earlier than this tells."""
        return self.lease.lost

    async def release(self, store: Store) -> None:
        """Give the hold up, if it is still this one.

        Raises:
            StoreUnavailable: The store could not answer; the lease's end will give it up.
        """
        await store.commit((Compare(self.key, create=self.token.revision),), (Delete(self.key),))


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
    try:
        found = await acquire_all(store, lease, (name,), instance, incarnation)
    except StoreUnavailable as error:
        if not error.maybe_applied:
            raise
        # The answer was lost, perhaps after the commit: the key tells whose it is.
        return await held(store, lease, name, instance, incarnation)
    return None if found is None else found[0]


async def acquire_all(
    store: Store, lease: Lease, names: Sequence[str], instance: str, incarnation: int
) -> tuple[Hold, ...] | None:
    """Take several holds in one commit, in the order of ``names``, or return None: somebody has one of them.

    Args:
        store: Where they are held.
        lease: How long they are held, at most.
        names: What is held; at most `ACQUIRED_MAX`.
        instance: As of `acquire`.
        incarnation: Likewise.

    Raises:
        StoreUnavailable: The store could not answer, or the lease is over; see `held` for what became of it.
    """
    keys = [HOLDS + name for name in names]
    record = _record(instance)
    revision = await store.commit([Compare(key, mod=0) for key in keys], [Put(key, record, lease) for key in keys])
    if revision is None:
        return None
    return tuple(Hold(key, Token(incarnation=incarnation, revision=revision), lease, revision) for key in keys)


async def held(store: Store, lease: Lease, name: str, instance: str, incarnation: int) -> Hold | None:
    """Return the hold ``name`` if it is this instance's; any lease it had before this one must have been revoked.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    entry = await store.get(HOLDS + name)
    if entry is None or holder_of(entry) != instance:
        return None
    token = Token(incarnation=incarnation, revision=entry.create_revision)
    return Hold(entry.key, token, lease, entry.mod_revision)


async def seal(store: Store, hold: Hold, instance: str) -> Hold | None:
    """Return the hold to go on with once nothing more can come of what was written by it; None: it is no longer ours.

    What was written has then either happened, and every view at the revision ``sealed`` shows it, or never will. The
    hold is not given up meanwhile, and its token stays. May be tried again with the same hold.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    doubt: StoreUnavailable | None = None
    try:
        revision = await store.commit((hold.compare,), (Put(hold.key, _record(instance), hold.lease),))
    except StoreUnavailable as error:
        if not error.maybe_applied:
            raise
        revision, doubt = None, error
    if revision is None:
        # This try or an earlier one may have come so far, and not have been told.
        entry = await store.get(hold.key)
        if entry is None or entry.create_revision != hold.token.revision:
            return None
        if doubt is not None and entry.mod_revision == hold.sealed:
            raise doubt
        revision = entry.mod_revision
    return replace(hold, sealed=revision)


async def holder(store: Store, name: str) -> str | None:
    """Return which instance has the hold ``name``; None: nobody has.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    entry = await store.get(HOLDS + name)
    return None if entry is None else holder_of(entry)


def holder_of(entry: Entry) -> str:
    """Return the instance that a hold's record names, or what stands in place of one."""
    try:
        return codec.load(Holder, entry.value).instance
    except Invalid:
        return entry.value.decode(errors="replace")


def _record(instance: str) -> bytes:
    return codec.dump(Holder(instance=instance))
