"""Copying a whole registry into another store, so that servers go on there. How it arrives: `store.arrival`.

The scheduler's hold of the source is taken for as long as it lasts, so that no server places there meanwhile; one
that is started may still write what it is asked to, so it is looked at the very last whether the source has changed.
What is leased is not copied: whoever had it has it in the source.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from harpoon.kit.errors import Conflict, NotFound
from harpoon.store import cluster
from harpoon.store.arrival import Arrival, Tally, check_idle
from harpoon.store.cluster import CLUSTER, COPYING
from harpoon.store.hold import SCHEDULER, Hold, acquire
from harpoon.store.port import Store, StoreUnavailable

#: A copy that was killed keeps servers from acting on the source for so long.
LEASE_TTL_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy has done."""

    records: int
    #: Of keys and values.
    size: int
    #: SHA-256 over all pairs; the same of what was read and of what the destination then held.
    digest: str
    cluster: str
    incarnation_before: int
    incarnation: int
    #: Records that an unfinished copy had left in the destination.
    removed: int


async def copy(source: Store, target: Store, *, by: str, now_ms: int) -> Copied:
    """Copy the registry of ``source`` into ``target``.

    Args:
        source: Is only read, but for the hold taken and given back.
        target: Holds no registry yet, or an unfinished copy.
        by: The name of whoever copies; never used again.
        now_ms: UTC; the incarnation is made from it.

    Raises:
        Conflict: A server is at work on one of them, the destination holds a registry, or something wrote meanwhile.
        NotFound: The source holds no registry.
        Invalid: They are one and the same, or a record is too large.
        HarpoonError: What arrived is not what was sent.
        StoreUnavailable: One of them could not answer.
    """
    record = await _record(source)
    before, after = cluster.read(record), cluster.risen(record, now_ms)
    lease = await source.lease(LEASE_TTL_S)
    try:
        await check_idle(source, "source")
        hold = await acquire(source, lease, SCHEDULER, by, before.incarnation)
        if hold is None:
            raise Conflict("a server began to work on the source just now: stop it and try again")
        arrival = await Arrival.begin(target, by, now_ms)
        sent = Tally()
        await arrival.take(sent.entries(source))
        await arrival.check(sent)
        await _check_unchanged(source, hold, record, sent)
        await arrival.finish(after)
    finally:
        with suppress(StoreUnavailable):
            await lease.revoke()
    return Copied(
        records=sent.records,
        size=sent.size,
        digest=sent.digest,
        cluster=before.id,
        incarnation_before=before.incarnation,
        incarnation=cluster.read(after).incarnation,
        removed=arrival.removed,
    )


async def _record(source: Store) -> bytes:
    """Return the source's cluster record."""
    if await source.get(COPYING) is not None:
        raise Conflict("the source is an unfinished copy itself: finish that copy first, or copy from where it came")
    entry = await source.get(CLUSTER)
    if entry is None:
        raise NotFound(f"the source holds no registry ({CLUSTER} is not there): name the store that a server ran on")
    return entry.value


async def _check_unchanged(source: Store, hold: Hold, record: bytes, sent: Tally) -> None:
    """Refuse a copy of what has changed since it was read.

    A store that others use as well has moved on without that; then it is read once more.
    """
    entry = await source.get(hold.key)
    if entry is None or entry.create_revision != hold.token.revision:
        raise Conflict("the source may have changed meanwhile, as it took too long to answer; try again")
    if await source.revision() == sent.revision:
        return
    again = await Tally.of(source)
    if again.digest != sent.digest or await _record(source) != record:
        raise Conflict("the source was changed meanwhile; stop whatever writes to it and try again")
