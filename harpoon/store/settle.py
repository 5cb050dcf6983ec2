"""A commit whose outcome became unknown, settled by reading back.

1. A commit is sent, and the answer is lost. 2. What it was to write is read. It is there, as we wrote it and newer than
what we compared: it happened. 3. It is not: the very same commit is tried once more. Its compares let it happen once,
however late the first one still comes. 4. What then is not known, whoever asked is told so.

It is for commits that compare every key whose value they depend on, so that one of two equal ones fails.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from harpoon.store.mirror import Mirror
from harpoon.store.port import Compare, Entry, Put, Store, StoreUnavailable, Trouble, Write

#: A request waits for the store for so long in all: one commit, and the reading after it.
PATIENCE_S: Final = 7.0
#: Wait before a store that is away is read again.
_RETRY_S: Final = 0.1


async def commit(
    store: Store, compares: Sequence[Compare], writes: Sequence[Write], *, patience_s: float = PATIENCE_S
) -> int | None:
    """Commit, and find out what came of it; return the revision, or None when a compare failed.

    Raises:
        StoreUnavailable: It did not happen; or, with ``maybe_applied``, that could not be found out in time.
    """
    doubt = StoreUnavailable("the store did not answer in time", maybe_applied=True, trouble=Trouble.TIMEOUT)
    try:
        async with asyncio.timeout(patience_s):
            try:
                return await store.commit(compares, writes)
            except StoreUnavailable as error:
                if not error.maybe_applied:
                    raise
                doubt = error
            revision = await _settle(store, compares, writes)
    except TimeoutError:
        revision = None
    if revision is None:
        raise doubt
    return revision


async def see_others(store: Store, mirror: Mirror, compares: Sequence[Compare]) -> bool:
    """Wait until a mirror shows why one of these compares failed; nothing was done by whoever compared.

    Returns:
        Whether it does. It does not if the store has left that out of its watch: then waiting does not help, and the
        mirror is doubted.

    Raises:
        StoreUnavailable: The store does not tell, or the mirror does not show it in time.
    """
    try:
        overtaken, revision = await _overtaken(store, compares)
        await mirror.shows(revision)
    except StoreUnavailable as error:
        told = f"others were faster, and this server does not see yet what they did: {error}"
        raise StoreUnavailable(told, maybe_applied=False, trouble=error.trouble) from error
    if overtaken is None or mirror.mod(overtaken.key) != overtaken.mod:
        return True
    mirror.doubt(overtaken.key)
    return False


async def _overtaken(store: Store, compares: Sequence[Compare]) -> tuple[Compare | None, int]:
    """Return the compare that fails, if any still does, and a revision at which that had come about."""
    deleted = None
    for compare in compares:
        entry = await store.get(compare.key)
        if compare.mod is not None and entry is not None and entry.mod_revision != compare.mod:
            return compare, entry.mod_revision
        if compare.mod and entry is None:
            deleted = compare
    # It was deleted. When that was, nobody knows; it was not later than now.
    return deleted, await store.revision()


async def _settle(store: Store, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
    """Return the revision at which the commit happened, or None: nobody can tell."""
    try:
        revision = await _find(store, compares, writes)
        if revision is None:
            revision = await _try_again(store, compares, writes)
        # A compare fails for our own first commit, too, when that came late.
        return revision or await _find(store, compares, writes)
    except StoreUnavailable:
        return None


async def _try_again(store: Store, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
    try:
        return await store.commit(compares, writes)
    except StoreUnavailable as error:
        if not error.maybe_applied:
            # This one did not happen; the first one still may.
            raise
        return None


async def _find(store: Store, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
    """Return the revision of the commit if any of what it puts stands there, waiting for the store if need be."""
    known = {compare.key: compare.mod for compare in compares if compare.mod is not None}
    newest = max(known.values(), default=0)
    for write in writes:
        if isinstance(write, Put):
            entry = await _read(store, write.key)
            floor = known.get(write.key, newest)
            if entry is not None and entry.value == write.value and entry.mod_revision > floor:
                return entry.mod_revision
    return None


async def _read(store: Store, key: str) -> Entry | None:
    while True:
        try:
            return await store.get(key)
        except StoreUnavailable as error:
            if error.trouble in {Trouble.CLOSED, Trouble.ROLLED_BACK}:
                raise
        await asyncio.sleep(_RETRY_S)
