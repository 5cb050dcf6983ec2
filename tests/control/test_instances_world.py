"""Three instances on a store at its worst, of which some are cut off, die and come back: no slot runs twice, and all heals."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from harpoon.model.agent import LinkState
from harpoon.model.name import TaskId
from harpoon.model.task import parse_task_id
from harpoon.store.port import StoreUnavailable
from tests.control.crew import Crew, Mate, soon
from tests.control.test_controller import a_manifest
from tests.control.test_faulty_world import JOBS, Jealous, Worst

pytestmark = pytest.mark.usefixtures("in_haste")

AGENTS = ("a1", "a2", "a3", "a4")
#: The only one that ever fails to reach an agent: so none is lost.
CLUMSY = "i1"
SPAN_S = 2.0


class World:
    """Instances, a store and users, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.store = Worst(self.rng)
        agents = [Jealous(name) for name in AGENTS]
        for agent in agents:
            agent.others = tuple(agents)
        self.crew = Crew(self.store, agents, lost_after=timedelta(seconds=1))
        self.wanted: dict[str, int] = {}
        self.count = 3
        #: States in which links were seen.
        self.links: set[LinkState] = set()

    async def go_wrong(self) -> None:
        """Let things happen to whoever it may be, without a pause."""
        self.store.is_bad = True
        happenings = (
            self.lapse,
            self.cut_store,
            self.cut_road,
            self.replace,
            self.leave,
            self.leave_store,
            self.deliver,
        )
        while True:
            await asyncio.sleep(self.rng.uniform(0.01, 0.06))
            await self.rng.choice(happenings)()

    async def lapse(self) -> None:
        """A lease is over; its holder hears of it at once, or the store does, or both."""
        mate = self.anyone()
        if not mate.way.leases:
            return
        lease = mate.way.leases[-1]
        match self.rng.randrange(3):
            case 0:
                self.store._end(lease)
            case 1:
                lease.lost.set()
            case _:
                told, lease.lost = lease.lost, asyncio.Event()
                self.store._end(lease)
                await asyncio.sleep(self.rng.uniform(0, 0.2))
                told.set()
                lease.lost.set()

    async def cut_store(self) -> None:
        """An instance does not reach the store for a time."""
        mate = self.anyone()
        mate.way.cut()
        await asyncio.sleep(self.rng.uniform(0, 0.2))
        mate.way.heal()

    async def cut_road(self) -> None:
        """An instance does not reach an agent any more, or does again."""
        road = self.crew.mates[CLUMSY].roads[self.rng.choice(AGENTS)]
        self.rng.choice((road.cut, road.cut, road.heal))()

    async def replace(self) -> None:
        """An instance dies, and after a time another comes."""
        mate = await self.crew.kill(self.rng.choice([name for name in self.crew.mates if name != CLUMSY]))
        await asyncio.sleep(self.rng.uniform(0, 0.2))
        self.crew.lapse(mate)
        await self.join()

    async def leave(self) -> None:
        """An instance ends as it is told to, and another comes."""
        await self.crew.leave(self.rng.choice([name for name in self.crew.mates if name != CLUMSY]))
        await self.join()

    async def deliver(self) -> None:
        """What was late arrives."""
        await self.store.deliver()

    async def join(self) -> None:
        self.count += 1
        await self.crew.join(f"i{self.count}")

    async def leave_store(self) -> None:
        """Nobody reaches the store for a time."""
        self.store.leave()
        await asyncio.sleep(self.rng.uniform(0, 0.1))
        self.store.come_back()

    async def use(self) -> None:
        """Scale jobs at whatever instance; who is told that it may have happened, does not know."""
        while True:
            job, scale = self.rng.choice(JOBS), self.rng.randint(1, 8)
            try:
                await self.anyone().plane.registry.scale("default", job, scale)
                self.wanted[job] = scale
            except StoreUnavailable as error:
                if error.maybe_applied:
                    self.wanted.pop(job, None)
            except asyncio.CancelledError:
                # Whoever goes away in the middle does not know, either.
                self.wanted.pop(job, None)
                raise
            await asyncio.sleep(self.rng.uniform(0.01, 0.1))

    def heal(self) -> None:
        self.store.is_bad = False
        self.store.relent()
        self.store.come_back()
        for mate in self.crew.ever:
            mate.way.heal()
            if mate.name not in self.crew.mates:
                self.crew.lapse(mate)

    def anyone(self) -> Mate:
        return self.rng.choice(list(self.crew.mates.values()))

    def watch(self, mate: Mate) -> None:
        """Note in which states links are."""
        view = mate.plane.view
        view.mirror.listen(lambda *_: self.links.update(row.value.state for row in view.links.rows.values()))


@pytest.mark.parametrize("seed", range(8))
async def test_no_slot_runs_twice_and_all_heals_whatever_happens_to_three_instances(seed: int) -> None:
    world = World(seed)
    async with world.crew.at_work("i1", "i2", "i3") as crew:
        plane = crew.mates[CLUMSY].plane
        world.watch(crew.mates[CLUMSY])
        for job in JOBS:
            await plane.registry.put(a_manifest(job, scale=2))
        works = [asyncio.ensure_future(work) for work in (world.go_wrong(), world.use())]
        done, _ = await asyncio.wait(works, timeout=SPAN_S, return_when=asyncio.FIRST_EXCEPTION)
        for work in works:
            work.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*works)
        assert not done
        world.heal()
        await world.store.deliver()
        if CLUMSY not in crew.mates or len(crew.mates) < 3:
            await world.join()
        for mate in crew.mates.values():
            await soon(lambda mate=mate: mate.plane.view.revision == plane.view.revision and not mate.life.done())
            assert not mate.life.done()
        await soon(crew.is_settled)
        for job in JOBS:
            await soon(lambda job=job: plane.registry.status("default", job).is_done)
            scale = plane.view.jobs.rows[f"default/{job}"].value.spec.scale
            assert world.wanted.get(job, scale) == scale
            running = [parse_task_id(task) for agent in crew.agents.values() for task in agent.tasks]
            assert sorted(name.slot for name in running if name.job == job) == list(range(scale))
        actual = [row.value for row in plane.view.actual.rows.values()]
        shown: dict[TaskId, object] = {one.id: replace(one, ready_since_ms=0) for one in actual}
        assert shown == {task: told for agent in crew.agents.values() for task, told in agent.tasks.items()}
        assert LinkState.LOST not in world.links
        minders = Counter(holder for name, holder in (await crew.holds()).items() if name.startswith("agents/"))
        assert minders.total() == len(AGENTS)
