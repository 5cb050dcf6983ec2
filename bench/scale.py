"""The control loops beside very many tasks: what one change costs, how long a new job waits, what a task weighs.

The shipped controller on a store in memory, with agents that obey at once but report nothing. A *change* is a
slot that moves to another agent, as after a failure; it is followed from the mirror's event to both commands, at
both agents' doors. Its
cost is processor time of the whole process less that of the commits themselves.

What it does not show: the store's own cost, the network, deciding *where* on a large fleet (each of the few new
placements looks at every agent), or agents that report.
"""

import asyncio
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from harpoon.control.controller import Controller
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.view import ACTUAL, AGENTS, JOBS, VERSIONS, placement_key
from harpoon.kit import codec
from harpoon.kit.clock import Random, SystemClock
from harpoon.kit.logs import configure_logs
from harpoon.kit.loop import Pace
from harpoon.model import wire
from harpoon.model.agent import Agent, Capacity, PortRange
from harpoon.model.command import CommandResult
from harpoon.model.job import Job, Metadata, Spec, Version
from harpoon.model.manifest import Manifest
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.template import Resources, TaskTemplate
from harpoon.service import GC_THRESHOLDS
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put
from harpoon.store.sqlite import SqliteStore

SMALL, LARGE, WEIGHED = 10_000, 1_000_000, 100_000
TASKS_PER_AGENT, TASKS_PER_JOB = 1_000, 10
CHANGES, ROUNDS, AGENTS_TOUCHED = 2_000, 5, 10
NEW_JOBS = 20
CLUSTER = "bench"


class Door:
    """An agent's side of the wire: it has tasks, takes commands, and never reports what came of them."""

    def __init__(self, name: str, tasks: Callable[[], tuple[Task, ...]]) -> None:
        self.name = name
        self.tasks = tasks
        self.told: dict[str, float] = {}
        self.is_complete = asyncio.Event()
        self.awaited = 0

    async def adopt(self, _order: wire.Adopt) -> wire.Snapshot:
        return self.snapshot()

    async def command(self, batch: wire.Commands) -> wire.Results:
        now = time.perf_counter()
        for command in batch.commands:
            self.told[command.task] = now
        return wire.Results(results=tuple(CommandResult(task=one.task, is_ok=True) for one in batch.commands))

    async def stream(self):
        yield self.snapshot()
        while True:
            await asyncio.sleep(5)
            yield None

    def snapshot(self) -> wire.Snapshot:
        return wire.Snapshot(agent=self.name, uid=self.name, seq=1, boot="b", tasks=self.tasks())


class World:
    """Records of a fleet with so many tasks, all as they should be."""

    def __init__(self, tasks: int) -> None:
        self.template = TaskTemplate(command=("serve", "$PORT_HTTP"), ports={"http": 0}, resources=Resources(cpu=1))
        self.agents = [f"agent-{number:04}" for number in range(max(1, tasks // TASKS_PER_AGENT))]
        self.jobs = [self._job(f"job-{number:06}") for number in range(tasks // TASKS_PER_JOB)]
        self.placements = [
            self.placement(job, slot, self.agents[(at + slot) % len(self.agents)])
            for at, job in enumerate(self.jobs)
            for slot in range(TASKS_PER_JOB)
        ]

    def _job(self, name: str) -> Job:
        spec = Spec(task=self.template, scale=TASKS_PER_JOB)
        return Job(
            namespace="default", name=name, spec=spec, generation="g" * 12, version=1, created_ms=0, updated_ms=0
        )

    def placement(self, job: Job, slot: int, agent: str, revision: int = 1) -> Placement:
        reason = f"slot {slot} has no placement; spread: {agent} has 0 of this job's tasks; 9 of 9 agents could"
        return Placement(
            namespace="default",
            job=job.name,
            slot=slot,
            incarnation=1,
            revision=revision,
            agent=agent,
            generation=job.generation,
            version=1,
            reason=reason,
            decided_ms=1_767_225_600_000,
        )

    def move(self, number: int) -> tuple[Placement, Placement]:
        """Return a placement that there is, another each time, and one of its slot on another agent."""
        # A few agents, and another job each time, however many there are.
        job = number % 1000 // AGENTS_TOUCHED * len(self.agents) + number % AGENTS_TOUCHED
        at = job * TASKS_PER_JOB + number // 1000
        old = self.placements[at]
        agent = self.agents[(self.agents.index(old.agent) + 1) % len(self.agents)]
        self.placements[at] = replace(old, agent=agent, revision=old.revision + 1)
        return old, self.placements[at]

    def task(self, placement: Placement) -> Task:
        return Task(
            id=placement.task,
            agent=placement.agent,
            generation=placement.generation,
            state=TaskState.RUNNING,
            ready=True,
            since_ms=1_767_225_600_000,
            reason="runs",
            address="10.0.0.1",
            ports={"http": 20_000},
            pid=4711,
            cluster=CLUSTER,
        )

    def agent(self, name: str) -> Agent:
        capacity = Capacity(cpu=10_000_000, memory=1 << 40)
        return Agent(
            name=name, uid=name, endpoint=f"http://{name}", capacity=capacity, ports=PortRange(low=20000, high=30000)
        )

    def records(self):
        """Yield every record, in key order."""
        for placement in sorted(self.placements, key=lambda one: (one.agent, one.task)):
            yield Put(f"{ACTUAL}{placement.agent}/{placement.task}", codec.dump(self.task(placement)))
        for name in self.agents:
            yield Put(AGENTS + name, codec.dump(self.agent(name)))
        for job in self.jobs:
            yield Put(f"{JOBS}default/{job.name}", codec.dump(job))
        yield Put("/h/1/ctl/meta/cluster", b'{"cluster":"%s","incarnation":1}' % CLUSTER.encode())
        for placement in sorted(self.placements, key=lambda one: (one.agent, one.task)):
            yield Put(placement_key(placement), codec.dump(placement))
        for job in self.jobs:
            version = Version(
                namespace="default", name=job.name, version=1, generation=job.generation, spec=job.spec, at_ms=0
            )
            yield Put(f"{VERSIONS}default/{job.name}/1", codec.dump(version))


async def fill(store, world: World) -> None:
    """Write a world into an empty store."""
    batch: list[Put] = []
    for put in world.records():
        batch.append(put)
        if len(batch) == 100:
            await store.commit((), batch)
            batch = []
    await store.commit((), batch)


def quiet() -> None:
    """Log as a server does, to nowhere."""
    configure_logs(Path(os.devnull).open("wb"))  # noqa: SIM115 as long as the process


@asynccontextmanager
async def controlled(world: World, resync: timedelta):
    """Run a controller on a store that holds the world."""
    store = MemoryStore()
    await fill(store, world)
    by_agent: dict[str, list[Task]] = {}
    for placement in world.placements:
        by_agent.setdefault(placement.agent, []).append(world.task(placement))
    doors = {f"http://{name}": Door(name, partial(tuple, by_agent.get(name, ()))) for name in world.agents}
    means = Means(
        store=store,
        connect=lambda endpoint: doors[endpoint],
        clock=SystemClock(),
        rng=Random(1),
        instance="bench",
        pace=Pace(resync=resync),
    )
    controller = await Controller.open(means, Metrics())
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(controller.follow()), group.create_task(controller.run())]
        while not all(map(controller.shepherd.is_commandable, world.agents)):
            await asyncio.sleep(0.01)
        while controller.bookings() is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        yield controller, store, {door.name: door for door in doors.values()}
        for task in running:
            task.cancel()
    gc.unfreeze()


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
        await asyncio.sleep(3)
        gc.collect()
        grown = resident_bytes() - before
        for task in running:
            task.cancel()
    await store.close()
    return grown


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
