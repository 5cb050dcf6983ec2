"""A real etcd whose quota is used up: writes are refused with the fix, all else goes on, and the fix works."""

import asyncio
import time
from pathlib import Path

import pytest

from harpoon.store.etcd.store import EtcdStore
from harpoon.store.port import Compare, Delete, Put, StoreUnavailable, Trouble
from tests.etcd.members import Member
from tests.etcd.traffic import a_store
from tests.store.reading import entries, put, told

pytestmark = pytest.mark.system

QUOTA = 16 << 20
VALUE = b"x" * 500_000


async def fill(store: EtcdStore) -> tuple[StoreUnavailable, int]:
    """Write until that is refused, and return how it was and how many were written."""
    for number in range(2 * QUOTA // len(VALUE)):
        try:
            await store.commit((Compare(f"/big/{number}", mod=0),), (Put(f"/big/{number}", VALUE),))
        except StoreUnavailable as error:
            return error, number
    raise AssertionError("the quota was never used up")


def mend(member: Member, revision: int) -> None:
    """Do what an operator is told to do."""
    member.ask("kv/compaction", {"revision": revision, "physical": True})
    member.ask("maintenance/defragment", {})
    for alarm in member.ask("maintenance/alarm", {"action": "GET"}).get("alarms", ()):
        member.ask(
            "maintenance/alarm", {"action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": alarm["alarm"]}
        )


async def test_a_full_etcd_refuses_writes_and_nothing_else_until_it_is_mended(tmp_path: Path) -> None:
    with Member(tmp_path, flags=[f"--quota-backend-bytes={QUOTA}"]) as member:
        async with a_store(member) as store, asyncio.timeout(60):
            lease = await store.lease(5)
            first = await store.commit((), (Put("/leased", b"", lease),))
            assert first is not None
            error, written = await fill(store)
            full = time.monotonic()
            assert (error.trouble, error.maybe_applied) == (Trouble.FULL, False)
            assert "defrag" in str(error)
            assert "alarm disarm" in str(error)
            health = store.health()
            assert health.trouble is Trouble.FULL
            assert "defrag" in health.reason
            assert health.errors[Trouble.FULL] > 0
            # Small ones are refused as well, and many at a time: each is told that it did not happen.
            calls = [store.commit((), (Put(f"/small/{n}", b""),)) for n in range(50)]
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(outcome, StoreUnavailable)
                assert (outcome.trouble, outcome.maybe_applied) == (Trouble.FULL, False)
            assert [entry.key for entry in await entries(store, "/small/")] == []
            assert len(await entries(store, "/big/")) == written
            seen = await told(store, "/", after=first - 1, until=first + written)
            assert [revision for revision, _ in seen] == list(range(first, first + written + 1))
            # The lease is renewed all the while.
            await asyncio.sleep(max(0, full + 6 - time.monotonic()))
            assert not lease.lost.is_set()
            assert await store.get("/leased") is not None
            await mended(store, member)


async def mended(store: EtcdStore, member: Member) -> None:
    """Free the space as told, and work as if nothing had been."""
    await asyncio.to_thread(mend, member, await store.revision())
    async with asyncio.timeout(5):
        while True:
            try:
                # What was refused may be deleted now, and other things written.
                await store.commit((), (Delete("/big/0"), Delete("/big/1")))
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                break
    await put(store, "/small/again")
    assert store.health().trouble is None
