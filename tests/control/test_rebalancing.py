"""Tasks moved to agents that came later: with real loops, and agents that behave."""

import asyncio
from dataclasses import replace

import pytest

from harpoon.control.controller import Controller
from harpoon.control.rebalancing import underway
from harpoon.control.view import MOVES
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, NotFound
from harpoon.model.dependency import Dependency
from harpoon.model.job import Update
from harpoon.model.rebalance import MOVES_MAX, Move, MoveRecord, Rebalancing
from harpoon.model.task import TaskState
from harpoon.model.template import Resources
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.test_controller import House, a_manifest, an_agent, is_usable, settled, until
from tests.control.test_cordons import quiet, ready, slots
from tests.fakes import FakeAgent


async def join(house: House, controller: Controller, *agents: FakeAgent) -> None:
    """Have agents register, and wait until they are there."""
    for agent in agents:
        house.agents[f"http://{agent.name}"] = agent
        await controller.roster.register(an_agent(agent, f"http://{agent.name}"))
    await until(controller, lambda: all(is_usable(controller, agent.name) for agent in agents))


async def moves(controller: Controller, most: int = 90, **order: object) -> list[str]:
    """Have tasks moved, and return where they were."""
    told = await controller.rebalancer.rebalance(Rebalancing(max_moves=most, **order), controller.bookings())
    return [move.agent for move in told.moves]


async def done(controller: Controller) -> None:
    await until(controller, lambda: not controller.view.moves.rows)


async def test_new_agents_take_their_share_so_many_at_a_time_and_ready_ones_are_never_fewer() -> None:
    a1, a2, a3 = (FakeAgent(name) for name in ("a1", "a2", "a3"))
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=6))
        await settled(controller)
        await join(house, controller, a2, a3)
        before = set(a1.tasks)
        fewest = [6]
        controller.view.mirror.listen(lambda _, __: fewest.append(ready(a1, a2, a3)))
        assert await moves(controller, 2) == ["a1", "a1"]
        await done(controller)
        await settled(controller)
        assert len(before & {task for task, known in a1.tasks.items() if not known.state.is_over}) == 4
        assert sorted(slots(a1) + slots(a2) + slots(a3)) == ["0", "1", "2", "3", "4", "5"]
        assert len(await moves(controller)) == 2
        await done(controller)
        await settled(controller)
        assert [len(slots(agent)) for agent in (a1, a2, a3)] == [2, 2, 2]
        assert min(fewest) == 6
        assert await moves(controller) == []
        await quiet(controller)
        obeyed, revision = sum(len(one.obeyed) for one in (a1, a2, a3)), controller.view.revision
        await asyncio.sleep(0.1)
        assert (sum(len(one.obeyed) for one in (a1, a2, a3)), controller.view.revision) == (obeyed, revision)


async def test_a_server_that_is_replaced_in_the_middle_loses_no_move() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=6))
        await settled(controller)
        a2.makes_ready = False
        await join(house, controller, a2)
        assert len(await moves(controller, 3)) == 3
        await until(controller, lambda: bool(controller.view.placements_on("a2")))
        assert ready(a1) == 6
    a2.makes_ready = True
    async with house.running(registers=False) as controller:
        await until(controller, lambda: all(is_usable(controller, name) for name in house.names()))
        assert len(controller.view.moves.rows) == 3
        for task in list(a2.tasks):
            a2.report(task, state=TaskState.RUNNING, ready=True)
        await done(controller)
        await settled(controller)
        assert (len(slots(a1)), len(slots(a2))) == (3, 3)


async def test_a_dry_run_tells_the_same_and_moves_nothing() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=4))
        await settled(controller)
        await join(house, controller, a2)
        revision = controller.view.revision
        assert await moves(controller, dry_run=True) == ["a1", "a1"]
        assert controller.view.revision == revision
        assert await moves(controller) == ["a1", "a1"]
        assert [one.to for one in underway(controller.view).moves] == ["a2", "a2"]
        await done(controller)


async def test_jobs_that_are_changing_or_exclusive_or_not_asked_for_are_left_out() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        exclusive = a_manifest("only", scale=2)
        await controller.registry.put(replace(exclusive, spec=replace(exclusive.spec, exclusive=True)))
        needs = a_manifest("needs", scale=2)
        depends = replace(needs.spec, depends_on=(Dependency(job="web"),))
        await controller.registry.put(a_manifest(scale=2))
        await controller.registry.put(replace(needs, spec=depends))
        for name in ("only", "web", "needs"):
            await settled(controller, name)
        await join(house, controller, a2)
        assert len(await moves(controller, dry_run=True)) == 2
        assert len(await moves(controller, dry_run=True, exclusive=True)) == 3
        assert await moves(controller, dry_run=True, namespace="default", job="needs") == ["a1"]
        assert await moves(controller, dry_run=True, namespace="shop") == []
        with pytest.raises(NotFound, match="there is no job nothing in namespace default"):
            await moves(controller, namespace="default", job="nothing")
        [task] = [task for task in a1.tasks if task.startswith("default.web.0")]
        a1.report(task, ready=False)
        await until(controller, lambda: not controller.view.tasks_of("default/web")[task].value.ready)
        assert await moves(controller, dry_run=True) == [], "what another depends on is not ready, nor is its own"


async def test_a_task_of_an_exclusive_job_is_moved_if_asked_for_and_never_runs_twice() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        manifest = a_manifest(scale=2)
        await controller.registry.put(replace(manifest, spec=replace(manifest.spec, exclusive=True)))
        await settled(controller)
        await join(house, controller, a2)
        most = [0]
        controller.view.mirror.listen(lambda _, __: most.append(len(slots(a1) + slots(a2))))
        assert await moves(controller, exclusive=True) == ["a1"]
        await done(controller)
        await settled(controller)
        assert (len(slots(a1)), len(slots(a2))) == (1, 1)
        assert max(most) <= 2


async def test_a_move_that_finds_no_better_place_any_more_is_given_up_and_the_task_stays() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=2, resources=Resources(cpu=100)))
        await settled(controller)
        await join(house, controller, a2)
        await controller.cordons.cordon("a2")
        [row, _] = controller.view.placements_on("a1").values()
        task = row.value.task
        move = Move(task=task, agent="a1", to="a2", reason="spread", before=2, after=1)
        record = codec.dump(MoveRecord(move=move, at_ms=1))
        revision = await controller.registry._store.commit((), [Put(f"{MOVES}a1/{task}", record)])
        assert revision is not None
        await controller.view.mirror.reached(revision)
        await done(controller)
        await quiet(controller)
        assert a1.tasks[task].ready
        assert slots(a1) == ["0", "1"]
        assert not controller.view.pending.rows


async def test_while_a_rollout_waits_nothing_of_its_job_is_moved() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        plain = a_manifest(scale=4)
        canary = replace(plain, spec=replace(plain.spec, update=Update(canary=1)))
        await controller.registry.put(canary)
        await settled(controller)
        changed = replace(canary.spec.task, env={"MODE": "new"})
        await controller.registry.put(replace(canary, spec=replace(canary.spec, task=changed)))
        await until(controller, lambda: sum(task.ready for task in a1.tasks.values()) == 5)
        await join(house, controller, a2)
        assert await moves(controller) == []
        # One that was decided just before that is given up.
        [*_, row] = controller.view.placements_on("a1").values()
        task = row.value.task
        move = Move(task=task, agent="a1", to="a2", reason="spread", before=4, after=1)
        record = codec.dump(MoveRecord(move=move, at_ms=1))
        revision = await controller.registry._store.commit((), [Put(f"{MOVES}a1/{task}", record)])
        assert revision is not None
        await controller.view.mirror.reached(revision)
        await done(controller)
        await quiet(controller)
        assert a1.tasks[task].ready
        assert not a2.tasks
        await controller.steering.promote("default", "web")
        await settled(controller)
        assert sum(map(len, (slots(a1), slots(a2)))) == 4


async def test_a_job_that_is_unscheduled_takes_its_moves_with_it() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=4))
        await settled(controller)
        a2.makes_ready = False
        await join(house, controller, a2)
        assert await moves(controller) == ["a1", "a1"]
        await controller.registry.delete("default", "web")
        await until(controller, lambda: "default/web" not in controller.view.jobs.rows)
        await done(controller)


async def test_no_more_moves_are_under_way_than_there_may_be() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1,))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=200))
        await settled(controller)
        a2.makes_ready = False
        await join(house, controller, a2)
        assert len(await moves(controller, MOVES_MAX)) == MOVES_MAX
        with pytest.raises(Conflict, match=f"{MOVES_MAX} moves are under way"):
            await moves(controller)
