"""How fast runs go on in one process: conductors, ledgers and the store, with workers that take no time.

The floor is the store alone: as many commits as were made, with as many writes of as many bytes, as many in flight.

What it does not show: workers in processes of their own, HTTP, expressions (none of these workflows has any), a slow
disk. A step is an attempt that is claimed and closed, both durable; the claim goes in the commit of the closing before.
"""

import asyncio
import gc
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from graphlib import TopologicalSorter
from pathlib import Path

import uvloop

from bench.etcd import etcd
from bench.world import quiet
from harpoon.control.conductor import Conductor
from harpoon.control.draft import Draft
from harpoon.control.ledger import Ledger
from harpoon.control.ledger_records import SHARDS, run_key, shard_of
from harpoon.control.orders import ClaimOrder, CloseOrder, Form, Granted, Start
from harpoon.control.run_reader import RunReader
from harpoon.control.runs import SHARD_HOLDS, shard_name
from harpoon.control.takeover import Loader
from harpoon.control.timers import Timers
from harpoon.control.together import Together
from harpoon.control.turns import Turns
from harpoon.core.bounds import bounds
from harpoon.core.drawing import picture
from harpoon.core.drawing_shown import shown
from harpoon.core.graph import Graph, compile_graph
from harpoon.core.run import Run
from harpoon.core.visit import Attempt, Ref
from harpoon.kit.clock import SystemClock
from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec
from harpoon.service.server import GC_THRESHOLDS
from harpoon.store.etcd.store import EtcdStore
from harpoon.store.hold import acquire_all
from harpoon.store.port import Compare, Put, Store
from harpoon.store.sqlite import SqliteStore
from harpoon.store.url import EtcdUrl, parse_url

GRAPH = "/h/1/ctl/graphs/bench/flow/g1"
CHAIN, RUNS = 30, 1_000
WIDE = 1_000
STARTS = 5_000
OPEN = 10_000
LARGE = 10_000
MANY = 100_000

Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """Return (name, ours, raw floor of the same run, target) for each figure."""
    quiet()
    # As the server does.
    gc.set_threshold(*GC_THRESHOLDS)
    with tempfile.TemporaryDirectory(prefix="bench-workflows-") as name:
        found = _run(_sqlite(Path(name)))
        kept = _run(_memory(Path(name) / "many"))
    told = [
        _steps_row("sequential durable steps/s, SQLite", found, "≥ 15,000"),
        ("  processor time a step", f"{found['cpu_us']:.0f} µs", f"{found['floor_us']:.0f} µs a write", ""),
        (
            "one run alone, from step to step, p50 / p99",
            f"{found['p50']:.2f} / {found['p99']:.2f} ms",
            "",
            "p99 ≤ 8 ms",
        ),
        (f"1 → {WIDE:,} → 1, s", f"{found['wide']:.2f}", "", "≤ 0.5"),
        ("starts/s, 64 callers of one each", f"{found['single']:,.0f}", f"{found['put']:,.0f} puts", ""),
        ("starts/s, 1,000 a call", f"{found['bulk']:,.0f}", "", "≥ 8,000"),
        (f"take-over of {OPEN:,} open runs, s", f"{found['load']:.2f}", f"{found['list']:.2f} to list", "≤ 1"),
        ("  the loop held by it, longest", f"{found['load_hold']:.0f} ms", "", "≤ 20 ms"),
        (f"{OPEN:,} clocks due at once, all durable after, s", f"{found['fire']:.2f}", "", "≤ 2"),
        ("  the loop held by it, longest", f"{found['fire_hold']:.0f} ms", "", "≤ 20 ms"),
        (f"memory of an open run, of {MANY:,}", f"{kept:,.0f} bytes", "", "≤ 5,000"),
    ]
    graphs = (("in a row", chain(LARGE)), ("side by side", wide(LARGE - 2)), ("of 50,000 edges", dense(LARGE)))
    told += [_graph_row(name, graph) for name, graph in graphs]
    if shutil.which("etcd"):
        with etcd() as url:
            found = _run(_etcd(url))
        told.append(_steps_row("sequential durable steps/s, etcd", found, ""))
    return told


def _graph_row(name: str, spec: WorkflowSpec) -> Row:
    """Measure what it takes to check a large workflow, to bound it and to lay it out; and to walk it once."""
    began = time.process_time()
    graph = compile_graph(spec)
    checked = time.process_time()
    bounds(graph)
    bounded = time.process_time()
    shown(picture("bench", graph))
    drawn = time.process_time()
    successors = {
        op: [trigger.op for each in node.edges.values() for trigger in each] for op, node in graph.nodes.items()
    }
    tuple(TopologicalSorter(successors).static_order())
    walked = time.process_time() - drawn
    each = f"{checked - began:.2f} + {bounded - checked:.2f} + {drawn - bounded:.2f}"
    what = f"{LARGE:,} operations {name}, checked, bounded, drawn, s"
    return (what, f"{drawn - began:.2f}", f"{walked:.2f} to sort", f"{each}; ≤ 1")


def _run(measure):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure)


def _steps_row(name: str, found: dict[str, float], target: str) -> Row:
    ours, floor = found["steps"], found["floor"]
    return (name, f"{ours:,.0f}", f"{floor:,.0f} writes", f"{ours / floor:.2f} of it; {target}" if target else "")


class Instant:
    """An exchange whose workers take whatever is ready, at once."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Ref]] = []
        self.over_count = 0
        #: Runs that nobody works on.
        self.is_idle = False

    def ready(self, run: Run, attempts: Sequence[Attempt]) -> None:
        if not self.is_idle:
            key = run_key(run.namespace, run.id)
            self.found += [(key, attempt.ref) for attempt in attempts]

    def claimed(self, run: Run, attempts: Sequence[Attempt]) -> None: ...

    def withdrawn(self, run: Run, refs: Sequence[Ref], reason: str, draft: Draft) -> None: ...

    def over(self, _run: Run, _draft: Draft) -> None:
        self.over_count += 1

    def left(self, run: Run) -> None: ...


class Plant:
    """All shards, conducted in this process."""

    def __init__(self, store: Store, graph: Graph, kept: Compare) -> None:
        self.store = store
        self.clock = SystemClock()
        self.turns = Turns(self.clock)
        self.form = Form("g1", graph, (kept,))
        self.exchange = Instant()
        self.reader = RunReader(store)
        self.timers: Timers = Timers(self.clock, self.turns)
        self.conductors: list[Conductor] = []

    def of(self, key: str) -> Conductor:
        return self.conductors[shard_of(key)]

    async def start(self, names: Sequence[str], **fields: object) -> None:
        shares: dict[int, list[tuple[Start, Form]]] = {}
        for name in names:
            order = Start("bench", name, "flow", "h", {"n": 1}, {}, **fields)
            shares.setdefault(shard_of(f"bench/{name}"), []).append((order, self.form))
        for landing in [self.conductors[shard].start(orders) for shard, orders in shares.items()]:
            await landing

    async def work(self, runs: int) -> int:
        """Do all that is ready until so many runs are over; return how many attempts that were."""
        done, self.exchange.over_count = 0, 0
        exchange = self.exchange
        under_way: dict[Conductor, list] = {}

        async def serve(conductor: Conductor, orders: list[ClaimOrder], landing) -> None:
            nonlocal done
            while orders:
                granted = await landing
                closings = [
                    CloseOrder(order.run, order.ref, told.token, "done", {"n": 1})
                    for order, told in zip(orders, granted, strict=True)
                    if isinstance(told, Granted)
                ]
                closed = conductor.close(closings)
                done += len(closings)
                # What that has opened is claimed in the same commit.
                orders = [ClaimOrder(key, ref, "w", "s") for key, ref in exchange.found]
                exchange.found.clear()
                landing = conductor.claim(orders)
                if not orders:
                    await closed

        for key, ref in exchange.found:
            under_way.setdefault(self.of(key), []).append(ClaimOrder(key, ref, "w", "s"))
        exchange.found.clear()
        async with asyncio.TaskGroup() as group:
            for conductor, orders in under_way.items():
                group.create_task(serve(conductor, orders, conductor.claim(orders)))
        assert exchange.over_count == runs, (exchange.over_count, runs)
        return done


@asynccontextmanager
async def conducting(store: Store, spec: WorkflowSpec) -> AsyncIterator[Plant]:
    """Conduct all shards of a store, by holds that are taken now."""
    revision = await store.commit((), [Put(GRAPH, b"{}")])
    assert revision is not None
    plant = Plant(store, compile_graph(spec), Compare(GRAPH, mod=revision))
    lease = await store.lease(30)
    names = [SHARD_HOLDS + shard_name(shard) for shard in range(SHARDS)]
    holds = [
        hold for part in (names[:50], names[50:]) for hold in await acquire_all(store, lease, part, "bench", 1) or ()
    ]
    together = Together(store, plant.turns)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(plant.timers.run())]
        for shard, hold in enumerate(holds):
            ledger = Ledger(together, hold, shard, "bench")
            plant.conductors.append(Conductor(ledger, plant.exchange, plant.clock, 1, plant.reader))
            plant.timers.enter(plant.conductors[-1].dues)
            running.append(group.create_task(ledger.run()))
        yield plant
        for conductor in plant.conductors:
            await conductor.ledger.drained()
        for task in running:
            task.cancel()
    await lease.revoke()


def chain(steps: int) -> WorkflowSpec:
    """Operations one after the other."""
    last = steps - 1
    return WorkflowSpec(
        operations={
            f"s{n}": Operation(worker="w", next={"done": (f"s{n + 1}",)} if n < last else {}) for n in range(steps)
        }
    )


def wide(width: int) -> WorkflowSpec:
    """One operation, many after it, and one after them all."""
    names = [f"p{n}" for n in range(width)]
    operations = {name: Operation(worker="w") for name in names}
    operations["first"] = Operation(worker="w", next={"done": tuple(names)})
    operations["last"] = Operation(worker="w", needs=tuple(names))
    return WorkflowSpec(operations=operations)


def dense(size: int) -> WorkflowSpec:
    """Operations of which each needs five of those before it, wherever these stand."""
    chance = random.Random(1)
    before = [chance.sample(range(number), min(number, 5)) for number in range(size)]
    return WorkflowSpec(
        operations={
            f"n{number}": Operation(worker="w", needs=tuple([f"n{one}" for one in needed]))
            for number, needed in enumerate(before)
        }
    )


async def _sqlite(folder: Path) -> dict[str, float]:
    store = await SqliteStore.open(folder / "store", clock=SystemClock())
    async with conducting(store, chain(300)) as plant:
        alone = await _alone(plant)
    found = await _steps(store)
    found["p50"], found["p99"] = alone
    async with conducting(store, wide(WIDE)) as plant:
        times = []
        for number in range(3):
            began = time.perf_counter()
            await plant.start([f"wide{number}"], is_fresh=True)
            await plant.work(1)
            times.append(time.perf_counter() - began)
        found["wide"] = statistics.median(times)
    async with conducting(store, chain(2)) as plant:
        plant.exchange.is_idle = True
        await _starts(plant, found)
    await store.close()
    await _take_over(folder, found)
    await _due(folder, found)
    return found


async def _etcd(text: str) -> dict[str, float]:
    url = parse_url(text)
    assert isinstance(url, EtcdUrl)
    store = await EtcdStore.open(url, clock=SystemClock())
    try:
        return await _steps(store)
    finally:
        await store.close()


async def _steps(store: Store) -> dict[str, float]:
    """Return the steps/s of many runs at once, and the writes/s of as many bytes in as many commits."""
    async with conducting(store, chain(CHAIN)) as plant:
        await plant.start([f"c{number}" for number in range(RUNS)], is_fresh=True)
        before = [(one.ledger.commits, one.ledger.drafts) for one in plant.conductors]
        gc.freeze()
        began, cpu = time.perf_counter(), time.process_time()
        steps = await plant.work(RUNS)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        after = [(one.ledger.commits, one.ledger.drafts) for one in plant.conductors]
    shares = [(c - b, (d - e) / max(1, c - b)) for (c, d), (b, e) in zip(after, before, strict=True)]
    floor_cpu = time.process_time()
    floor = await _floor(store, shares)
    floor_cpu = time.process_time() - floor_cpu
    writes = sum(commits * width for commits, width in shares)
    return {"steps": steps / took, "cpu_us": cpu / steps * 1e6, "floor": floor, "floor_us": floor_cpu / writes * 1e6}


#: What a step writes: a closing and the claim after it.
RECORD = b"x" * 150


async def _floor(store: Store, shares: Sequence[tuple[int, float]]) -> float:
    """Return the writes/s of the store alone, given of each shard how many commits, and writes in each."""
    written = 0

    async def shard(number: int, commits: int, width: int) -> None:
        nonlocal written
        for commit in range(commits):
            await store.commit((), [Put(f"/floor/{number}/{commit}/{n}", RECORD) for n in range(width)])
            written += width

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, (commits, width) in enumerate(shares):
            group.create_task(shard(number, commits, max(1, round(width))))
    return written / (time.perf_counter() - began)


async def _alone(plant: Plant) -> tuple[float, float]:
    """Return the p50 and p99 of the time from one step of a run to its next, when there is nothing else."""
    await plant.start(["alone"], is_fresh=True)
    conductor, gaps = plant.of("bench/alone"), []
    [(key, ref)] = plant.exchange.found
    plant.exchange.found.clear()
    [granted] = await conductor.claim([ClaimOrder(key, ref, "w", "s")])
    while True:
        began = time.perf_counter()
        closed = conductor.close([CloseOrder(key, ref, granted.token, "done", {"n": 1})])
        if not plant.exchange.found:
            await closed
            break
        [(key, ref)] = plant.exchange.found
        plant.exchange.found.clear()
        [granted] = await conductor.claim([ClaimOrder(key, ref, "w", "s")])
        gaps.append((time.perf_counter() - began) * 1000)
    gaps.sort()
    return gaps[len(gaps) // 2], gaps[len(gaps) * 99 // 100]


async def _starts(plant: Plant, found: dict[str, float]) -> None:
    names = iter([f"one{number}" for number in range(STARTS)])

    async def each(act: Callable[[str], object]) -> None:
        for name in names:
            await act(name)

    async def all_of(act: Callable[[str], object]) -> float:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(64):
                group.create_task(each(act))
        return STARTS / (time.perf_counter() - began)

    found["single"] = await all_of(lambda name: plant.start([name]))
    names = iter([f"put{number}" for number in range(STARTS)])
    found["put"] = await all_of(lambda name: plant.store.commit((), [Put(f"/floor/{name}", RECORD * 2)]))
    began = time.perf_counter()
    for part in range(0, 2 * STARTS, 1_000):
        await plant.start([f"bulk{number}" for number in range(part, part + 1_000)])
    found["bulk"] = 2 * STARTS / (time.perf_counter() - began)


async def _take_over(folder: Path, found: dict[str, float]) -> None:
    store = await SqliteStore.open(folder / "open", clock=SystemClock())
    async with conducting(store, chain(3)) as plant:
        await plant.start([f"r{number}" for number in range(OPEN)], is_fresh=True)
        for conductor in plant.conductors:
            await _claim_half(plant, conductor)
    gc.freeze()
    began = time.perf_counter()
    listed = sum([len(page.entries) async for page in store.list("/h/1/run/")])
    found["list"] = time.perf_counter() - began
    assert listed > OPEN

    async def graph_of(_namespace: str, _workflow: str, _generation: str) -> Graph:
        return plant.form.graph

    async with conducting(store, chain(3)) as next_:
        next_.exchange.is_idle = True
        loader = Loader(store, next_.reader, graph_of, next_.turns)
        async with _watched() as held:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(loader.load(shard, conductor.adopt))
                    for shard, conductor in enumerate(next_.conductors)
                ]
            found["load"] = time.perf_counter() - began
        found["load_hold"] = held[0]
        assert sum(task.result() for task in tasks) == OPEN
    await store.close()


async def _claim_half(plant: Plant, conductor: Conductor) -> None:
    """Have half of the runs of a shard go on by a step and a claim."""
    mine = [(key, ref) for key, ref in plant.exchange.found if plant.of(key) is conductor][::2]
    granted = await conductor.claim([ClaimOrder(key, ref, "w", "s") for key, ref in mine])
    await conductor.close(
        [CloseOrder(key, ref, told.token, "done", {"n": 1}) for (key, ref), told in zip(mine, granted, strict=True)]
    )


async def _due(folder: Path, found: dict[str, float]) -> None:
    """Measure how long it takes until ten thousand queue timeouts, due at one moment, are durable."""
    store = await SqliteStore.open(folder / "due", clock=SystemClock())
    spec = WorkflowSpec(operations={"a": Operation(worker="w", queue_timeout=timedelta(seconds=6))})
    async with conducting(store, spec) as plant:
        plant.exchange.is_idle = True
        began = time.time()
        await plant.start([f"r{number}" for number in range(OPEN)], is_fresh=True)
        assert time.time() - began < 4, "they are all started before the first is due"
        # All at the moment of the last of them.
        last = max(run.run.created_ms for one in plant.conductors for run in one.runs.values())
        for conductor in plant.conductors:
            for conducted in conductor.runs.values():
                for attempt in conducted.run.open.values():
                    attempt.ready_ms = last
        gc.freeze()
        await asyncio.sleep(max(0, last / 1000 + 6 - time.time() - 0.2))
        async with _watched() as held:
            while plant.exchange.over_count < OPEN or not all(one.ledger.is_idle for one in plant.conductors):
                await asyncio.sleep(0.002)
        found["fire"] = time.time() - last / 1000 - 6
        found["fire_hold"] = held[0]
    await store.close()


@asynccontextmanager
async def _watched() -> AsyncIterator[list[float]]:
    """Measure the longest time, in milliseconds, that nothing else could happen meanwhile.

    Of this thread's own: what other processes take of the machine meanwhile is not told.
    """
    held = [0.0]

    async def tick() -> None:
        while True:
            due, spent = time.perf_counter() + 0.001, time.thread_time()
            await asyncio.sleep(0.001)
            held[0] = max(held[0], 1000 * min(time.perf_counter() - due, time.thread_time() - spent))

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0.002)
    yield held
    ticking.cancel()


async def _memory(path: Path) -> float:
    """Return the bytes that an open run takes, of many."""
    store = await SqliteStore.open(path, clock=SystemClock(), synchronous="NORMAL")
    async with conducting(store, chain(3)) as plant:
        plant.exchange.is_idle = True
        await plant.start([f"warm{number}" for number in range(1_000)], is_fresh=True)
        gc.collect()
        before = _resident()
        for part in range(0, MANY, 5_000):
            await plant.start([f"r{number}" for number in range(part, part + 5_000)], is_fresh=True)
        gc.collect()
        taken = _resident() - before
    await store.close()
    return taken / MANY


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    """Print the table."""
    gc.freeze()
    began = time.perf_counter()
    for row in rows():
        print(f"{row[0]:<52} {row[1]:>16} {row[2]:>20}  {row[3]}")
    print(f"took {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
