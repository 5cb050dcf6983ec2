"""A registry on its way into an empty store: what a copy of another store and the restoring of a backup share.

At each moment the destination is empty, unfinished, which no server starts on, or whole:

1. `COPYING` is written there, if nothing else of a registry is. Every later commit compares it, so that of two into
   one store the earlier one stops. 2. The records are written. 3. The destination is listed, and compared with what
   was sent by a digest. 4. One commit deletes `COPYING` and writes the cluster's record, in which the incarnation has
   risen.

Whatever is killed when, the same done again removes what the broken one left, and begins anew.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import orjson

from harpoon.kit.errors import Conflict, HarpoonError, Invalid
from harpoon.store.cluster import CLUSTER, COPYING, REGISTRY
from harpoon.store.hold import HOLDS, INSTANCES, LEASED, SCHEDULER, holder
from harpoon.store.port import COMMIT_BYTES_MAX, WRITES_MAX, Compare, Delete, Entry, Put, Store, StoreUnavailable, Write

#: Commits on their way at once: with their bytes, what it takes of memory beside a page of a list.
IN_FLIGHT: Final = 8
#: What a commit has room for beside the compare that it carries.
_BATCH_BYTES_MAX: Final = COMMIT_BYTES_MAX - len(COPYING)


def is_carried(key: str) -> bool:
    """Return whether a registry's record goes along: what is leased stays, and the cluster's record is made anew."""
    return key not in (CLUSTER, COPYING) and not key.startswith(LEASED)


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
                if is_carried(entry.key):
                    self.add(entry)
                    yield entry

    @classmethod
    async def of(cls, store: Store) -> Self:
        """Read a whole registry."""
        tally = cls()
        async for _ in tally.entries(store):
            pass
        return tally


@dataclass(frozen=True, slots=True)
class Arrival:
    """The claim to a destination, from the first commit to the last."""

    target: Store
    #: What every commit compares.
    marker: Compare
    #: Records that an unfinished one had left there, and that were removed.
    removed: int

    @classmethod
    async def begin(cls, target: Store, by: str, now_ms: int) -> Self:
        """Lay claim to a destination.

        Args:
            target: Holds no registry yet, or an unfinished one.
            by: The name of whoever brings it; never used again.
            now_ms: UTC.

        Raises:
            Conflict: A server is at work there, it holds a registry, or something wrote meanwhile.
            Invalid: It is where the registry comes from.
            StoreUnavailable: It could not answer.
        """
        if await holder(target, SCHEDULER) == by:
            raise Invalid("source and destination are one and the same store; name another one with --to")
        await check_idle(target, "destination")
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
                Compare(HOLDS + SCHEDULER, mod=0),
            ),
            (Put(COPYING, orjson.dumps({"by": by, "at_ms": now_ms})),),
        )
        if revision is None:
            raise _disturbed()
        mine = Compare(COPYING, mod=revision)
        return cls(target, mine, 0 if marker is None else await _clear(target, mine))

    async def take(self, entries: AsyncIterator[Entry]) -> None:
        """Write records, a few commits at once.

        Raises:
            Conflict: Something else writes there.
            Invalid: One is too large.
            StoreUnavailable: The destination could not answer.
        """
        await _write(self.target, _batches(entries), self.marker)

    async def check(self, sent: Tally) -> None:
        """Refuse what is not what was sent.

        Raises:
            HarpoonError: It is not; it is left unfinished.
            StoreUnavailable: The destination could not answer.
        """
        arrived = await Tally.of(self.target)
        if arrived.digest != sent.digest:
            raise HarpoonError(
                f"the destination does not hold what was sent: {arrived.records} records of digest {arrived.digest}, "
                f"not {sent.records} of {sent.digest}. It is left unfinished, and no server starts on it; try again"
            )

    async def finish(self, record: bytes) -> None:
        """Make it a registry that servers start on.

        Args:
            record: Of the cluster, in its next life.

        Raises:
            Conflict: Something else writes there.
            StoreUnavailable: The destination could not answer.
        """
        target = self.target
        try:
            revision = await target.commit(
                (self.marker, Compare(CLUSTER, mod=0)), (Put(CLUSTER, record), Delete(COPYING))
            )
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


async def check_idle(store: Store, role: str) -> None:
    """Refuse a store that somebody is at work on.

    Raises:
        Conflict: Somebody is.
        StoreUnavailable: It could not answer.
    """
    name = await holder(store, SCHEDULER)
    async for page in store.list(INSTANCES):
        name = next((entry.key.removeprefix(INSTANCES) for entry in page.entries), name)
    if name is not None:
        raise Conflict(
            f"{name} is at work on the {role}: stop it and try again. If it was killed, its hold runs out by itself "
            "within its lease, some 10 s"
        )


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


def _disturbed() -> Conflict:
    return Conflict("something else writes to the destination, perhaps another copy; see to it and try again")
