"""A whole Harpoon in one process: instances, agents, clients and a store, on virtual time and a simulated network.

What decides and acts is the shipped code; only its ways out are led elsewhere: the clock, randomness, the store, the
agents' transport and their processes. Everything that happens goes to the history, and to the checks at once.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import structlog

from harpoon.agent.settings import AGENT_PORT
from tests.proof import history
from tests.proof.judge import CHECKS, Judge, Terms, Violation
from tests.sim import daemons, disks, shards
from tests.sim.clients import Client, Watcher
from tests.sim.crew import Crew
from tests.sim.hosts import Host, Ways
from tests.sim.instances import Instance
from tests.sim.loop import NODE, WALL_MS, Node, SimClock, SimLoop
from tests.sim.lost import Lost
from tests.sim.nemesis import AGAIN, Nemesis
from tests.sim.network import Network
from tests.sim.plan import Plan
from tests.sim.point import Point
from tests.sim.record import Record
from tests.sim.registering import Registration
from tests.sim.site import Line, few_doors, hang_up
from tests.sim.store import SimStore
from tests.sim.tallies import Tallies
from tests.sim.users import SESSIONS, User
from tests.sim.workmen import lead

#: A view that missed something is compared with the store within so long.
VERIFIED_S = 680.0
#: Beyond the deadline of the last run that was asked for.
RUNS_S = 10.0
#: So quiet, it is settled; and stays so for as long again.
QUIET_S = 35.0
#: What nobody can promise whose store leaves out events of a watch, and does not say so: a view that misses a placement.
UNSURE = frozenset({"L2", "S17", "S5", "S11", "S12", "S18", "S24", "S26", "L6"})
#: An agent that nobody has followed for so long registers again.
REGISTER_AFTER = timedelta(seconds=5)
#: An operator tries so often, a second apart: longer than a view can be wrong.
TRIES = 900


class World:
    """One run of a plan."""

    def __init__(self, plan: Plan, directory: Path, judge: Judge | None = None, *, keep_log: bool = False) -> None:
        self.plan = plan
        self.loop = SimLoop()
        self.net = Network(self.loop, plan.seed)
        self.point = Point(self)
        self.instances: dict[str, Instance] = {}
        self.hosts: dict[str, Host] = {}
        #: Agents that all instances have in a list, and where.
        self.endpoints: Mapping[str, str] = {
            agent: f"http://{agent}" for agent in plan.agents if agent not in plan.unlisted
        }
        #: Where each of the others listens.
        self.ports: dict[str, int] = dict.fromkeys(plan.unlisted, AGENT_PORT)
        self._daemons: dict[str, daemons.Daemon] = {}
        #: Node → the connections by which it asks at doors.
        self.lines: dict[str, dict[Line, None]] = {}
        #: Doors are opened anew whenever an instance begins again.
        self.sites = itertools.count(1)
        self.crew = Crew(self)
        checks = tuple(check for check in CHECKS if not (plan.has_gaps and check.name in UNSURE))
        judge = judge or Judge(Terms(lost_after_s=plan.lost_after_s), checks)
        self.record = Record(self.loop, judge, keep_log=keep_log)
        self._nemesis = Nemesis(self)
        self._directory = directory
        self._lives = itertools.count(1)
        self._is_calm = False
        self._tallies = Tallies()
        self._chaos: list[asyncio.Task[Any]] = []

    # The run.

    def run(self) -> None:
        """Run the plan to its end, or to the first violation, which is then in ``record``."""
        self._install()
        try:
            self.loop.run_until_complete(self._run())
        except Violation as violation:
            self.record.violation = violation

    async def _run(self) -> None:
        self._begin_nodes()
        whole = self.loop.create_task(self._script())
        over = self.loop.create_task(self.record.over.wait())
        await asyncio.wait((whole, over), return_when=asyncio.FIRST_COMPLETED)
        if self.record.violation is None:
            whole.result()

    def _begin_nodes(self) -> None:
        store = Node("store")
        self.net.join(store)
        self.store = store.context().run(SimStore, SimClock(), random.Random(f"{self.plan.seed}/store"))
        self.store.listen(self._hear_store)
        for agent in self.plan.agents:
            self.hosts[agent] = self._host(agent)
            self.start_agent(agent)
        for name in self.plan.instances:
            self.start_instance(name)
        self.crew.start_all()

    async def _script(self) -> None:
        sessions = sorted({op.session for op in self.plan.ops})
        clients = [
            self._at(name, self._asker(name).run(tuple(op for op in self.plan.ops if op.session == name)))
            for name in sessions
        ]
        self._at("w1", Watcher(self, "w1").run())
        self._chaos = [self.loop.create_task(self._nemesis.run(fault)) for fault in self.plan.faults]
        await asyncio.sleep(self.plan.chaos_s)
        for done in (await asyncio.wait([*self._chaos, *clients]))[0]:
            # Whoever asks or breaks and fails at it proves nothing any more.
            done.result()
        self._calm()
        await self._settle()
        self.tell(history.Settled(t=self.loop.now, node="nemesis"))
        await asyncio.sleep(QUIET_S + 5)
        self.tell(history.Ended(t=self.loop.now, node="nemesis"))
        self.record.judge.end()
        for failure in self.loop.failures:
            raise Violation("crash", f"nobody heard of {failure}")

    def _calm(self) -> None:
        """Mend everything; or only the core, and break the rest for ever."""
        self._nemesis.undo_all()
        for fault in self.plan.broken:
            self._nemesis.do(fault)
        core = self.plan.core or ("store", *self.plan.instances, *self.plan.agents)
        self._is_calm = True
        self.crew.calm_down()
        self.tell(history.Calm(t=self.loop.now, node="nemesis", core=core, is_whole=not self.plan.core))

    async def _settle(self) -> None:
        """Wait until nothing has happened for a while, but not for ever."""
        start = self.loop.now
        at_least = VERIFIED_S if self.plan.has_gaps else self.plan.runs_s + RUNS_S if self.plan.hands else 0.0
        at_most = at_least + self.plan.calm_s
        while self.loop.now < start + at_most:
            await asyncio.sleep(1)
            if self.loop.now >= start + at_least and self.loop.now >= max(start, self.record.last_news) + QUIET_S:
                return

    # What happens.

    def tell(self, event: history.Event) -> None:
        """Write something into the history."""
        self.record.tell(event)

    def say_up(self, instance: str) -> None:
        self.tell(history.Up(t=self.loop.now, node=NODE.get().name, instance=instance))

    def _hear_store(self, revision: int, changes: Any) -> None:
        self.point.revision(revision)
        told = {key: None if entry is None else orjson.loads(entry.value) for key, entry in changes}
        self.net.happened.update(self._tallies.of(told))
        self.tell(history.Committed(t=self.loop.now, node="store", revision=revision, changes=told))

    # Who is there.

    def daemon(self, agent: str, port: str = "") -> daemons.Daemon:
        """Return the daemon that serves at a host now; for what has arrived there."""
        if agent not in self._daemons or (port and int(port) != self.ports[agent]):
            raise Lost(f"{agent} does not listen there", is_sent=False)
        return self._daemons[agent]

    def holder(self, hold: str) -> str | None:
        """Return the instance that has a hold, if it lives."""
        row = self.record.judge.state.value("holds", hold)
        name = None if row is None else str(row["instance"]).rpartition("-")[0]
        return name if name in self.net.nodes else None

    def start_instance(self, name: str) -> None:
        former = self.instances.get(name)
        if former is not None and name in self.net.nodes:
            # It has not ended of itself.
            self.kill_instance(name)
        instance = self.instances[name] = Instance(self, name, next(self._lives))
        self.point.begin(instance)
        self.net.join(instance.node)
        task = self.loop.start(instance.node, instance.run())
        task.add_done_callback(lambda done: self._ended(instance, done))

    def kill_instance(self, name: str) -> None:
        instance = self.instances[name]
        if not instance.node.is_dead:
            self.loop.kill(instance.node)
            instance.way.is_gone = True
            self.net.leave(instance.node)
            hang_up(self, name)
            self.tell(history.Down(t=self.loop.now, node=name))

    def _ended(self, instance: Instance, done: "asyncio.Task[None]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self.record.fail("crash", f"{instance.unique} ended by itself: {error!r}")
        self.loop.call_soon(lambda: self.kill_instance(instance.name), context=Node("world").context())

    def start_agent(self, agent: str) -> None:
        if agent in self.net.nodes:
            return
        node = Node(agent, self.loop.now)
        self.net.join(node)
        self.loop.start(node, self._serve(agent))

    def _told(self, agent: str) -> dict[str, Any]:
        told: dict[str, Any] = {"cpu": self.plan.cpu, "memory": 1 << 30}
        return told | ({"endpoint": f"http://{agent}:{self.ports[agent]}"} if agent in self.ports else {})

    async def _serve(self, agent: str) -> None:
        rng = random.Random(f"{self.plan.seed}/{agent}/{next(self._lives)}")
        daemon = await daemons.boot(self.hosts[agent], name=agent, clock=SimClock(), rng=rng, **self._told(agent))
        self._daemons[agent] = daemon
        async with asyncio.TaskGroup() as group:
            group.create_task(daemon.run())
            if agent in self.ports:
                servers = tuple(rng.sample(self.plan.instances, len(self.plan.instances)))
                told = Registration(self, servers, daemon.agent, daemon.service.feed, rng)
                group.create_task(told.run(REGISTER_AFTER))

    def kill_agent(self, agent: str) -> None:
        node = self.net.nodes.get(agent)
        if node is not None:
            self.loop.kill(node)
            self.net.leave(node)
            self._daemons.pop(agent, None)
            self.tell(history.Down(t=self.loop.now, node=agent))

    # Small helps.

    def _asker(self, session: str) -> Client | User:
        return User(self, session) if session.startswith(SESSIONS) else Client(self, session)

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have something done during the chaos, and wait for it before the calm."""
        self._chaos.append(self._at("operator", work))

    async def insist(self, ask: Callable[[Instance], Awaitable[object]]) -> None:
        """Ask one instance after the other for something until one has done it, as an operator would; not for ever."""
        for name in itertools.islice(itertools.cycle(self.plan.instances), TRIES):

            async def answer(name: str = name) -> None:
                if self.instances[name].controller is None:
                    raise Lost("it has only begun", is_sent=False)
                await ask(self.instances[name])

            with contextlib.suppress(Lost, *AGAIN):
                await self.net.call(name, answer, connect_s=1, within_s=10)
                return
            await asyncio.sleep(1)

    def _at(self, name: str, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        node = Node(name, self.loop.now)
        self.net.nodes.setdefault(name, node)
        self.net.join(node)
        return self.loop.start(node, work)

    def _host(self, agent: str) -> Host:
        context = Node(f"host of {agent}").context()
        ways = Ways(
            tell=lambda kind, task, run: self._tell_effect(agent, kind, task, run),
            now=lambda: WALL_MS / 1000 + self.loop.now,
            later=lambda delay, work: self.loop.call_later(delay, work, context=context),
            notify=lambda work: self._notify(agent, work),
        )
        return Host(agent, self._directory / agent, rng=random.Random(f"{self.plan.seed}/{agent}/host"), ways=ways)

    def _notify(self, agent: str, work: Callable[[], None]) -> None:
        node = self.net.nodes.get(agent)
        if node is not None:
            self.loop.call_soon(work, context=node.context())

    def _tell_effect(self, agent: str, kind: str, task: str, run: str) -> None:
        made = history.Started if kind == "started" else history.Exited
        self.tell(made(t=self.loop.now, node=agent, task=task, run=f"{agent}/{run}"))

    def _install(self) -> None:
        """Lead what is the process's own into this world: it is a child that does nothing else."""
        structlog.configure(
            processors=[self.record.hear_log],
            wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=True,
        )
        rng = random.Random(f"{self.plan.seed}/uuid")
        disks.install(rng)
        self.point.install()
        if self.plan.hands:
            shards.make_few()
            few_doors()
            shards.make_alike(rng)
            lead(self, rng)
