"""A fleet of agents with very many tasks, in memory: what `bench.scale` measures the control loops beside."""

import asyncio
import gc
import os
import time
from collections.abc import Callable
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
from harpoon.model.job import Job, Spec, Version
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.template import Resources, TaskTemplate
from harpoon.service.server import GC_THRESHOLDS
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put

TASKS_PER_AGENT, TASKS_PER_JOB = 1_000, 10
#: Of changes that are made together.
AGENTS_TOUCHED = 10
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
        while not all(map(controller.is_commandable, world.agents)):
            await asyncio.sleep(0.01)
        while controller.bookings() is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        yield controller, store, {door.name: door for door in doors.values()}
        for task in running:
            task.cancel()
    gc.unfreeze()
