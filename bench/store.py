"""How fast the SQLite store is, beside the raw floor: a bare loop of batched SQLite transactions, in the same run.

What it does not show: a slow disk (there, group commit decides all), an event loop with other work (there, each hop
between threads waits for the interpreter's lock), many watchers, big values.
Figures of one machine at one moment: trust the ratios.
"""

import asyncio
import gc
import sqlite3
import tempfile
import time
from pathlib import Path

import uvloop

from harpoon.kit.clock import SystemClock
from harpoon.store.port import Compare, Put, Store
from harpoon.store.sqlite import SqliteStore

IN_FLIGHT = 64
KEYS = 10_000
SPAN_S = 1.2
LISTED = 100_000
VALUE = b"x" * 256

Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """Return (name, ours, raw floor of the same run, ratio or target) for each figure."""
    with tempfile.TemporaryDirectory(prefix="bench-store-") as name:
        folder = Path(name)
        first = floor(folder / "floor-1.db", SPAN_S / 2)
        # On the loop that the server runs on.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_measure(folder))
        # Before and after: a noisy machine must not decide the ratio.
        raw = (first + floor(folder / "floor-2.db", SPAN_S / 2)) / 2
    ratio = found["cas"] / raw
    return [
        (f"compare-and-swaps/s, {IN_FLIGHT} in flight", f"{found['cas']:,.0f}", f"{raw:,.0f}", f"{ratio:.2f} (≥ 0.6)"),
        ("one commit after the other, p50", f"{found['p50']:.2f} ms", f"{found['raw_ms']:.2f} ms", "≤ 0.5 ms"),
        ("one commit after the other, p99", f"{found['p99']:.2f} ms", "", ""),
        ("watch, live, events/s", f"{found['live']:,.0f}", "", "as fast as commits of 16"),
        ("watch, replay, events/s", f"{found['replay']:,.0f}", "", ""),
        (f"list of {LISTED:,} keys", f"{found['list']:.2f} s", f"{found['raw_list']:.2f} s", ""),
        ("  the loop held by it, longest", f"{found['hold']:.0f} ms", "", "≤ 20 ms"),
        ("get, p50", f"{found['get']:.2f} ms", "", ""),
    ]


def floor(path: Path, span_s: float, batch: int = IN_FLIGHT) -> float:
    """Return compare-and-swaps/s of one thread that does nothing else, in the store's own tables."""
    connection = _bare(path)
    execute = connection.execute
    keys = [f"/h/1/ctl/jobs/default/job-{n:05d}" for n in range(KEYS)]
    revision = done = 0
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < span_s:
        execute("BEGIN IMMEDIATE")
        for _ in range(batch):
            key = keys[revision % KEYS]
            found = execute("SELECT create_revision, mod_revision FROM cur WHERE key = ?", (key,)).fetchone()
            revision += 1
            created = found[0] if found else revision
            execute(
                "INSERT INTO cur (key, create_revision, mod_revision, value) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET mod_revision = excluded.mod_revision, value = excluded.value",
                (key, created, revision, VALUE),
            )
            execute("INSERT INTO log VALUES (?, ?, ?, ?)", (revision << 20, key, created, VALUE))
        execute("UPDATE meta SET value = ? WHERE name = 'revision'", (revision,))
        execute("COMMIT")
        done += batch
    connection.close()
    return done / passed


def _bare(path: Path) -> sqlite3.Connection:
    asyncio.run(_create(path))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    return connection


async def _create(path: Path) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    await store.close()


async def _measure(folder: Path) -> dict[str, float]:
    found = {"raw_ms": 1000 / floor_alone(folder)}
    store = await SqliteStore.open(folder / "ours.db", clock=SystemClock())
    found["cas"] = await swaps(store)
    found["p50"], found["p99"] = await alone(store)
    found["get"] = await gets(store)
    found["live"], found["replay"] = await watch(store)
    await fill(store)
    found["list"], found["hold"] = await list_long(store)
    await store.close()
    start = time.perf_counter()
    bare = sqlite3.connect(folder / "ours.db")
    bare.execute("SELECT key, value, create_revision, mod_revision FROM cur WHERE key >= '/list/'").fetchall()
    found["raw_list"] = time.perf_counter() - start
    bare.close()
    return found


def floor_alone(folder: Path) -> float:
    """Return durable transactions/s of one write each."""
    connection = sqlite3.connect(folder / "alone.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE one (n INTEGER PRIMARY KEY, value BLOB)")
    start = time.perf_counter()
    for _ in range(1_000):
        connection.execute("INSERT INTO one (value) VALUES (?)", (VALUE,))
    passed = time.perf_counter() - start
    connection.close()
    return 1_000 / passed


async def swaps(store: Store, prefix: str = "/h/1/ctl/jobs/default/", span_s: float = SPAN_S) -> float:
    """Return compare-and-swaps/s; of keys that nobody has written yet."""
    done = 0
    start = time.perf_counter()

    async def swap(worker: int) -> None:
        nonlocal done
        known: dict[str, int] = {}
        keys = [f"{prefix}job-{n:05d}" for n in range(worker, KEYS, IN_FLIGHT)]
        while True:
            for key in keys:
                if time.perf_counter() - start > span_s:
                    return
                revision = await store.commit((Compare(key, mod=known.get(key, 0)),), (Put(key, VALUE),))
                assert revision is not None
                known[key] = revision
                done += 1

    async with asyncio.TaskGroup() as group:
        for worker in range(IN_FLIGHT):
            group.create_task(swap(worker))
    return done / (time.perf_counter() - start)


async def alone(store: Store) -> tuple[float, float]:
    times = []
    for _ in range(2_000):
        start = time.perf_counter()
        await store.commit((), (Put("/alone", VALUE),))
        times.append((time.perf_counter() - start) * 1000)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


async def gets(store: Store) -> float:
    times = []
    for _ in range(1_000):
        start = time.perf_counter()
        await store.get("/alone")
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times)[len(times) // 2]


async def watch(store: Store, commits: int = 2_000, keys: int = 16) -> tuple[float, float]:
    after = await store.revision()
    wanted = commits * keys

    async def count() -> float:
        seen = 0
        start = time.perf_counter()
        async for _, changes in store.watch("/seen/", after=after):
            seen += len(changes)
            if seen == wanted:
                break
        return wanted / (time.perf_counter() - start)

    async with asyncio.TaskGroup() as group:
        live = group.create_task(count())
        for worker in range(IN_FLIGHT):
            group.create_task(_put_many(store, worker, commits, keys))
    return live.result(), await count()


async def _put_many(store: Store, worker: int, commits: int, keys: int) -> None:
    for n in range(worker, commits, IN_FLIGHT):
        await store.commit((), [Put(f"/seen/{n}/{k}", VALUE) for k in range(keys)])


async def fill(store: Store) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(0, LISTED, 100):
            group.create_task(store.commit((), [Put(f"/list/{k:06d}", VALUE) for k in range(n, n + 100)]))


async def list_long(store: Store) -> tuple[float, float]:
    """Return how long a long list takes, and the longest time that nothing else could happen meanwhile."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - due)

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(tick())
        start = time.perf_counter()
        listed = sum([len(page.entries) async for page in store.list("/list/")])
        took = time.perf_counter() - start
        ticking.cancel()
    assert listed == LISTED
    return took, longest * 1000


def main() -> None:
    """Print the table."""
    gc.freeze()
    start = time.perf_counter()
    for row in rows():
        print(f"{row[0]:<40} {row[1]:>12} {row[2]:>12}  {row[3]}")
    print(f"took {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
