"""The shipped control plane beside 10,000 agents and 100,000 tasks on one machine; only the agents are simulated.

The registry is a real one (etcd when there is one, and SQLite), and so is everything between it and the agents: the
view, scheduler, transformer, shepherd, minders and machines. The agents are objects in the same process behind the port
that the shepherd reaches agents through: they adopt, take commands, say on their streams 20 ms later that a task runs
and is ready, and that they are there each 5 s. What that costs by itself, asked by a stub, is told beside.

1. *Schedule*: jobs are put through the registry, all at once; done when the view shows every task running and ready.
2. *Steady state*: processor time of the whole process over a span that holds two whole resyncs or more.
3. *Restart*: the process's control plane ends, the store is opened anew; done when every agent is adopted and compared.
4. *Reconnect*: the same with fewer agents, while another process asks for a job through the HTTP doors 250 times a
   second; how long it waits then is told beside how long it does when nothing happens.

What it does not show: connections to agents (the JSON of commands and streams, TLS, a network), a slow disk, or what
etcd itself costs, which is a process of its own.
"""

import argparse
import asyncio
import gc
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace

import aiohttp
import uvloop

from bench.crowd import EFFECT_S, HEARTBEAT_S, Crowd
from bench.doors import free_port
from bench.system import quantile
from bench.world import quiet
from harpoon.api.app import make_app
from harpoon.api.site import run_site
from harpoon.client.peer import PeerClient
from harpoon.control import transformer
from harpoon.control.controller import Controller
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.view import ACTUAL, AGENTS, PLACEMENTS
from harpoon.kit import codec
from harpoon.kit.clock import Random, SystemClock
from harpoon.model import wire
from harpoon.model.agent import Capacity, LinkState
from harpoon.model.command import Command, StartTask
from harpoon.model.job import Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState
from harpoon.model.template import Resources, TaskTemplate
from harpoon.model.token import Token
from harpoon.service import server
from harpoon.store.opening import open_store
from harpoon.store.port import Put, Store
from harpoon.store.table import RowChange
from harpoon.store.url import parse_url

AGENTS_MANY, TASKS_MANY, JOBS = 10_000, 100_000, 100
#: Of those that reconnect at once.
AGENTS_FEW, TASKS_FEW = 1_000, 10_000
STEADY_S = 66.0
IDLE_S = 10.0
ASK_EVERY_S = 0.004
#: The job that is asked for; to tell of one takes as long as it has tasks.
ASKED, ASKED_SCALE = "asked", 10
#: Changes that the floor writes and reads back; commits of it in flight.
FLOOR_TASKS, FLOOR_IN_FLIGHT = 20_000, 8
TEMPLATE = TaskTemplate(
    command=("serve", "$PORT_HTTP"), ports={"http": 0}, resources=Resources(cpu=100, memory=64 << 20)
)


@dataclass(slots=True)
class Span:
    """Wall and processor time of something."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_s, self.cpu_s = time.perf_counter() - wall, time.process_time() - cpu

    @property
    def busy(self) -> float:
        """The share of one processor."""
        return self.cpu_s / self.wall_s


@dataclass(slots=True)
class Lag:
    """The longest time for which nothing else could happen on the event loop."""

    longest_s: float = 0.0

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            self.longest_s = max(self.longest_s, time.perf_counter() - before - 0.005)


@dataclass(slots=True)
class Compared:
    """Agents that the transformer has compared since this was made."""

    agents: set[str] = field(default_factory=set)

    @contextmanager
    def counted(self) -> Iterator["Compared"]:
        shipped = transformer.Transformer._commands

        def counting(of: transformer.Transformer, agent: str, tasks: set[TaskId] | None) -> list[Command]:
            self.agents.add(agent)
            return shipped(of, agent, tasks)

        transformer.Transformer._commands = counting
        try:
            yield self
        finally:
            transformer.Transformer._commands = shipped


@dataclass(slots=True)
class Fleet:
    """A size, and a store."""

    url: str
    agents: int
    tasks: int
    steady_s: float
    crowd: Crowd = field(init=False)

    def __post_init__(self) -> None:
        # Just enough for all tasks, so that every agent is needed.
        each = -(-self.tasks // self.agents)
        capacity = Capacity(cpu=100 * each, memory=(64 << 20) * each)
        self.crowd = Crowd((f"agent-{number:05}" for number in range(self.agents)), capacity)

    async def open(self) -> Store:
        return await open_store(parse_url(self.url), clock=SystemClock())

    @asynccontextmanager
    async def controlled(self, port: int | None = None) -> AsyncIterator[Controller]:
        """Open the store, run a controller on it, with doors if there is a port; end it in an orderly way."""
        store = await self.open()
        means = Means(
            store=store,
            connect=self.crowd.connect,
            clock=SystemClock(),
            rng=Random(1),
            instance=f"bench-{time.monotonic_ns()}",
        )
        controller = await Controller.open(means, Metrics())
        gc.collect()
        gc.freeze()
        gc.set_threshold(*server.GC_THRESHOLDS)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(controller.follow())
            running = group.create_task(controller.run())
            site = [group.create_task(_serve(controller, means, port))] if port is not None else []
            yield controller
            for task in (*site, running):
                task.cancel()
            await asyncio.wait((*site, running))
            following.cancel()
        await store.close()
        gc.unfreeze()

    async def register(self) -> None:
        store = await self.open()
        writes = [Put(AGENTS + agent.name, codec.dump(agent)) for agent in self.crowd.records]
        for at in range(0, len(writes), 100):
            await store.commit((), writes[at : at + 100])
        await store.close()

    async def all_adopted(self, controller: Controller) -> None:
        waited = list(self.crowd.agents)
        while waited:
            await asyncio.sleep(0.05)
            while waited and controller.is_commandable(waited[-1]):
                waited.pop()
        # What was written of their links is to be seen, too.
        while (
            any(row.value.state is not LinkState.CONNECTED for row in controller.view.links.rows.values())
            or len(controller.view.links.rows) < self.agents
        ):
            await asyncio.sleep(0.05)

    async def schedule(self, controller: Controller, jobs: int) -> None:
        """Put jobs; return when all of their tasks run and are ready."""
        ready: set[str] = set()
        is_done = asyncio.Event()
        view = controller.view

        def hear(_revision: int, changes: tuple[RowChange, ...]) -> None:
            for table, key, _, new in changes:
                if table is view.actual and new is not None and new.value.ready:
                    ready.add(key)
            if len(ready) >= self.tasks:
                is_done.set()

        scales = {f"job-{number:04}": self.tasks // jobs for number in range(jobs)}
        scales["job-0000"] -= ASKED_SCALE
        scales[ASKED] = ASKED_SCALE
        manifests = [
            Manifest(
                apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name=name), spec=Spec(task=TEMPLATE, scale=scale)
            )
            for name, scale in scales.items()
        ]
        with view.mirror.listening(hear):
            async with asyncio.TaskGroup() as group:
                for manifest in manifests:
                    group.create_task(controller.registry.put(manifest))
            await is_done.wait()

    async def all_compared(self, controller: Controller, compared: Compared) -> None:
        await self.all_adopted(controller)
        while len(compared.agents) < self.agents:
            await asyncio.sleep(0.01)


async def _serve(controller: Controller, means: Means, port: int) -> None:
    async with aiohttp.ClientSession() as session:
        doors = server._doors(SimpleNamespace(token=None), means, controller, PeerClient(session))
        await run_site(make_app(doors), "127.0.0.1", port, on_ready=lambda _: None)


async def measure(fleet: Fleet, jobs: int) -> dict[str, float]:
    """Go through everything; return the figures."""
    found: dict[str, float] = {}
    beating = asyncio.create_task(fleet.crowd.beat())
    await fleet.register()
    span, lag = Span(), Lag()
    watching = asyncio.create_task(lag.watch())

    def note(name: str, **more: float) -> None:
        figures = {"wall_s": span.wall_s, "cpu_s": span.cpu_s, "lag_s": lag.longest_s, **more}
        found.update({f"{name}_{key}": value for key, value in figures.items()})
        told = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
        print(f"{name}: {told}", file=sys.stderr, flush=True)

    with span.measured():
        started = fleet.controlled()
        controller = await started.__aenter__()
        await fleet.all_adopted(controller)
    note("first")
    await asyncio.sleep(1)
    lag.longest_s = 0.0
    with span.measured():
        await fleet.schedule(controller, jobs)
    note("schedule")
    if fleet.steady_s:
        await asyncio.sleep(5)
        lag.longest_s, before = 0.0, controller.view.revision
        with span.measured():
            await asyncio.sleep(fleet.steady_s)
        note("steady", revisions=controller.view.revision - before)
    await started.__aexit__(None, None, None)
    del controller, started
    gc.collect()
    await _restart(fleet, lag, span, note)
    for task in (beating, watching):
        task.cancel()
    return found


async def _restart(fleet: Fleet, lag: Lag, span: Span, note) -> None:
    port = free_port()
    with asking(port) as client, Compared().counted() as compared, span.measured():
        begun = time.monotonic()
        started = fleet.controlled(port)
        controller = await started.__aenter__()
        opened, lag.longest_s = time.monotonic(), 0.0
        await fleet.all_compared(controller, compared)
        done = time.monotonic()
    longest = lag.longest_s
    await asyncio.sleep(2)
    quiet_from = time.monotonic()
    await asyncio.sleep(IDLE_S)
    asked = answers(client)
    storm = [waited for at, waited in asked if opened <= at < done]
    idle = [waited for at, waited in asked if quiet_from <= at]
    lag.longest_s = longest
    note(
        "restart",
        open_s=opened - begun,
        asked=len(storm),
        storm_p99_ms=quantile(storm or [0.0], 0.99),
        idle_p99_ms=quantile(idle or [0.0], 0.99),
        storm_p50_ms=quantile(storm or [0.0], 0.5),
        idle_p50_ms=quantile(idle or [0.0], 0.5),
    )
    await started.__aexit__(None, None, None)


@contextmanager
def asking(port: int) -> Iterator[subprocess.Popen]:
    """Have another process ask for a job again and again."""
    client = subprocess.Popen([sys.executable, "-m", "bench.fleet", "ask", str(port)], stdout=subprocess.PIPE)
    assert client.stdout is not None
    client.stdout.readline()
    try:
        yield client
    except BaseException:
        client.kill()
        raise


def answers(client: subprocess.Popen) -> list[tuple[float, float]]:
    """End the client; return when it asked, and how many milliseconds it waited."""
    client.send_signal(signal.SIGTERM)
    out, _ = client.communicate()
    return [(at, waited) for at, waited in json.loads(out)]


def ask(port: int) -> None:
    """Ask for a job 250 times a second until told to end, then print how long each answer took."""
    asked: list[tuple[float, float]] = []

    def end(*_: object) -> None:
        print(json.dumps(asked), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    print(flush=True)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while True:
        begun = time.monotonic()
        try:
            connection.request("GET", f"/v1/namespaces/default/jobs/{ASKED}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            asked.append((begun, (time.monotonic() - begun) * 1000))
        except OSError:
            connection.close()
        time.sleep(max(0.0, begun + ASK_EVERY_S - time.monotonic()))


async def agents_alone(fleet: Fleet, seconds: float) -> dict[str, float]:
    """Return what the agents cost by themselves when a stub asks them for the same, and what a stub of them costs."""
    agents = list(fleet.crowd.agents.values())
    each = fleet.tasks // fleet.agents
    token = Token(incarnation=1, revision=1)
    heard = 0

    async def follow(agent) -> None:
        nonlocal heard
        async for told in agent.stream():
            heard += len(told.tasks) if isinstance(told, wire.Changed) else 0

    listening = [asyncio.create_task(follow(agent)) for agent in agents]
    await asyncio.sleep(0)
    span = Span()
    with span.measured():
        for number, agent in enumerate(agents):
            await agent.adopt(wire.Adopt(token=token, instance="stub", uid="", cluster="c"))
            for slot in range(each):
                order = StartTask(
                    task=TaskId(f"default.job-{slot}.{number}.1-1"), generation="g" * 12, template=TEMPLATE, reason=""
                )
                await agent.command(wire.Commands(token=token, instance="stub", uid="", commands=(order,)))
        while heard < each * len(agents):
            await asyncio.sleep(EFFECT_S)
    task_us = span.cpu_s / (each * len(agents)) * 1e6
    beating = asyncio.create_task(fleet.crowd.beat())
    with span.measured():
        await asyncio.sleep(max(HEARTBEAT_S, min(seconds, 2 * HEARTBEAT_S)))
    for task in (beating, *listening):
        task.cancel()
    return {"stub_task_us": task_us, "stub_busy": span.busy}


async def floor(fleet: Fleet) -> float:
    """Return tasks a second when a placement and a task each go into the store, and out of its watch, and no more."""
    store = await fleet.open()
    placements = [
        Placement(
            namespace="floor",
            job="job",
            slot=slot,
            incarnation=1,
            revision=1,
            agent=f"agent-{slot % fleet.agents:05}",
            generation="g" * 12,
            version=1,
            reason="slot 1 has no placement; spread: agent-00000 has 0 of this job's tasks; 9999 of 10000 agents could",
            decided_ms=1,
        )
        for slot in range(FLOOR_TASKS)
    ]
    tasks = [
        Task(id=one.task, agent=one.agent, generation=one.generation, state=TaskState.RUNNING, cluster="c")
        for one in placements
    ]
    writes = [Put(f"/floor{PLACEMENTS}{one.agent}/{one.task}", codec.dump(one)) for one in placements]
    writes += [Put(f"/floor{ACTUAL}{one.agent}/{one.id}", codec.dump(one)) for one in tasks]
    after, seen = await store.revision(), 0

    async def commit(share: int) -> None:
        for at in range(share * 90, len(writes), FLOOR_IN_FLIGHT * 90):
            await store.commit((), writes[at : at + 90])

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for share in range(FLOOR_IN_FLIGHT):
            group.create_task(commit(share))
        async for _, changes in store.watch("/floor/", after=after):
            seen += len(changes)
            if seen >= len(writes):
                break
    took = time.perf_counter() - begun
    await store.close()
    return FLOOR_TASKS / took


async def run(what: str, fleet: Fleet, jobs: int) -> dict[str, float]:
    """Measure one thing."""
    match what:
        case "floor":
            return {"floor": await floor(fleet)}
        case "stub":
            return await agents_alone(fleet, fleet.steady_s)
        case _:
            return await measure(fleet, jobs)


@contextmanager
def store(kind: str) -> Iterator[str]:
    """Yield the URL of an empty store."""
    if kind == "etcd":
        from bench.etcd import etcd  # noqa: PLC0415 gRPC takes its time to load

        with etcd() as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        yield f"sqlite:///{name}/store.db"


def in_process(what: str, kind: str, agents: int, tasks: int, jobs: int, steady_s: float) -> dict[str, float]:
    """Measure one thing on an empty store, in a process of its own."""
    with store(kind) as url:
        sizes = [f"--agents={agents}", f"--tasks={tasks}", f"--jobs={jobs}", f"--steady={steady_s}"]
        command = [sys.executable, "-m", "bench.fleet", "one", what, url, *sizes]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


def rows(
    kinds: tuple[str, ...] | None = None,
    agents: int = AGENTS_MANY,
    tasks: int = TASKS_MANY,
    jobs: int = JOBS,
    steady_s: float = STEADY_S,
) -> list[tuple[str, str, str, str]]:
    """Return lines of the table: what, ours, the raw floor of the same run, the target."""
    kinds = kinds or (("etcd", "sqlite") if shutil.which("etcd") else ("sqlite",))
    stub = in_process("stub", "sqlite", agents, tasks, jobs, steady_s)
    table = [
        (f"{agents:,} agents, {tasks:,} tasks; the simulated agents alone", "", "", ""),
        ("  processor time a task / steady", f"{stub['stub_task_us']:.0f} us / {stub['stub_busy']:.1%}", "", ""),
    ]
    few = (max(1, agents * AGENTS_FEW // AGENTS_MANY), max(1, tasks * TASKS_FEW // TASKS_MANY))
    for kind in kinds:
        raw = in_process("floor", kind, agents, tasks, jobs, 0)["floor"]
        many = in_process("fleet", kind, agents, tasks, jobs, steady_s)
        some = in_process("fleet", kind, *few, max(1, jobs // 10), 0)
        table += _lines(kind, raw, many, some, tasks, few[0])
    return table


def _lines(
    kind: str, raw: float, many: dict[str, float], some: dict[str, float], tasks: int, few: int
) -> list[tuple[str, str, str, str]]:
    rate = tasks / many["schedule_wall_s"]
    lines = [
        (f"on {kind}: tasks/s, scheduled → ready in the view", f"{rate:,.0f}", f"{raw:,.0f}", ">= 5,000"),
        ("  processor time a task", f"{many['schedule_cpu_s'] / tasks * 1e6:.0f} us", "", ""),
        ("  the loop held, longest", f"{many['schedule_lag_s'] * 1000:.0f} ms", "", ""),
    ]
    if "steady_wall_s" in many:
        busy = many["steady_cpu_s"] / many["steady_wall_s"]
        lines += [
            (f"on {kind}: steady state, of one processor", f"{busy:.1%}", "", "<= 25 %"),
            ("  the loop held, longest", f"{many['steady_lag_s'] * 1000:.0f} ms", "", ""),
            ("  revisions written meanwhile", f"{many['steady_revisions']:.0f}", "", "0"),
        ]
    for name, of, target in (("all", many, "<= 15 s"), (f"{few:,}", some, "<= 30 s")):
        storm, idle = of["restart_storm_p99_ms"], of["restart_idle_p99_ms"]
        lines += [
            (f"on {kind}: restart, {name} agents adopted and compared", f"{of['restart_wall_s']:.1f} s", "", target),
            (
                "  of it reading the store; processor time in all",
                f"{of['restart_open_s']:.1f} s; {of['restart_cpu_s']:.1f} s",
                "",
                "",
            ),
            (
                "  GET of a job meanwhile, p99",
                f"{storm:.1f} ms",
                f"{idle:.1f} ms idle",
                f"<= 3 x; is {storm / max(idle, 1e-9):.1f} x",
            ),
            ("  the loop held, longest", f"{of['restart_lag_s'] * 1000:.0f} ms", "", ""),
        ]
    return lines


def main() -> None:
    """Print the table, or, when told what, the figures of one thing."""
    if sys.argv[1:2] == ["ask"]:
        ask(int(sys.argv[2]))
    parser = argparse.ArgumentParser(prog="bench.fleet")
    parser.add_argument("--agents", type=int, default=AGENTS_MANY)
    parser.add_argument("--tasks", type=int, default=TASKS_MANY)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--steady", type=float, default=STEADY_S, help="seconds; 0: not measured")
    parser.add_argument("--store", action="append", choices=("etcd", "sqlite"))
    parser.add_argument("one", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        _, what, url = given.one
        quiet()
        fleet = Fleet(url, given.agents, given.tasks, given.steady)
        print(json.dumps(uvloop.run(run(what, fleet, given.jobs))))
        return
    kinds = None if given.store is None else tuple(given.store)
    for row in rows(kinds, given.agents, given.tasks, given.jobs, given.steady):
        print(f"{row[0]:<56} {row[1]:>16} {row[2]:>16}  {row[3]}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
