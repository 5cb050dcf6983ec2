"""A controller on a store at its worst: whatever becomes of commits and leases, no slot runs twice, and all heals."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from harpoon.control import controller, outbox
from harpoon.core import machine
from harpoon.kit.loop import Pace
from harpoon.model import wire
from harpoon.model.name import TaskId
from harpoon.model.task import parse_task_id
from harpoon.store.port import Compare, StoreUnavailable, Write
from tests.control.test_controller import House, a_manifest, until
from tests.fakes import FakeAgent
from tests.faulty import Fault, FaultyStore

FAULTS = (Fault.REFUSED, Fault.LOST, Fault.SILENT, Fault.LATE, Fault.OVERTAKEN)
JOBS = ("web", "api")


class Worst(FaultyStore):
    """Fails now and then, as its seed says."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.rng = rng
        self.is_bad = False

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        if self.is_bad and self.rng.random() < 0.2:
            self.fail(self.rng.choice(FAULTS))
        return await super().commit(compares, writes)

    async def go_wrong(self, span_s: float) -> None:
        """Be bad for a time: commits, leases and the way to the store."""
        self.is_bad = True
        async with asyncio.timeout(span_s):
            while True:
                await asyncio.sleep(self.rng.uniform(0.005, 0.05))
                match self.rng.randrange(6):
                    case 0:
                        self.leave()
                        await asyncio.sleep(self.rng.uniform(0, 0.1))
                        self.come_back()
                    case 1:
                        self.lapse(is_gone=self.rng.random() < 0.5)
                    case _:
                        await self.deliver()


class Jealous(FakeAgent):
    """Notices when a slot that runs is started once more, on whichever agent."""

    others: "tuple[Jealous, ...]" = ()

    async def command(self, batch: wire.Commands) -> wire.Results:
        results = await super().command(batch)
        running = [task for agent in self.others for task, told in agent.tasks.items() if not told.state.is_over]
        slots = Counter((name.job, name.slot) for name in map(parse_task_id, running))
        assert max(slots.values(), default=0) <= 1, slots
        return results


async def change_jobs(house: House, plane: controller.Controller, rng: Random, wanted: dict[str, int]) -> None:
    """Scale jobs as users do; who is told that it may have happened, tries again."""
    while True:
        job, scale = rng.choice(JOBS), rng.randint(1, 6)
        try:
            await plane.registry.scale("default", job, scale)
            wanted[job] = scale
        except StoreUnavailable as error:
            if error.maybe_applied:
                wanted.pop(job, None)
        except asyncio.CancelledError:
            # Whoever goes away in the middle does not know, either.
            wanted.pop(job, None)
            raise
        await asyncio.sleep(rng.uniform(0.01, 0.1))


@pytest.mark.parametrize("is_exclusive", [False, True])
@pytest.mark.parametrize("seed", range(12))
async def test_no_slot_runs_twice_and_all_heals(seed: int, is_exclusive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PENDING_MAX", timedelta(seconds=0.5))
    monkeypatch.setattr(controller, "RETRY_S", 0.02)
    monkeypatch.setattr(outbox, "RETRY_S", 0.02)
    monkeypatch.setattr("harpoon.control.shepherd.RETRY_S", 0.02)
    monkeypatch.setattr("harpoon.control.leadership.RETRY_S", 0.02)
    monkeypatch.setattr("harpoon.store.mirror._RETRY_S", 0.02)
    rng = Random(seed)
    store = Worst(rng)
    agents = Jealous("a1"), Jealous("a2")
    for agent in agents:
        agent.others = agents
    house = House(store, agents, pace=Pace(resync=timedelta(milliseconds=500), retry=timedelta(milliseconds=20)))
    async with house.running() as plane:
        for job in JOBS:
            plain = a_manifest(job, scale=2)
            await plane.registry.put(replace(plain, spec=replace(plain.spec, exclusive=is_exclusive)))
        wanted: dict[str, int] = {}
        users = asyncio.ensure_future(change_jobs(house, plane, rng, wanted))
        with pytest.raises(TimeoutError):
            await store.go_wrong(1.5)
        users.cancel()
        await asyncio.wait((users,))
        store.is_bad = False
        store.relent()
        store.come_back()
        await store.deliver()
        for job in JOBS:
            await until(plane, lambda job=job: plane.registry.status("default", job).is_done)
            scale = plane.view.jobs.rows[f"default/{job}"].value.spec.scale
            assert wanted.get(job, scale) == scale
            running = [parse_task_id(task) for agent in agents for task in agent.tasks]
            assert sorted(name.slot for name in running if name.job == job) == list(range(scale))
        actual = [row.value for row in plane.view.actual.rows.values()]
        shown: dict[TaskId, object] = {one.id: replace(one, ready_since_ms=0) for one in actual}
        assert shown == {task: told for agent in agents for task, told in agent.tasks.items()}
        started = Counter(type(command).__name__ for agent in agents for command in agent.obeyed)
        assert started["StartTask"] >= 4
