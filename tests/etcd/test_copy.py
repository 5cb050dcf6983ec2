"""A registry of 20,000 records goes from a file to a real etcd and back, by itself and by the verb."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Invalid
from harpoon.store import cluster
from harpoon.store.cluster import CLUSTER, COPYING
from harpoon.store.hold import acquire
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put, Store, StoreUnavailable
from harpoon.store.sqlite import SqliteStore
from tests.cli.terminal_rig import Terminal
from tests.etcd.members import Member
from tests.etcd.traffic import a_store
from tests.store.copying import RECORD, Disturbed, a_source, content, copied, many
from tests.store.reading import put

pytestmark = pytest.mark.system

COUNT = 20_000


@pytest.fixture
def member(etcd: Member) -> Member:
    etcd.wipe()
    return etcd


async def a_file(path: Path) -> SqliteStore:
    return await SqliteStore.open(path, clock=SystemClock())


async def fill(store: Store, count: int) -> None:
    await put(store, CLUSTER, RECORD)
    for start in range(0, count, 100):
        keys = [f"/h/1/ctl/jobs/default/j{number:05}" for number in range(start, start + 100)]
        await store.commit((), [Put(key, key.encode() * 12) for key in keys])


async def test_a_large_registry_goes_to_etcd_and_back_and_is_the_same(tmp_path: Path, member: Member) -> None:
    first, last = await a_file(tmp_path / "first.db"), await a_file(tmp_path / "last.db")
    await fill(first, COUNT)
    async with a_store(member) as middle:
        await put(middle, "/others/key")
        began = time.monotonic()
        there = await copied(first, middle)
        between = time.monotonic()
        back = await copied(middle, last)
        ended = time.monotonic()
    print(f"{COUNT} records, {there.size} bytes: to etcd {between - began:.2f} s, back {ended - between:.2f} s")
    assert (there.records, there.digest) == (back.records, back.digest)
    assert there.records == COUNT
    before, after = await content(first), await content(last)
    assert json.loads(before.pop(CLUSTER))["incarnation"] < json.loads(after.pop(CLUSTER))["incarnation"]
    assert before == after
    await first.close()
    await last.close()


@pytest.mark.parametrize("is_applied", [False, True])
async def test_a_copy_into_etcd_that_broke_is_made_good(member: Member, is_applied: bool) -> None:
    source = await a_source(many(450))
    async with a_store(member) as target:
        with pytest.raises(StoreUnavailable):
            await copied(source, Disturbed(target, 4, is_applied=is_applied))
        with pytest.raises(Conflict, match="not finished"):
            await cluster.found(target, "fresh")
        done = await copied(source, target)
        assert done.removed in range(100, 451)
        assert await target.get(COPYING) is None
        assert set(await content(target)) == set(await content(source))


async def test_a_server_at_work_on_etcd_is_named(member: Member) -> None:
    async with a_store(member) as store:
        await put(store, CLUSTER, RECORD)
        lease = await store.lease(5)
        await acquire(store, lease, "scheduler", "host-7-abc", 3)
        with pytest.raises(Conflict, match="host-7-abc is at work on the source"):
            await copied(store, MemoryStore())
        await lease.revoke()


async def test_one_etcd_is_known_again_behind_another_address(member: Member) -> None:
    async with a_store(member) as store, a_store(member) as same:
        await put(store, CLUSTER, RECORD)
        with pytest.raises(Invalid, match="one and the same store"):
            await copied(store, same)


def test_the_verb_copies_between_a_file_and_etcd(
    tmp_path: Path, member: Member, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def prepare() -> None:
        store = await a_file(tmp_path / "a.db")
        await fill(store, 300)
        await store.close()

    asyncio.run(prepare())
    terminal = Terminal(capsys, monkeypatch)
    monkeypatch.chdir(tmp_path)
    there = terminal.run("store", "copy", "--from", "sqlite:///a.db", "--to", member.url, "-o", "json")
    assert there.code == 0, there.err
    again = terminal.run("store", "copy", "--from", "sqlite:///a.db", "--to", member.url)
    assert (again.code, "has 301 keys under /h/1/ already" in again.err) == (4, True)
    back = terminal.run("store", "copy", "--from", member.url, "--to", "sqlite:///b.db", "-o", "json")
    assert back.code == 0, back.err
    assert json.loads(there.out)["digest"] == json.loads(back.out)["digest"]
