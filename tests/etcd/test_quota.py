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
    for number in range(4 * QUOTA // len(VALUE)):
        try:
            await store.commit((Compare(f"/big/{number}", mod=0),), (Put(f"/big/{number}", VALUE),))
        except StoreUnavailable as error:
            return error, number
        # etcd looks at its file, which it writes every 0.1 s.
        await asyncio.sleep(0.02)
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
            assert error.trouble is Trouble.FULL
            assert "defrag" in str(error)
            assert "alarm disarm" in str(error)
            health = store.health()
            assert health.trouble is Trouble.FULL
            assert "defrag" in health.reason
            assert health.errors[Trouble.FULL] > 0
            # Small ones are refused as well, many at a time and one by one.
            await alarmed(member)
            calls = [store.commit((), (Put(f"/small/{n}", b""),)) for n in range(50)]
            calls.append(store.commit((), (Put("/small/leased", b"", lease),)))
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(outcome, StoreUnavailable)
                assert outcome.trouble is Trouble.FULL
            assert [entry.key for entry in await entries(store, "/small/")] == []
            big = len(await entries(store, "/big/"))
            # The one that crosses the line may be refused and done all the same.
            assert big == written or (big == written + 1 and error.maybe_applied)
            seen = await told(store, "/", after=first - 1, until=first + big)
            assert [revision for revision, _ in seen] == list(range(first, first + big + 1))
            # The lease is renewed all the while.
            await asyncio.sleep(max(0, full + 6 - time.monotonic()))
            assert not lease.lost.is_set()
            assert await store.get("/leased") is not None
            await mended(store, member)


async def alarmed(member: Member) -> None:
    """Wait until etcd takes no writes at all; who crosses the line is told sooner."""
    async with asyncio.timeout(5):
        while not await asyncio.to_thread(lambda: member.status().get("errors")):
            await asyncio.sleep(0.02)


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


async def test_commits_that_share_a_transaction_are_counted_and_refused_as_others_are(tmp_path: Path) -> None:
    with Member(tmp_path, flags=[f"--quota-backend-bytes={QUOTA}"]) as member:
        async with a_store(member) as store, asyncio.timeout(60):
            outcomes: list[int | BaseException | None] = []
            while not any(isinstance(outcome, StoreUnavailable) for outcome in outcomes):
                written = len(outcomes)
                calls = [store.commit((), (Put(f"/{written + n:06}", VALUE[:20_000]),)) for n in range(200)]
                outcomes += await asyncio.gather(*calls, return_exceptions=True)
            assert store.health().trouble is Trouble.FULL
            kept = {int(entry.key[1:]) for entry in await entries(store, "/0")}
            for n, outcome in enumerate(outcomes):
                if isinstance(outcome, StoreUnavailable):
                    assert outcome.trouble is Trouble.FULL
                    assert outcome.maybe_applied or n not in kept
                else:
                    assert n in kept, f"commit {n} was told {outcome}"
            assert int(member.status()["dbSize"]) < 4 * QUOTA
            assert store.health().counts["batches"] < len(kept) / 10
