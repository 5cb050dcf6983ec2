"""Copying a registry from store to store: exactly, only where it may, and so that servers go on there."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit.errors import Conflict, HarpoonError, Invalid, NotFound
from harpoon.store import cluster
from harpoon.store.cluster import CLUSTER, COPYING, REGISTRY
from harpoon.store.hold import HOLDS, acquire
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from tests.store.copying import RECORD, a_source, content, copied, files, many
from tests.store.reading import put

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).map(lambda end: REGISTRY + end)
OTHERS = st.sampled_from(["/h/10", "/h/", "/other", "zebra"])


@settings(max_examples=60, deadline=None)
@given(
    records=st.dictionaries(KEYS, st.binary(max_size=20), max_size=250),
    others=st.dictionaries(OTHERS, st.binary(max_size=3), max_size=3),
    mine=st.dictionaries(OTHERS, st.binary(max_size=3), max_size=3),
)
def test_any_registry_is_copied_exactly_and_nothing_else_is_touched(
    records: dict[str, bytes], others: dict[str, bytes], mine: dict[str, bytes]
) -> None:
    async def play() -> None:
        source, target = MemoryStore(), MemoryStore()
        for key, value in (records | others | {CLUSTER: RECORD}).items():
            await put(source, key, value)
        for key, value in mine.items():
            await put(target, key, value)
        before = await content(source)
        done = await copied(source, target)
        found = await content(target)
        assert cluster.read(found.pop(CLUSTER)).incarnation == done.incarnation
        assert found == records | mine
        assert await content(source) == before
        assert (done.records, done.size) == (len(records), sum(len(k.encode()) + len(v) for k, v in records.items()))

    asyncio.run(play())


async def test_records_come_through_files_and_back_unchanged(tmp_path: Path) -> None:
    source, end = await a_source(many(2_500)), MemoryStore()
    async with files(tmp_path, "a.db", "b.db") as (a, b):
        done = [await copied(source, a), await copied(a, b), await copied(b, end)]
    assert len({(one.records, one.digest) for one in done}) == 1
    before, after = await content(source), await content(end)
    assert json.loads(after.pop(CLUSTER)) == {**json.loads(before.pop(CLUSTER)), "incarnation": 1_800_000_002}
    assert before == after


async def test_the_incarnation_rises_by_the_clock_or_by_one() -> None:
    target, further = MemoryStore(), MemoryStore()
    first = await copied(await a_source(), target)
    second = await copied(target, further)
    assert (first.incarnation_before, first.incarnation, second.incarnation) == (3, 1_800_000_000, 1_800_000_001)
    assert await cluster.found(further, "fresh") == ("c1", 1_800_000_001)


async def test_holds_stay_where_they_are() -> None:
    source, target = await a_source(), MemoryStore()
    await acquire(source, await source.lease(100), "agents/a1", "s1", 3)
    await copied(source, target)
    assert set(await content(target)) == {CLUSTER, "/h/1/ctl/jobs/default/web"}
    assert HOLDS + "agents/a1" in await content(source)


async def test_large_records_are_copied_and_too_large_ones_named() -> None:
    half, whole = 1 << 19, 1 << 20
    fitting = {f"/h/1/ctl/idem/{number}": bytes(half) for number in range(3)}
    done = await copied(await a_source(fitting), MemoryStore())
    assert done.records == 3
    with pytest.raises(Invalid, match="/h/1/ctl/huge takes 1048576 bytes; at most"):
        await copied(await a_source({"/h/1/ctl/huge": bytes(whole - len("/h/1/ctl/huge"))}), MemoryStore())


# Refusals, after which nothing has changed


async def refused(source: Store, target: Store, kind: type[HarpoonError], told: str) -> None:
    before = await content(source), await content(target)
    with pytest.raises(kind, match=told):
        await copied(source, target)
    assert (await content(source), await content(target)) == before


async def test_a_destination_that_holds_a_registry_is_refused() -> None:
    await refused(await a_source(), await a_source(many(4)), Conflict, "has 5 keys under /h/1/ already")


async def test_a_source_without_a_registry_is_refused() -> None:
    await refused(MemoryStore(), MemoryStore(), NotFound, "the source holds no registry")


async def test_a_source_whose_cluster_cannot_be_read_is_refused() -> None:
    for record in (b"", b"[]", b'{"cluster": "c1"}', b'{"cluster": 1, "incarnation": 1}'):
        source = MemoryStore()
        await put(source, CLUSTER, record)
        await refused(source, MemoryStore(), HarpoonError, "cannot be read")


async def test_one_and_the_same_store_is_refused() -> None:
    source = await a_source()
    await refused(source, source, Invalid, "one and the same store")


async def test_a_server_at_work_is_named() -> None:
    source, target = await a_source(), MemoryStore()
    for store, role in ((source, "source"), (target, "destination")):
        lease = await store.lease(100)
        await acquire(store, lease, "scheduler", "host-7-abc", 3)
        await refused(source, target, Conflict, f"host-7-abc is at work on the {role}: stop it .* within its lease")
        await lease.revoke()
    await copied(source, target)


async def test_an_unfinished_copy_is_no_source() -> None:
    source = await a_source()
    await put(source, COPYING)
    await refused(source, MemoryStore(), Conflict, "unfinished copy itself")
