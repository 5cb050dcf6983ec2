"""The loops together: a real store in memory, real loops, agents that behave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from harpoon.control.controller import Controller
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.kit.clock import Random, SystemClock
from harpoon.kit.errors import Conflict, Invalid, NotFound, PreconditionFailed
from harpoon.kit.loop import Pace
from harpoon.model.agent import Agent, Capacity, LinkState, PortRange
from harpoon.model.job import Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.rules import PlacementRules, Requirement
from harpoon.model.shown import Outcome
from harpoon.model.status import JobState
from harpoon.model.task import TaskState
from harpoon.model.template import Resources, TaskTemplate
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from tests.fakes import FakeAgent


def a_manifest(name: str = "web", *, scale: int = 3, env: dict[str, str] | None = None, **task: object) -> Manifest:
    template = TaskTemplate(command=("serve",), env=env or {}, **task)
    return Manifest(
        apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name=name), spec=Spec(scale=scale, task=template)
    )


class House:
    """A controller with its store and agents."""

    def __init__(self, store: Store, agents: tuple[FakeAgent, ...], **settings: object) -> None:
        self.store = store
        self.agents = {f"http://{agent.name}": agent for agent in agents}
        self.settings = settings
        self.metrics = Metrics()

    def names(self) -> list[str]:
        return [agent.name for agent in self.agents.values()]

    def means(self) -> Means:
        """Ways out, of which the agents are the only ones that lead anywhere."""
        return Means(
            store=self.store,
            connect=lambda endpoint: self.agents[endpoint],
            rng=Random(1),
            **{"clock": SystemClock(), "instance": "test", "pace": Pace(resync=timedelta(seconds=60)), **self.settings},
        )

    @asynccontextmanager
    async def running(self, *, registers: bool = True) -> AsyncIterator[Controller]:
        """Run the controller, with all agents registered, and connected as far as it sees, unless told otherwise."""
        async with self.opened(await Controller.open(self.means(), self.metrics), registers=registers) as controller:
            yield controller

    @asynccontextmanager
    async def opened(self, controller: Controller, *, registers: bool = True) -> AsyncIterator[Controller]:
        """Run a controller that was opened."""
        async with asyncio.TaskGroup() as group:
            following = group.create_task(controller.follow())
            running = group.create_task(controller.run())
            for endpoint, agent in self.agents.items() if registers else ():
                await controller.roster.register(an_agent(agent, endpoint))
            async with asyncio.timeout(5):
                while registers and not all(is_usable(controller, name) for name in self.names()):
                    await asyncio.sleep(0.001)
            yield controller
            running.cancel()
            await asyncio.wait((running,))
            following.cancel()


def is_usable(controller: Controller, agent: str) -> bool:
    """Whether an agent may be commanded, and placing sees that it is connected."""
    link = controller.view.links.rows.get(agent)
    return controller.is_commandable(agent) and link is not None and link.value.state is LinkState.CONNECTED


def an_agent(agent: FakeAgent, endpoint: str) -> Agent:
    return Agent(
        name=agent.name,
        uid=agent.uid,
        endpoint=endpoint,
        capacity=Capacity(cpu=4000, memory=1 << 30),
        ports=PortRange(low=20000, high=21000),
        facts={"name": agent.name, "secrets": "memory"},
    )


async def until(controller: Controller, is_true: Callable[[], bool]) -> None:
    """Wait, woken by each revision, until something holds."""
    async with asyncio.timeout(10):
        while not is_true():
            await controller.view.mirror.reached(controller.view.revision + 1)


async def settled(controller: Controller, name: str = "web") -> None:
    await until(controller, lambda: controller.registry.status("default", name).is_done)


async def test_a_job_is_placed_started_and_becomes_ready() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        accepted = await controller.registry.put(a_manifest(scale=4))
        await settled(controller)
        assert accepted.outcome is Outcome.CREATED
        assert len(a1.tasks) == len(a2.tasks) == 2
        assert controller.registry.change(accepted.change).is_done


async def test_a_migrate_replaces_every_task_and_leaves_none_of_the_old() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        first = await controller.registry.put(a_manifest())
        await settled(controller)
        second = await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await settled(controller)
        assert second.outcome is Outcome.CHANGED
        assert {task.generation for task in a1.tasks.values()} == {second.job.generation}
        assert first.job.generation != second.job.generation
        assert controller.registry.change(first.change).summary == f"superseded by {second.change}"


async def test_an_old_task_is_not_stopped_before_its_successor_is_ready() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        [old] = a1.tasks
        a1.makes_ready = False
        await controller.registry.put(a_manifest(scale=1, env={"MODE": "new"}))
        await until(controller, lambda: len(controller.view.tasks_of("default/web")) == 2)
        [new] = set(a1.tasks) - {old}
        assert a1.tasks[old].ready
        a1.report(new, state=TaskState.RUNNING, ready=True)
        await settled(controller)
        assert set(a1.tasks) == {new}


async def test_scaling_moves_no_task_that_stays() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        before = set(a1.tasks)
        await controller.registry.scale("default", "web", 5)
        await settled(controller)
        assert before < set(a1.tasks)
        assert len(a1.tasks) == 5
        await controller.registry.scale("default", "web", 1)
        await settled(controller)
        assert len(a1.tasks) == 1
        assert set(a1.tasks) < before


async def test_an_unscheduled_job_goes_with_all_its_records() -> None:
    a1 = FakeAgent("a1")
    store = MemoryStore()
    async with House(store, (a1,)).running() as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        change = (await controller.registry.delete("default", "web")).change
        await until(controller, lambda: "default/web" not in controller.view.jobs.rows)
        assert a1.tasks == {}
        assert controller.registry.change(change).is_done
        left = [entry.key async for page in store.list("/h/1/ctl/") for entry in page.entries if "web" in entry.key]
        assert left == []


async def test_a_job_that_waits_for_its_tasks_to_stop_is_shown_as_terminating() -> None:
    a1 = FakeAgent("a1", lets_stop=False)
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        await controller.registry.delete("default", "web")
        await until(controller, lambda: any(t.state is TaskState.STOPPING for t in a1.tasks.values()))
        status = controller.registry.status("default", "web")
        assert status.state is JobState.TERMINATING
        a1.lets_stop = True
        [task] = a1.tasks
        a1.report(task, state=TaskState.FINISHED)
        await until(controller, lambda: "default/web" not in controller.view.jobs.rows)


async def test_a_slot_that_fits_nowhere_says_why_and_is_placed_once_it_fits() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest("big", scale=1, resources=Resources(memory=1 << 29)))
        await controller.registry.put(a_manifest("web", scale=2, resources=Resources(memory=1 << 29)))
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        status = controller.registry.status("default", "web")
        assert status.state is JobState.WAITING
        assert any(blocker.predicate == "memory" for blocker in status.pending.blockers)
        await controller.registry.delete("default", "big")
        await settled(controller)
        assert "default/web" not in controller.view.pending.rows


async def test_a_reservation_is_held_until_the_task_is_over() -> None:
    a1 = FakeAgent("a1", lets_stop=False)
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest("big", scale=1, resources=Resources(memory=1 << 30)))
        await settled(controller, "big")
        await controller.registry.delete("default", "big")
        await controller.registry.put(a_manifest("web", scale=1, resources=Resources(memory=1 << 30)))
        await until(controller, lambda: any(t.state is TaskState.STOPPING for t in a1.tasks.values()))
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        [big] = a1.tasks
        a1.report(big, state=TaskState.FINISHED)
        await settled(controller)


async def test_steady_state_emits_nothing_over_many_resyncs() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1, a2), pace=Pace(resync=timedelta(milliseconds=30)))
    async with house.running() as controller:
        for number in range(10):
            await controller.registry.put(a_manifest(f"job{number}", scale=5))
        for number in range(10):
            await settled(controller, f"job{number}")
        revision, obeyed = await house.store.revision(), len(a1.obeyed) + len(a2.obeyed)
        await asyncio.sleep(0.3)
        assert await house.store.revision() == revision
        assert len(a1.obeyed) + len(a2.obeyed) == obeyed


async def test_a_restarted_controller_changes_nothing_and_has_a_higher_token() -> None:
    a1 = FakeAgent("a1")
    store = MemoryStore()
    async with House(store, (a1,)).running() as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
    obeyed, mark, tasks = len(a1.obeyed), a1.mark, dict(a1.tasks)
    async with House(store, (a1,)).running() as controller:
        async with asyncio.timeout(5):
            while a1.mark == mark:
                await asyncio.sleep(0.01)
        actual = [row.mod_revision for row in controller.view.actual.rows.values()]
        await controller.registry.scale("default", "web", 4)
        await settled(controller)
        assert a1.mark > mark
        assert a1.tasks.items() > tasks.items()
        assert len(a1.obeyed) == obeyed + 1
        assert sorted(actual) == sorted(actual)[:3]


async def test_tasks_of_a_lost_agent_are_replaced_and_its_strays_stopped_when_it_returns() -> None:
    agents = FakeAgent("a1"), FakeAgent("a2"), FakeAgent("a3")
    house = House(MemoryStore(), agents, lost_after=timedelta(milliseconds=300))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=3))
        await settled(controller)
        agents[0].cut()
        await until(
            controller,
            lambda: (
                controller.view.links.rows["a1"].value.state is LinkState.LOST
                and len(agents[1].tasks) + len(agents[2].tasks) == 3
            ),
        )
        assert len(agents[0].tasks) == 1
        agents[0].heal()
        await settled(controller)
        assert agents[0].tasks == {}


async def test_nothing_is_replaced_while_most_agents_are_lost() -> None:
    agents = FakeAgent("a1"), FakeAgent("a2"), FakeAgent("a3")
    house = House(MemoryStore(), agents, lost_after=timedelta(milliseconds=200))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=3))
        await settled(controller)
        agents[0].cut()
        agents[1].cut()
        lost = controller.view.links.rows
        await until(controller, lambda: all(lost[name].value.state is LinkState.LOST for name in ("a1", "a2")))
        drops = controller.metrics.drops._value.get()
        placed = {task for row in controller.view.placements.rows.values() for task in (row.value.task,)}
        await asyncio.sleep(0.2)
        halted_now = {row.value.task for row in controller.view.placements.rows.values()}
        assert len(halted_now & placed) >= 2
        assert controller.metrics.drops._value.get() == drops


async def test_a_fenced_controller_sends_nothing_more() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        a1.mark = type(a1.mark)(incarnation=99, revision=1)
        obeyed = len(a1.obeyed)
        await controller.registry.scale("default", "web", 2)
        async with asyncio.timeout(5):
            while controller.is_commandable("a1"):
                await asyncio.sleep(0.01)
        assert len(a1.obeyed) == obeyed
        link = controller.view.links.rows
        await until(controller, lambda: link["a1"].value.state is LinkState.INTERRUPTED)
        assert "having taken 99.1" in link["a1"].value.reason


async def test_preconditions_protect_what_someone_else_changed() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        registry = controller.registry
        first = await registry.put(a_manifest(), is_new=True)
        with pytest.raises(PreconditionFailed, match="exists already"):
            await registry.put(a_manifest(), is_new=True)
        await registry.put(a_manifest(scale=4), if_match=first.revision)
        with pytest.raises(PreconditionFailed, match="changed by someone else"):
            await registry.put(a_manifest(scale=5), if_match=first.revision)
        with pytest.raises(PreconditionFailed):
            await registry.delete("default", "web", if_match=first.revision)
        assert controller.view.jobs.rows["default/web"].value.spec.scale == 4


async def test_the_same_manifest_again_writes_nothing() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        first = await controller.registry.put(a_manifest())
        again = await controller.registry.put(a_manifest())
        assert again.outcome is Outcome.UNCHANGED
        assert again.change == first.change


async def test_concurrent_mutations_of_one_job_all_count() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        await controller.registry.put(a_manifest())
        async with asyncio.TaskGroup() as group:
            for scale in range(4):
                group.create_task(controller.registry.scale("default", "web", 10 + scale))
        assert controller.view.jobs.rows["default/web"].value.version == 5


async def test_several_jobs_are_applied_in_one_revision_or_not_at_all() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        accepted = await controller.registry.apply([a_manifest("a"), a_manifest("b")])
        assert len({one.revision for one in accepted}) == 1
        with pytest.raises(Invalid, match="declared twice"):
            await controller.registry.apply([a_manifest("c"), a_manifest("c")])
        assert "default/c" not in controller.view.jobs.rows


async def test_what_is_too_large_for_a_commit_is_refused_with_its_size() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        heavy = {f"V{number}": "x" * 100_000 for number in range(4)}
        with pytest.raises(Invalid, match="apply fewer"):
            await controller.registry.apply([a_manifest("a", env=heavy), a_manifest("b", env=heavy)])
        with pytest.raises(Invalid, match="move data out of the manifest"):
            await controller.registry.put(a_manifest("c", env=heavy | {"W": "y" * 120_000, "Z": "y" * 120_000}))
        assert controller.view.jobs.rows == {}


async def test_what_is_not_there_is_said_so() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        registry = controller.registry
        with pytest.raises(NotFound):
            registry.status("default", "nothing")
        with pytest.raises(NotFound):
            await registry.scale("default", "nothing", 1)
        with pytest.raises(Invalid):
            registry.change("nonsense")
        with pytest.raises(NotFound):
            registry.change("default.web.1-99999")


async def test_old_versions_are_pruned() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        for scale in range(30):
            await controller.registry.put(a_manifest(scale=scale))
        assert len(controller.view.versions.rows) == 10


async def test_another_agent_of_a_connected_name_is_refused() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await until(controller, lambda: "a1" in controller.view.links.rows)
        with pytest.raises(Conflict, match="another agent named a1"):
            await controller.roster.register(an_agent(FakeAgent("a1", uid="other"), "http://elsewhere"))
        with pytest.raises(Conflict, match="belongs to agent a1"):
            await controller.roster.register(an_agent(FakeAgent("a9"), "http://a1"))
        with pytest.raises(Conflict, match="is connected"):
            await controller.roster.remove("a1")


async def test_an_agent_that_is_gone_can_be_removed_with_its_tasks() -> None:
    agents = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), agents, lost_after=timedelta(milliseconds=200))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        agents[0].cut()
        await until(controller, lambda: len(agents[1].tasks) == 2)
        await controller.roster.remove("a1")
        await settled(controller)
        assert "a1" not in controller.view.agents.rows


async def test_requirements_keep_tasks_on_matching_agents() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        rules = PlacementRules(require=(Requirement(tag="name", equals="a2"),))
        manifest = a_manifest(scale=3)
        spec = Spec(scale=3, task=manifest.spec.task, placement=rules)
        await controller.registry.put(
            Manifest(apiVersion="harpoon/v1", kind="Job", metadata=manifest.metadata, spec=spec)
        )
        await settled(controller)
        assert a1.tasks == {}
        assert len(a2.tasks) == 3


async def test_a_task_that_its_agent_forgets_again_and_again_is_started_again_each_time() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        [task] = a1.tasks
        for _ in range(5):
            a1.forget(task)
            async with asyncio.timeout(5):
                while task not in a1.tasks:
                    await asyncio.sleep(0.001)
        await settled(controller)
