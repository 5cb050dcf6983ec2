"""The control loops beside very many tasks: what one change costs, how long a new job waits, what a task weighs.

The shipped controller on a store in memory, with agents that obey at once but report nothing. Slots move to other
agents, as after a failure, 40 in a commit, over ten agents; two *tasks change* with each, and are followed from the
mirror's event to the command, stop or start, at their agents' doors. What it costs is processor time of the whole
process less that of the commits themselves.

What it does not show: the store's own cost, the network, deciding *where* on a large fleet (each of the few new
placements looks at every agent), or agents that report.
"""

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import uvloop

from bench.world import Door, World, controlled, fill, quiet
from harpoon.control.controller import Controller
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.view import placement_key
from harpoon.kit import codec
from harpoon.kit.clock import Random, SystemClock
from harpoon.model.job import Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.task import Task
from harpoon.store.port import Delete, Put
from harpoon.store.sqlite import SqliteStore

SMALL, LARGE, WEIGHED = 10_000, 1_000_000, 100_000
CHANGES, ROUNDS = 2_000, 5
NEW_JOBS = 20


async def change_cost(world: World, together: int) -> float:
    """Return the processor time of one change in microseconds, the median of some rounds."""
    async with controlled(world, timedelta(hours=1)) as (_, store, doors):
        costs = []
        for round_ in range(ROUNDS):
            moves = [world.move(round_ * CHANGES + number) for number in range(CHANGES)]
            commits = [(Put(placement_key(new), codec.dump(new)), Delete(placement_key(old))) for old, new in moves]
            begun, committing = time.process_time(), 0.0
            # As the scheduler and the shepherd write: a commit holds what one pass found to do.
            for start in range(0, CHANGES, together):
                writes = [write for change in commits[start : start + together] for write in change]
                before = time.process_time()
                await store.commit((), writes)
                committing += time.process_time() - before
                await asyncio.sleep(0)
            while not all(
                new.task in doors[new.agent].told and old.task in doors[old.agent].told for old, new in moves
            ):
                await asyncio.sleep(0.001)
            spent = time.process_time() - begun - committing
            costs.append(spent / CHANGES * 1e6)
            await asyncio.sleep(0.5)
        return statistics.median(costs)


async def waits_behind_resync(world: World) -> list[float]:
    """Return how long new jobs wait for their start command, in milliseconds, while everything is looked at again."""
    waits = []
    async with controlled(world, timedelta(milliseconds=100)) as (controller, _, doors):
        for number in range(NEW_JOBS):
            name = f"new-{number}"
            spec = Spec(task=world.template)
            manifest = Manifest(apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name=name), spec=spec)
            begun = time.perf_counter()
            await controller.registry.put(manifest)
            while (told := started(doors.values(), f"default.{name}.")) is None:
                await asyncio.sleep(0.0005)
            waits.append((told - begun) * 1000)
            await asyncio.sleep(0.137)
    return waits


def started(doors: Iterable[Door], prefix: str) -> float | None:
    """Return when a task of that prefix was ordered to start."""
    times = (when for door in doors for task, when in door.told.items() if task.startswith(prefix))
    return next(times, None)


async def write_world(path: Path, tasks: int) -> None:
    """Write a world into a store on disk."""
    store = await SqliteStore.open(path, clock=SystemClock())
    await fill(store, World(tasks))
    await store.close()


async def weigh(path: Path) -> int:
    """Return by how many bytes the process grows when it opens a controller on a store on disk, and runs it."""
    store = await SqliteStore.open(path, clock=SystemClock())
    gc.collect()
    before = resident_bytes()

    def connect(endpoint: str) -> Door:
        name = endpoint.removeprefix("http://")

        def own() -> tuple[Task, ...]:
            # As from the wire: other objects than those of the view.
            rows = controller.view.tasks_on(name).values()
            return tuple(codec.load(Task, codec.dump(row.value)) for row in rows)

        return Door(name, own)

    means = Means(store=store, connect=connect, clock=SystemClock(), rng=Random(1), instance="bench")
    controller = await Controller.open(means, Metrics())
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(controller.follow()), group.create_task(controller.run())]
        while not all(map(controller.is_commandable, controller.view.agents.rows)):
            await asyncio.sleep(0.1)
        # Until the streams have said something else, and nobody holds on to their snapshots.
        await asyncio.sleep(6)
        gc.collect()
        grown = resident_bytes() - before
        for task in running:
            task.cancel()
    await store.close()
    return grown


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rows() -> list[tuple[str, str, str, str]]:
    """Measure; return lines of the table. Each figure has a process of its own."""
    small, large = run("change", SMALL), run("change", LARGE)
    waits = run("wait", LARGE)
    with tempfile.TemporaryDirectory(prefix="harpoon-bench-") as name:
        path = Path(name) / "store.db"
        run("write", WEIGHED, str(path))
        weight = run("weigh", WEIGHED, str(path))[0]
    return [
        (f"processor time a changed task, of {SMALL:,}", f"{small[0]:.0f} us", "", "<= 50 us"),
        (f"  of {LARGE:,}", f"{large[0]:.0f} us", "", f"<= 1.5 x; is {large[0] / small[0]:.2f} x"),
        (f"a new job behind a resync of {LARGE:,} tasks, worst of {NEW_JOBS}", f"{max(waits):.0f} ms", "", "<= 100 ms"),
        (f"memory a task, of {WEIGHED:,}", f"{weight / WEIGHED:,.0f} B", "", "<= 2 KB"),
    ]


def run(what: str, tasks: int, *more: str) -> list[float]:
    """Measure one thing in a process of its own; return its figures."""
    command = [sys.executable, "-m", "bench.scale", what, str(tasks), *more]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(figure) for figure in out.split()]


async def measure(what: str, tasks: int, path: Path) -> list[float]:
    """Return the figures of one thing."""
    match what:
        case "change":
            # Two tasks change: one is to be stopped, one to be started.
            return [await change_cost(World(tasks), together=40) / 2]
        case "wait":
            return await waits_behind_resync(World(tasks))
        case "write":
            await write_world(path, tasks)
            return []
        case _:
            return [float(await weigh(path))]


if __name__ == "__main__":
    quiet()
    figures = uvloop.run(measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[-1])))
    print(*figures)
