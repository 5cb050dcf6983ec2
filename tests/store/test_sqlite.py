"""What only the store over a file must do: survive crashes, keep others out, refuse honestly, keep the file small."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.kit.clock import Clock, SystemClock
from harpoon.store import retention
from harpoon.store.port import Compacted, Compare, Delete, Put, StoreUnavailable
from harpoon.store.sqlite import SqliteStore
from tests.store.implementations import HandClock
from tests.store.reading import entries, told

ROOT = Path(__file__).parents[2]
CRASHES = 10


@asynccontextmanager
async def a_store(path: Path, clock: Clock | None = None) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, clock=clock or SystemClock(), synchronous="NORMAL")
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def a_writing_process(path: Path, attempt: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.store.crashing", str(path), str(attempt)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_no_acknowledged_write_is_lost_by_kill_9_and_no_revision_used_twice(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    acknowledged: dict[str, int] = {}
    last = 0
    for attempt in range(CRASHES):
        async with asyncio.timeout(30), a_writing_process(path, attempt) as process:
            assert process.stdout is not None
            lines = [await process.stdout.readline() for _ in range(1 + 97 * attempt)]
            process.kill()
            lines += (await process.stdout.read()).splitlines(keepends=True)
        whole = [line.split() for line in lines if line.endswith(b"\n")]
        told_now = {key.decode(): int(revision) for key, revision in whole}
        assert len(set(told_now.values())) == len(told_now)
        assert min(told_now.values()) > last, "a revision seen before the crash is never given out again"
        acknowledged |= told_now
        async with a_store(path) as store:
            kept = {entry.key: entry for entry in await entries(store, "/")}
            last = await store.revision()
            assert {key: kept[key].mod_revision for key in acknowledged} == acknowledged
            assert all(kept[key].value == key.encode() for key in acknowledged)
            assert not any(key.startswith("/leased/") for key in kept)
            assert last >= max(acknowledged.values())
            history = await told(store, "/", after=0, until=last)
            assert [revision for revision, _ in history] == list(range(1, last + 1))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_a_file_in_use_by_another_process_is_refused_until_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with asyncio.timeout(30), a_writing_process(path, 0) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        with pytest.raises(StoreUnavailable, match=f"in use by process {process.pid}") as caught:
            await SqliteStore.open(path, clock=SystemClock())
        assert not caught.value.maybe_applied
    async with a_store(path) as store:
        assert await store.revision() > 0


async def test_a_file_open_in_this_process_is_refused(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db"):
        with pytest.raises(StoreUnavailable, match="in use"):
            await SqliteStore.open(tmp_path / "store.db", clock=SystemClock())


async def test_a_reopened_store_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db") as store:
        for n in range(5):
            await store.commit((), (Put(f"/{n}", b""),))
        await store.commit((), (Delete("/4"),))
        await store.compact(3)
    async with a_store(tmp_path / "store.db") as store:
        assert await store.revision() == 6
        assert [entry.mod_revision for entry in await entries(store, "/")] == [1, 2, 3, 4]
        assert await store.commit((Compare("/0", mod=1),), (Put("/0", b""),)) == 7
        with pytest.raises(Compacted):
            await told(store, "/", after=2, until=7)
        assert [revision for revision, _ in await told(store, "/", after=3, until=7)] == [4, 5, 6, 7]


async def test_what_is_not_a_store_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE something (n)")
    other.close()
    (tmp_path / "text.db").write_text("this is no database, but long enough to be taken for one" * 20)
    for path in (tmp_path / "other.db", tmp_path / "text.db", tmp_path / "none" / "store.db", tmp_path):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await SqliteStore.open(path, clock=SystemClock())


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db") as store:
        await store.commit((), (Put("/secret", b""),))
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes.keys() == {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_a_full_disk_fails_the_batch_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db") as store:
        assert await store.commit((), (Put("/a", b"1"),)) == 1
        tables = store._writer._tables
        tables._execute("PRAGMA max_page_count = 1")
        large = [store.commit((), (Put(f"/{n}", b"x" * 200_000),)) for n in range(10)]
        outcomes = await asyncio.gather(*large, return_exceptions=True)
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert await store.revision() == 1
        assert len(await entries(store, "/")) == 1
        tables._execute("PRAGMA max_page_count = 1000000")
        assert await store.commit((), (Put("/a", b"2"),)) == 2
        assert [revision for revision, _ in await told(store, "/", after=0, until=2)] == [1, 2]


def fail(store: SqliteStore) -> None:
    """Have the store think that the disk failed."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR | (4 << 8)
    store._writer._tables._judge(error)


async def test_a_failed_disk_stops_all_writing_and_no_reading(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db", HandClock()) as store:
        await store.commit((), (Put("/a", b"1"),))
        fail(store)
        for call in (store.commit((), (Put("/a", b"2"),)), store.compact(1)):
            with pytest.raises(StoreUnavailable, match="started again"):
                await call
        entry = await store.get("/a")
        assert entry is not None
        assert entry.value == b"1"
    async with a_store(tmp_path / "store.db") as store:
        assert await store.commit((), (Put("/a", b"2"),)) == 2


async def test_a_lease_that_ends_while_the_disk_fails_is_over_all_the_same(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db") as store:
        lease = await store.lease(10)
        await store.commit((), (Put("/a", b"", lease),))
        fail(store)
        with pytest.raises(StoreUnavailable):
            await lease.revoke()
        assert lease.lost.is_set()
        store._writer._tables._broken = None
        with pytest.raises(StoreUnavailable, match="lease"):
            await store.commit((), (Put("/b", b"", lease),))
        assert await store.get("/a") is None


async def test_a_store_that_cannot_be_tidied_waits_before_it_tries_again(tmp_path: Path) -> None:
    clock = HandClock()
    async with a_store(tmp_path / "store.db", clock) as store:
        await store.commit((), (Put("/a", b"1"),))
        fail(store)
        clock.advance(retention.KEPT_FOR * 2)
        with pytest.raises(StoreUnavailable):
            await store.commit((), (Put("/a", b"2"),))
        async with asyncio.timeout(10):
            while store._writer._pause_s() != 10:
                await asyncio.sleep(0.01)
        store._writer._tables._broken = None
        clock.advance(timedelta(seconds=10))
        async with asyncio.timeout(10):
            while store._writer._tables.compacted != 1:
                await store.commit((), (Delete("/none"),))


async def test_if_the_writing_thread_dies_everybody_who_waits_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = []
    monkeypatch.setattr("threading.excepthook", died.append)
    store = await SqliteStore.open(tmp_path / "store.db", clock=SystemClock(), synchronous="NORMAL")
    lease = await store.lease(10)
    monkeypatch.setattr(store._writer, "_plan", None)
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit((), (Put("/a", b""),))
    assert caught.value.maybe_applied
    async with asyncio.timeout(10):
        await lease.lost.wait()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get("/a")
    await store.close()
    async with asyncio.timeout(10):
        while not died:
            await asyncio.sleep(0.01)
    assert len(died) == 1
    async with a_store(tmp_path / "store.db") as again:
        assert await again.revision() == 0


async def test_old_history_goes_by_itself(tmp_path: Path) -> None:
    clock = HandClock()
    async with a_store(tmp_path / "store.db", clock) as store:
        for n in range(1, 7):
            await store.commit((), (Put(f"/{n}", b""),))
            clock.advance(timedelta(minutes=3))
        # Fifteen minutes passed between the first and the last; ten are kept.
        async with asyncio.timeout(10):
            while store._writer._tables.compacted < 3:
                await store.commit((), (Delete("/none"),))
        with pytest.raises(Compacted) as caught:
            await told(store, "/", after=0, until=6)
        assert caught.value.oldest == 3
        assert [revision for revision, _ in await told(store, "/", after=3, until=6)] == [4, 5, 6]
        assert len(await entries(store, "/")) == 6


async def test_an_idle_store_folds_its_log_and_then_does_nothing(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db", HandClock()) as store:
        await store.commit((), (Put("/a", b"x" * 100_000),))
        wal = tmp_path / "store.db-wal"
        assert wal.stat().st_size > 100_000
        async with asyncio.timeout(20):
            while wal.stat().st_size:
                await asyncio.sleep(0.05)
        # The clock stands still, so nothing is ever due but the history's end; the writer says so a moment after the fold.
        async with asyncio.timeout(20):
            while store._writer._pause_s() != retention.KEPT_FOR / timedelta(seconds=1):
                await asyncio.sleep(0.05)
        await store.compact(1)
        async with asyncio.timeout(20):
            while store._writer._pause_s() is not None:
                await asyncio.sleep(0.05)


async def test_too_many_waiting_commits_are_refused_before_they_are_tried(tmp_path: Path) -> None:
    async with a_store(tmp_path / "store.db") as store:
        value = b"x" * 1_000_000
        calls = [store.commit((), (Put(f"/{n}", value),)) for n in range(100)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
        assert 0 < len(refused) < 50
        assert not any(error.maybe_applied for error in refused)
        assert len(await entries(store, "/")) == 100 - len(refused)
