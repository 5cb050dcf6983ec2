"""Copying a whole registry into another store, so that servers go on there.

At each moment the destination is empty, an unfinished copy that no server starts on, or whole:

1. `COPYING` is written there, if nothing else of a registry is. Every later commit of the copy compares it, so that
   of two copies into one store the earlier one stops. 2. The records are written. 3. The destination is listed, and
   compared with what was read by a digest. 4. One commit deletes `COPYING` and writes the cluster's record, in which
   the incarnation has risen.

Whatever is killed when, the same copy made again removes what the broken one left, and begins anew.

The scheduler's hold of the source is taken for as long as it lasts, so that no server acts there meanwhile; one that
stands by may still write what it is asked to, so it is looked at the very last whether the source has changed. Holds
are not copied: they are leased, and whoever had one has it in the source.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

import orjson

from harpoon.kit.errors import Conflict, HarpoonError, Invalid, NotFound
from harpoon.store import cluster
from harpoon.store.cluster import CLUSTER, COPYING, REGISTRY
from harpoon.store.hold import HOLDS, Hold, acquire, holder
from harpoon.store.port import (
    COMMIT_BYTES_MAX,
    WRITES_MAX,
    Compare,
    Delete,
    Entry,
    Put,
    Store,
    StoreUnavailable,
    Write,
)

#: Commits on their way at once: with their bytes, what a copy takes of memory beside a page of the list.
IN_FLIGHT: Final = 8
#: A copy that was killed keeps servers from acting on the source for so long.
LEASE_TTL_S: Final = 10.0
#: Taken by each server before it does anything.
_HOLD: Final = "scheduler"
#: What a commit has room for beside the compare that it carries.
_BATCH_BYTES_MAX: Final = COMMIT_BYTES_MAX - len(COPYING)


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


class Tally:
    """How much was read, and its digest: over key and value of each record in key order, each after its length."""

    def __init__(self) -> None:
        self.records = 0
        self.size = 0
        #: The one that the list was of.
        self.revision = 0
        self._hash = hashlib.sha256()

    def add(self, entry: Entry) -> None:
        """Count a record in."""
        key = entry.key.encode()
        for part in (key, entry.value):
            self._hash.update(len(part).to_bytes(8, "big"))
            self._hash.update(part)
        self.records += 1
        self.size += len(key) + len(entry.value)

    @property
    def digest(self) -> str:
        """The digest so far, in hexadecimal digits."""
        return self._hash.hexdigest()

    async def entries(self, store: Store) -> AsyncIterator[Entry]:
        """Yield a registry's records that are copied, counting them in."""
        async for page in store.list(REGISTRY):
            self.revision = page.revision
            for entry in page.entries:
                if entry.key not in (CLUSTER, COPYING) and not entry.key.startswith(HOLDS):
                    self.add(entry)
                    yield entry

    @classmethod
    async def of(cls, store: Store) -> Self:
        """Read a whole registry."""
        tally = cls()
        async for _ in tally.entries(store):
            pass
        return tally


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
        hold = await acquire(source, lease, _HOLD, by, before.incarnation)
        if hold is None:
            raise Conflict(await _at_work(source, "source"))
        marker, removed = await _begin(target, by, now_ms)
        sent = Tally()
        await _write(target, _batches(sent.entries(source)), marker)
        await _check_arrived(target, sent)
        await _check_unchanged(source, hold, record, sent)
        await _finish(target, marker, after)
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
        removed=removed,
    )


async def _record(source: Store) -> bytes:
    """Return the source's cluster record."""
    if await source.get(COPYING) is not None:
        raise Conflict("the source is an unfinished copy itself: finish that copy first, or copy from where it came")
    entry = await source.get(CLUSTER)
    if entry is None:
        raise NotFound(f"the source holds no registry ({CLUSTER} is not there): name the store that a server ran on")
    return entry.value


async def _at_work(store: Store, role: str) -> str:
    name = await holder(store, _HOLD) or "somebody"
    return (
        f"{name} is at work on the {role}: stop it and try again. If it was killed, its hold runs out by itself "
        f"within its lease, some {LEASE_TTL_S:.0f} s"
    )


async def _begin(target: Store, by: str, now_ms: int) -> tuple[Compare, int]:
    """Lay claim to the destination; return what every commit compares, and how many records were removed."""
    held = await holder(target, _HOLD)
    if held is not None:
        if held == by:
            raise Invalid("source and destination are one and the same store; name another one with --to")
        raise Conflict(await _at_work(target, "destination"))
    marker = await target.get(COPYING)
    if marker is None and (count := await _count(target)):
        raise Conflict(
            f"the destination has {count} keys under {REGISTRY} already, and nothing is overwritten: name an empty "
            "store with --to, or delete those keys first if nobody needs them"
        )
    revision = await target.commit(
        (
            Compare(COPYING, mod=0 if marker is None else marker.mod_revision),
            Compare(CLUSTER, mod=0),
            Compare(HOLDS + _HOLD, mod=0),
        ),
        (Put(COPYING, orjson.dumps({"by": by, "at_ms": now_ms})),),
    )
    if revision is None:
        raise _disturbed()
    mine = Compare(COPYING, mod=revision)
    return mine, 0 if marker is None else await _clear(target, mine)


async def _count(store: Store) -> int:
    return sum([len(page.entries) async for page in store.list(REGISTRY)])


async def _clear(target: Store, marker: Compare) -> int:
    """Delete what an unfinished copy has left; return how many records."""
    removed = 0

    async def deletions() -> AsyncIterator[Sequence[Write]]:
        nonlocal removed
        async for page in target.list(REGISTRY):
            keys = [entry.key for entry in page.entries if entry.key != COPYING]
            removed += len(keys)
            for start in range(0, len(keys), WRITES_MAX):
                yield [Delete(key) for key in keys[start : start + WRITES_MAX]]

    await _write(target, deletions(), marker)
    return removed


async def _batches(entries: AsyncIterator[Entry]) -> AsyncIterator[Sequence[Write]]:
    """Put records together into commits, as many as one takes.

    Raises:
        Invalid: One is too large for any.
    """
    batch: list[Write] = []
    size = 0
    async for entry in entries:
        more = len(entry.key.encode()) + len(entry.value)
        if more > _BATCH_BYTES_MAX:
            raise Invalid(f"{entry.key} takes {more} bytes; at most {_BATCH_BYTES_MAX} can be copied")
        if len(batch) == WRITES_MAX or size + more > _BATCH_BYTES_MAX:
            yield batch
            batch, size = [], 0
        batch.append(Put(entry.key, entry.value))
        size += more
    if batch:
        yield batch


async def _write(target: Store, batches: AsyncIterator[Sequence[Write]], marker: Compare) -> None:
    """Commit all batches, a few at once."""
    room = asyncio.Semaphore(IN_FLIGHT)
    failed: list[BaseException] = []

    async def commit(batch: Sequence[Write]) -> None:
        try:
            if await target.commit((marker,), batch) is None:
                raise _disturbed()
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for batch in batches:
                await room.acquire()
                group.create_task(commit(batch))
    except* (HarpoonError, StoreUnavailable) as errors:
        failed.extend(errors.exceptions)
    if failed:
        raise failed[0]


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


async def _check_arrived(target: Store, sent: Tally) -> None:
    """Refuse a copy that is not what was sent."""
    arrived = await Tally.of(target)
    if arrived.digest != sent.digest:
        raise HarpoonError(
            f"the destination does not hold what was sent: {arrived.records} records of digest {arrived.digest}, "
            f"not {sent.records} of {sent.digest}. It is left unfinished, and no server starts on it; try again"
        )


async def _finish(target: Store, marker: Compare, record: bytes) -> None:
    """Make the copy one that servers start on."""
    try:
        revision = await target.commit((marker, Compare(CLUSTER, mod=0)), (Put(CLUSTER, record), Delete(COPYING)))
    except StoreUnavailable as error:
        if not error.maybe_applied:
            raise
        # The answer was lost, perhaps after the commit: the record tells.
        entry = await target.get(CLUSTER)
        if entry is None or entry.value != record:
            raise
    else:
        if revision is None:
            raise _disturbed()


def _disturbed() -> Conflict:
    return Conflict("something else writes to the destination, perhaps another copy; see to it and try again")
