"""An instance under simulation: the shipped controller, with its ways out led into the simulated network."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from harpoon.agent.client import SILENCE_S
from harpoon.agent.stream import event_of
from harpoon.api.idempotency import Underway
from harpoon.control.connecting import Connecting
from harpoon.control.controller import Controller
from harpoon.control.http_connector import HttpConnector
from harpoon.control.job_connector import JobConnector
from harpoon.control.means import Means, PeerAnswer
from harpoon.control.metrics import Metrics
from harpoon.control.task_connector import TaskConnector
from harpoon.control.work import WorkExchange
from harpoon.kit.errors import Fenced, HarpoonError, Unavailable, leaves
from harpoon.model import wire
from harpoon.model.agent import Agent
from harpoon.store.port import Renewal, RolledBack, StoreUnavailable
from tests.sim import calls
from tests.sim.daemons import Daemon
from tests.sim.loop import NODE, Node, SimClock
from tests.sim.lost import Lost
from tests.sim.site import Site
from tests.sim.way import SimWay

if TYPE_CHECKING:
    from tests.sim.world import World

T = TypeVar("T")
CONNECT_S = 5.0
CALL_S = 15.0


class Transport:
    """The way from one instance to one agent: what `AgentClient` is over HTTP."""

    def __init__(self, world: "World", endpoint: str) -> None:
        self._world = world
        self._agent, _, self._port = endpoint.removeprefix("http://").partition(":")

    async def describe(self) -> Agent:
        async def answer() -> Agent:
            return self._daemon().agent

        return await self._ask(answer)

    async def adopt(self, order: wire.Adopt) -> wire.Snapshot:
        self._world.point.effect("adopt")
        return await self._ask(lambda: self._daemon().service.adopt(order))

    async def command(self, commands: wire.Commands) -> wire.Results:
        self._world.point.effect("command")
        return await self._ask(lambda: self._daemon().service.command(commands))

    async def stream(self) -> AsyncIterator[wire.Snapshot | wire.Changed | None]:
        told = self._world.net.stream(
            self._agent,
            lambda: self._daemon().service.stream(),
            connect_s=CONNECT_S,
            silence_s=SILENCE_S,
        )
        try:
            async for block in told:
                for event in block.split(b"\n\n")[:-1]:
                    yield event_of(event)
        except Lost as lost:
            raise Unavailable(str(lost)) from None

    def _daemon(self) -> Daemon:
        return self._world.daemon(self._agent, self._port)

    async def _ask(self, make: Callable[[], Awaitable[T]]) -> T:
        async def answer() -> T:
            try:
                return await make()
            except Fenced:
                raise
            except HarpoonError as error:
                # As any other status is taken.
                raise Unavailable(str(error)) from None

        try:
            return await self._world.net.call(self._agent, answer, connect_s=CONNECT_S, within_s=CALL_S)
        except Lost as lost:
            raise Unavailable(str(lost)) from None


class Instance:
    """One life of an instance's process."""

    def __init__(self, world: "World", name: str, life: int) -> None:
        self.node = Node(name, world.loop.now)
        self.name = name
        self.unique = f"{name}-{life}"
        self.way = SimWay(
            world.store, world.net, clock=SimClock(), rng=random.Random(f"{world.plan.seed}/{self.unique}/way")
        )
        self.controller: Controller | None = None
        #: All of its doors, if it conducts runs.
        self.site: Site | None = None
        #: Of its doors: keys of requests that are being answered.
        self.underway = Underway()
        self._world = world
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Do what a server's process does: begin again when what was read cannot be relied on, else end when it fails."""
        self._world.say_up(self.unique)
        while not self._stop.is_set():
            try:
                await self._live()
            except* RolledBack:
                await asyncio.sleep(1)
            except* StoreUnavailable as error:
                # A store that is away at the start is waited for.
                if self.controller is not None:
                    self._world.record.fail("crash", f"{self.unique} ended: {leaves(error)}")
                await asyncio.sleep(0.5)

    def stop(self) -> None:
        """Have it end as by SIGTERM."""
        self._stop.set()

    async def _live(self) -> None:
        self.controller = self.site = None
        means = self._means()
        exchange_for = partial(WorkExchange, clock=means.clock) if self._world.plan.hands else None
        controller = await Controller.open(means, Metrics(), exchange_for)
        self.controller = controller
        async with asyncio.TaskGroup() as outer:
            following = outer.create_task(controller.follow())
            async with asyncio.TaskGroup() as group:
                running = group.create_task(controller.run())
                own = [group.create_task(controller.roster.follow(self._world.endpoints, self._connect))]
                if isinstance(controller.exchange, WorkExchange):
                    self.site = Site(self._world, means, controller)
                    own.append(group.create_task(controller.exchange.run()))
                    own.append(group.create_task(self._crew(means, controller, controller.exchange).run()))
                await self._stop.wait()
                if self.site is not None:
                    self.site.drain()
                running.cancel()
                for task in own:
                    task.cancel()
            following.cancel()

    def _crew(self, means: Means, controller: Controller, exchange: WorkExchange) -> Connecting:
        """Return what carries out that which no worker does."""
        view, registry, runs = controller.view, controller.registry, controller.runs
        caller = calls.Elsewhere(random.Random(f"{self._world.plan.seed}/{self.unique}/calls"))
        connectors = (
            HttpConnector(caller, calls.no_secrets, "simulated"),
            TaskConnector(means, view, registry, runs, controller.sweeper),
            JobConnector(means, view, registry, controller.steering, runs, controller.sweeper),
            controller.calls,
        )
        return Connecting(exchange, runs.conductor_of, means.instance, connectors)

    def _means(self) -> Means:
        plan = self._world.plan
        return Means(
            store=self.way,
            connect=self._connect,
            clock=SimClock(),
            rng=random.Random(f"{plan.seed}/{self.unique}"),
            instance=self.unique,
            url=self.name,
            ask_peer=self._ask_peer,
            lost_after=timedelta(seconds=plan.lost_after_s),
            renewal=Renewal(5 / 3, 0.5),
        )

    def _connect(self, endpoint: str) -> Transport:
        return Transport(self._world, endpoint)

    async def _ask_peer(self, url: str) -> PeerAnswer:
        async def answer() -> PeerAnswer:
            instance = self._world.instances[NODE.get().name]
            view = None if instance.controller is None else instance.controller.view
            if view is None:
                raise Unavailable("it has only begun")
            return PeerAnswer(instance.unique, view.external(view.revision), SimClock().now().wall)

        try:
            return await self._world.net.call(url, answer)
        except Lost as lost:
            raise Unavailable(str(lost)) from None

    def __repr__(self) -> str:
        return self.unique


def is_expected(failure: dict[str, Any]) -> bool:
    """Whether something that nobody heard of says nothing about the product: what is cut off in the middle of its work."""
    return isinstance(failure.get("exception"), Lost)
