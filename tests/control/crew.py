"""Several instances in one process, on one store and with the same agents; each has its own ways to both, to be cut."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from harpoon.control.controller import Controller
from harpoon.control.means import Means, PeerAnswer
from harpoon.control.metrics import Metrics
from harpoon.kit.clock import Random, SystemClock
from harpoon.kit.errors import Unavailable
from harpoon.kit.loop import Pace
from harpoon.model import wire
from harpoon.model.instant import Instant
from harpoon.store.hold import HOLDS, holder_of
from harpoon.store.leases import OwnLease
from harpoon.store.memory import MemoryStore
from harpoon.store.port import (
    BY_THIRDS,
    Change,
    Compare,
    Entry,
    Lease,
    Page,
    Renewal,
    StoreHealth,
    StoreUnavailable,
    Write,
)
from tests.control.test_controller import an_agent
from tests.fakes import FakeAgent

SCHEDULER = "scheduler"
#: Nothing in memory takes so long.
SOON_S = 10.0


async def soon(is_true: Callable[[], bool]) -> None:
    """Wait for what no revision tells."""
    async with asyncio.timeout(SOON_S):
        while not is_true():
            await asyncio.sleep(0.002)


class Way:
    """One instance's way to the store: nothing of it passes once it is cut, and nobody is told so."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.leases: list[OwnLease] = []
        self._is_open = asyncio.Event()
        self._is_open.set()

    def cut(self) -> None:
        self._is_open.clear()

    def heal(self) -> None:
        self._is_open.set()

    async def get(self, key: str) -> Entry | None:
        self._pass()
        return await self.store.get(key)

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        self._pass()
        async for page in self.store.list(prefix):
            yield page

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        self._pass()
        return await self.store.commit(compares, writes)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        async for told in self.store.watch(prefix, after=after):
            await self._is_open.wait()
            yield told

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:
        self._pass()
        lease = await self.store.lease(ttl_s, renewal)
        assert isinstance(lease, OwnLease)
        lease._revoke = self._revoke
        self.leases.append(lease)
        return lease

    async def _revoke(self, lease: OwnLease) -> None:
        self._pass()
        await self.store._revoke(lease)

    async def compact(self, revision: int) -> None:
        self._pass()
        await self.store.compact(revision)

    async def revision(self) -> int:
        self._pass()
        return await self.store.revision()

    def health(self) -> StoreHealth:
        return self.store.health()

    async def close(self) -> None:
        """The store is everybody's."""

    def _pass(self) -> None:
        if not self._is_open.is_set():
            raise StoreUnavailable("as the test wants: cut off", maybe_applied=False)


class Road:
    """One instance's way to one agent."""

    def __init__(self, agent: FakeAgent) -> None:
        self.agent = agent
        #: Tokens shown on this way, with every adoption and every batch of commands.
        self.shown: list[Any] = []
        self._is_cut = asyncio.Event()
        #: Set: commands wait here before they reach the agent.
        self.is_slow = False
        self._is_fast = asyncio.Event()
        self.waiting = 0

    def cut(self) -> None:
        self._is_cut.set()

    def heal(self) -> None:
        self._is_cut.clear()

    def hold_up(self) -> None:
        """Let calls wait on their way until `let_go`."""
        self.is_slow = True
        self._is_fast.clear()

    def let_go(self) -> None:
        self.is_slow = False
        self._is_fast.set()

    async def describe(self) -> Any:
        raise Unavailable("nobody asks")

    async def adopt(self, order: wire.Adopt) -> wire.Snapshot:
        await self._travel()
        self.shown.append(order.token)
        return await self.agent.adopt(order)

    async def command(self, batch: wire.Commands) -> wire.Results:
        await self._travel()
        self.shown.append(batch.token)
        return await self.agent.command(batch)

    async def stream(self) -> AsyncIterator[wire.Snapshot | wire.Changed | None]:
        await self._travel()
        told = self.agent.stream()
        cut = asyncio.ensure_future(self._is_cut.wait())
        try:
            while True:
                step = asyncio.ensure_future(anext(told))
                try:
                    await asyncio.wait((step, cut), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not step.done():
                        step.cancel()
                        await asyncio.wait((step,))
                if cut.done():
                    raise Unavailable("as the test wants: cut off")
                yield step.result()
        finally:
            cut.cancel()
            await told.aclose()

    async def _travel(self) -> None:
        if self._is_cut.is_set():
            raise Unavailable("as the test wants: cut off")
        if self.is_slow:
            self.waiting += 1
            try:
                await self._is_fast.wait()
            finally:
                self.waiting -= 1


class Shifted(SystemClock):
    """A clock whose wall is off."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_ms = 0

    def now(self) -> Instant:
        now = super().now()
        return replace(now, wall=now.wall + self.ahead_ms)


class Mate:
    """One instance: its process, as it were."""

    def __init__(self, name: str, way: Way, roads: dict[str, Road], clock: Shifted, metrics: Metrics) -> None:
        self.name = name
        self.way = way
        self.roads = roads
        self.clock = clock
        self.metrics = metrics
        self.plane: Controller
        self.life: asyncio.Task[None]

    def count(self, name: str, **labels: str) -> float:
        """Return one of its metrics."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class Crew:
    """A store, agents, and the instances that share them."""

    def __init__(self, store: MemoryStore, agents: Sequence[FakeAgent], **settings: object) -> None:
        self.store = store
        self.agents = {agent.name: agent for agent in agents}
        self.mates: dict[str, Mate] = {}
        #: All that there ever were.
        self.ever: list[Mate] = []
        self.settings = settings
        #: As of `Controller.open`.
        self.exchange_for: Any = None

    @asynccontextmanager
    async def at_work(self, *names: str) -> AsyncIterator["Crew"]:
        """Have instances that share all agents; whatever is left of them ends with the block."""
        try:
            for name in names:
                await self.join(name)
            for name, agent in self.agents.items():
                await self.mates[names[0]].plane.roster.register(an_agent(agent, f"http://{name}"))
            await soon(self.is_settled)
            yield self
        finally:
            for mate in self.mates.values():
                mate.life.cancel()
            for name in list(self.mates):
                await self.leave(name)

    async def join(self, name: str, **settings: object) -> Mate:
        """Start an instance."""
        roads = {agent: Road(fake) for agent, fake in self.agents.items()}
        mate = Mate(name, Way(self.store), roads, Shifted(), Metrics())
        means = Means(
            store=mate.way,
            connect=lambda endpoint: roads[endpoint.removeprefix("http://")],
            clock=mate.clock,
            rng=Random(len(self.mates)),
            **{
                "instance": name,
                "url": name,
                "ask_peer": self._ask,
                "settle": timedelta(milliseconds=20),
                "pace": Pace(resync=timedelta(milliseconds=500), retry=timedelta(milliseconds=20)),
                **self.settings,
                **settings,
            },
        )
        mate.plane = await Controller.open(means, mate.metrics, self.exchange_for)
        mate.life = asyncio.ensure_future(_live(mate.plane))
        self.mates[name] = mate
        self.ever.append(mate)
        return mate

    async def leave(self, name: str) -> None:
        """End an instance as one that is told to: it gives back what it holds."""
        mate = self.mates.pop(name)
        mate.life.cancel()
        await asyncio.wait((mate.life,))
        if not mate.life.cancelled() and (error := mate.life.exception()) is not None:
            raise error

    async def kill(self, name: str) -> Mate:
        """End an instance at once: its holds stay until `lapse`."""
        mate = self.mates[name]
        mate.way.cut()
        for road in mate.roads.values():
            road.cut()
        await self.leave(name)
        return mate

    def lapse(self, mate: Mate) -> None:
        """Let the lease of an instance run out."""
        for lease in mate.way.leases:
            self.store._end(lease)

    # What there is.

    def minder(self, agent: str) -> str | None:
        """Return the instance that may command an agent now; there are never two."""
        able = [mate.name for mate in self.mates.values() if mate.plane.is_commandable(agent)]
        return able[0] if len(able) == 1 else None

    def leader(self) -> str | None:
        """Return the instance that schedules."""
        able = [mate.name for mate in self.mates.values() if mate.plane.bookings() is not None]
        return able[0] if len(able) == 1 else None

    async def holds(self) -> dict[str, str]:
        """Return who holds what, as the store has it."""
        return {
            entry.key.removeprefix(HOLDS): holder_of(entry)
            async for page in self.store.list(HOLDS)
            for entry in page.entries
        }

    def is_settled(self) -> bool:
        """Whether each agent has its one minder, and somebody leads."""
        return self.leader() is not None and all(self.minder(agent) is not None for agent in self.agents)

    async def _ask(self, url: str) -> PeerAnswer:
        mate = self.mates.get(url)
        if mate is None:
            raise Unavailable(f"{url} does not answer")
        await asyncio.sleep(0)
        return PeerAnswer(mate.name, "", mate.clock.now().wall)


async def _live(plane: Controller) -> None:
    async with asyncio.TaskGroup() as group:
        following = group.create_task(plane.follow())
        running = group.create_task(plane.run())
        try:
            await asyncio.wait((running,))
        finally:
            # The view goes on until the last hold is given back.
            running.cancel()
            await asyncio.wait((running,))
            following.cancel()
