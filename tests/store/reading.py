"""Writing to a store in few words, and reading it to the end of what a test wrote."""

import asyncio
from contextlib import aclosing

from harpoon.store.port import Change, Delete, Entry, Put, Store

Told = list[tuple[int, tuple[Change, ...]]]


async def entries(store: Store, prefix: str) -> list[Entry]:
    """Return all that is listed; its pages must be of one revision and in order."""
    pages = [page async for page in store.list(prefix)]
    assert len({page.revision for page in pages}) == 1
    found = [entry for page in pages for entry in page.entries]
    assert [entry.key for entry in found] == sorted({entry.key for entry in found})
    return found


async def told(store: Store, prefix: str, *, after: int, until: int) -> Told:
    """Return what a watch tells up to a revision, which has to be one with an effect under the prefix.

    Of others a watch may tell or not; they are left out.
    """
    found: Told = []
    last = after
    async with asyncio.timeout(20), aclosing(store.watch(prefix, after=after)) as stream:
        async for revision, changes in stream:
            assert revision > last, "revisions rise, each is told once"
            last = revision
            if revision <= until and changes:
                found.append((revision, changes))
            if revision >= until:
                break
    return found


async def told_up_to(store: Store, prefix: str, key: str, *, after: int) -> Told:
    """Return what a watch tells until a key is changed."""
    found: Told = []
    async with asyncio.timeout(20), aclosing(store.watch(prefix, after=after)) as stream:
        async for revision, changes in stream:
            assert revision > after, "revisions rise, each is told once"
            after = revision
            if changes:
                found.append((revision, changes))
            if any(change.key == key for change in changes):
                break
    return found


async def put(store: Store, key: str, value: bytes = b"v") -> int:
    revision = await store.commit((), (Put(key, value),))
    assert revision is not None
    return revision


async def delete(store: Store, key: str) -> int:
    revision = await store.commit((), (Delete(key),))
    assert revision is not None
    return revision


def in_order(watched: Told) -> Told:
    """Sort the changes within each revision, which are in no order."""
    return [(revision, tuple(sorted(changes, key=lambda change: change.key))) for revision, changes in watched]
