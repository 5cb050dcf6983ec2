"""System jobs with the real loops: one task on each agent that they are for, as agents come, go, and are drained."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.control.controller import Controller
from harpoon.control.explaining import explain_job, explain_member
from harpoon.control.planning import plan_documents
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Exceeded, Invalid
from harpoon.model.job import JobType, Metadata, Spec, Update
from harpoon.model.manifest import Manifest
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec, Quota
from harpoon.model.rules import PlacementRules, Requirement
from harpoon.model.status import ChangeState, JobState
from harpoon.model.task import TaskState, parse_task_id
from harpoon.model.template import Resources, TaskTemplate
from harpoon.store.memory import MemoryStore
from tests.control.test_controller import House, an_agent, settled, until
from tests.control.test_controller import a_manifest as a_service
from tests.fakes import FakeAgent

SECOND = timedelta(seconds=1)


def a_system(env: dict[str, str] | None = None, *, resources: Resources | None = None, **spec: object) -> Manifest:
    task = TaskTemplate(command=("watch",), env=env or {}, resources=resources or Resources())
    return Manifest(
        apiVersion="harpoon/v1",
        kind="Job",
        metadata=Metadata(name="web"),
        spec=Spec(type=JobType.SYSTEM, task=task, **spec),
    )


def agents(count: int = 3) -> tuple[FakeAgent, ...]:
    return tuple(FakeAgent(f"a{number}") for number in range(1, count + 1))


def where(*agents: FakeAgent) -> list[str]:
    """The agents that have a live task of the job, once for each."""
    return [
        agent.name for agent in agents for task, told in agent.tasks.items() if ".web." in task and not told.is_over
    ]


async def test_each_agent_has_one_task_whose_slot_has_its_name() -> None:
    a1, a2, a3 = agents()
    async with House(MemoryStore(), (a1, a2, a3)).running() as controller:
        change = (await controller.registry.put(a_system())).change
        await settled(controller)
        assert where(a1, a2, a3) == ["a1", "a2", "a3"]
        assert {parse_task_id(task).agent for agent in (a1, a2, a3) for task in agent.tasks} == {"a1", "a2", "a3"}
        assert controller.registry.change(change).is_done
        assert controller.registry.status("default", "web").summary == "3/3 ready"


async def test_it_follows_agents_as_they_come_and_go() -> None:
    a1, a2, a3 = agents()
    house = House(MemoryStore(), (a1, a2))
    async with house.running() as controller:
        await controller.registry.put(a_system())
        await settled(controller)
        before = {*a1.tasks, *a2.tasks}
        house.agents["http://a3"] = a3
        await controller.roster.register(an_agent(a3, "http://a3"))
        await until(controller, lambda: where(a1, a2, a3) == ["a1", "a2", "a3"])
        assert before == {*a1.tasks, *a2.tasks}, "nobody else's task is touched"
        a3.cut()
        await controller.cordons.cordon("a3")
        await until(controller, lambda: not controller.is_commandable("a3"))


async def test_only_agents_that_meet_the_requirements_are_its_members() -> None:
    a1, a2, a3 = agents()
    only = PlacementRules(require=(Requirement(tag="name", not_in=("a2",)),))
    async with House(MemoryStore(), (a1, a2, a3)).running() as controller:
        await controller.registry.put(a_system(placement=only))
        await settled(controller)
        assert where(a1, a2, a3) == ["a1", "a3"]
        fewer = PlacementRules(require=(Requirement(tag="name", equals="a3"),))
        await controller.registry.put(a_system(placement=fewer))
        await until(controller, lambda: where(a1, a2, a3) == ["a3"])


async def test_a_change_is_rolled_out_agent_by_agent_the_new_task_ready_before_the_old_one_goes() -> None:
    a1, a2, a3 = agents()
    async with House(MemoryStore(), (a1, a2, a3)).running() as controller:
        await controller.registry.put(a_system())
        await settled(controller)
        for agent in (a1, a2, a3):
            agent.makes_ready = False
        await controller.registry.put(a_system({"MODE": "new"}))
        await until(controller, lambda: len(where(a1, a2, a3)) == 4)
        assert sorted({*where(a1, a2, a3)}) == ["a1", "a2", "a3"], "the old ones serve until the new ones are ready"
        for agent in (a1, a2, a3):
            agent.makes_ready = True
            for task in [one for one, told in agent.tasks.items() if told.state is TaskState.STARTING]:
                agent.report(task, state=TaskState.RUNNING, ready=True)
        await settled(controller)
        assert where(a1, a2, a3) == ["a1", "a2", "a3"]
        assert {row.value.version for row in controller.view.placements_of("default/web").values()} == {2}


async def test_one_that_fails_is_taken_back_on_every_agent() -> None:
    a1, a2, _ = agents()
    update = Update(deadline=SECOND)
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.registry.put(a_system(update=update))
        await settled(controller)
        served = {*a1.tasks, *a2.tasks}
        a1.makes_ready = a2.makes_ready = False
        change = (await controller.registry.put(a_system({"MODE": "new"}, update=update))).change
        await until(controller, lambda: controller.registry.change(change).state is ChangeState.FAILED)
        await settled(controller)
        assert {*a1.tasks, *a2.tasks} == served
        stored = controller.view.jobs.rows["default/web"].value
        assert (stored.version, stored.spec.scale, stored.members) == (3, 1, ())


async def test_a_cordoned_agent_keeps_its_task_and_gets_none() -> None:
    a1, a2, _ = agents()
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.cordons.cordon("a2", reason="disks")
        await controller.registry.put(a_system())
        await settled(controller)
        assert where(a1, a2) == ["a1"]
        row, now = controller.view.jobs.rows["default/web"], SystemClock().now()
        told = await explain_member(controller.view, row, controller.view.agents.rows["a2"].value, None, now)
        assert "it is cordoned" in told.reasons[0]
        await controller.cordons.uncordon("a2")
        await until(controller, lambda: where(a1, a2) == ["a1", "a2"])
        await controller.cordons.cordon("a1")
        await settled(controller)
        assert where(a1, a2) == ["a1", "a2"]


async def test_a_drain_stops_its_task_last() -> None:
    a1, a2 = FakeAgent("a1", lets_stop=False), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.registry.put(a_system())
        await settled(controller)
        require = PlacementRules(require=(Requirement(tag="name", equals="a1"),))
        other = a_service("other", scale=1)
        await controller.registry.put(replace(other, spec=replace(other.spec, placement=require)))
        await settled(controller, "other")
        await controller.registry.put(other)
        await controller.cordons.drain("a1")
        await until(controller, lambda: any(told.state is TaskState.STOPPING for told in a1.tasks.values()))
        assert where(a1) == ["a1"]
        assert [told.state for task, told in a1.tasks.items() if ".web." in task] == [TaskState.RUNNING]
        (leaving,) = [task for task in a1.tasks if ".other." in task]
        a1.lets_stop = True
        a1.report(leaving, state=TaskState.FINISHED)
        await until(controller, lambda: where(a1, a2) == ["a2"])
        await settled(controller)


async def test_a_lost_agents_task_waits_for_it_and_is_replaced_nowhere() -> None:
    a1, a2, a3 = agents()
    async with House(MemoryStore(), (a1, a2, a3), lost_after=timedelta(milliseconds=200)).running() as controller:
        await controller.registry.put(a_system())
        await settled(controller)
        tasks = {*a1.tasks}
        a1.cut()
        await until(controller, lambda: "a1" in controller.view.lost)
        status = controller.registry.status("default", "web")
        assert (status.summary, status.is_done) == ("2/3 ready", False)
        assert "they wait for their agents: a system job runs on each" in status.waiting
        row, now = controller.view.jobs.rows["default/web"], SystemClock().now()
        told = await explain_job(controller.view, row, controller.bookings(), now)
        assert "slot a1: their tasks are lost and kept: a task of a system job is for its agent" in told.reasons
        assert len(controller.view.placements_of("default/web")) == 3
        a1.heal()
        await settled(controller)
        assert {*a1.tasks} == tasks


async def test_a_rollout_that_waits_for_a_lost_agent_only_does_not_fail() -> None:
    a1, a2, a3 = agents()
    update = Update(deadline=SECOND)
    async with House(MemoryStore(), (a1, a2, a3), lost_after=timedelta(milliseconds=200)).running() as controller:
        await controller.registry.put(a_system(update=update))
        await settled(controller)
        a1.cut()
        await until(controller, lambda: "a1" in controller.view.lost)
        change = (await controller.registry.put(a_system({"MODE": "new"}, update=update))).change
        new = ("a2", "a3")
        rows = controller.view.placements_of
        await until(
            controller,
            lambda: {one.value.agent for one in rows("default/web").values() if one.value.version == 2} == {*new},
        )
        await asyncio.sleep(1.5)
        assert controller.registry.change(change).state is ChangeState.PROGRESSING
        a1.heal()
        await settled(controller)
        assert {one.value.version for one in rows("default/web").values()} == {2}


async def test_an_agent_without_room_is_told_by_its_name() -> None:
    a1, a2, _ = agents()
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        big = a_service("big", scale=1, resources=Resources(memory=1 << 30))
        await controller.registry.put(big)
        await settled(controller, "big")
        full = next(agent.name for agent in (a1, a2) if agent.tasks)
        await controller.registry.put(a_system(resources=Resources(memory=1 << 20)))
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        pending = controller.view.pending.rows["default/web"].value
        assert pending.members == (full,)
        assert [(one.predicate, one.agents) for one in pending.blockers] == [("memory", (full,))]
        told = await explain_job(
            controller.view, controller.view.jobs.rows["default/web"], controller.bookings(), SystemClock().now()
        )
        assert any(reason.startswith(f"slot {full}: ") for reason in told.reasons)
        assert controller.registry.status("default", "web").state is JobState.WAITING


async def test_a_plan_foretells_a_task_on_each_agent() -> None:
    a1, a2, _ = agents()
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.registry.put(a_service("other", scale=2))
        await settled(controller, "other")
        now = SystemClock().now()
        plan = await plan_documents(controller.view, controller.registry, [a_system()], controller.bookings(), now)
        assert [(one.slot, one.agent) for one in plan.plans[0].placements] == [(0, "a1"), (1, "a2")]


async def test_an_unscheduled_one_goes_from_every_agent() -> None:
    a1, a2, _ = agents()
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.registry.put(a_system())
        await settled(controller)
        await controller.registry.delete("default", "web")
        await until(controller, lambda: "default/web" not in controller.view.jobs.rows)
        assert where(a1, a2) == []


async def _limit(controller: Controller, quota: Quota) -> None:
    manifest = NamespaceManifest(
        apiVersion="harpoon/v1",
        kind="Namespace",
        metadata=NamespaceMetadata(name="default"),
        spec=NamespaceSpec(quota=quota),
    )
    await controller.registry.quotas.declare(manifest)


async def test_a_namespace_in_which_tasks_are_limited_takes_none() -> None:
    async with House(MemoryStore(), agents(1)).running() as controller:
        await _limit(controller, Quota(tasks=5))
        with pytest.raises(Exceeded, match="schedule it in a namespace in which only jobs are limited"):
            await controller.registry.put(a_system())
        await _limit(controller, Quota(jobs=5))
        await controller.registry.put(a_system())
        assert controller.view.used("default").jobs == 1


async def test_a_scale_is_refused_when_it_is_declared_and_later() -> None:
    async with House(MemoryStore(), agents(1)).running() as controller:
        with pytest.raises(Invalid, match="scale is for services"):
            await controller.registry.put(a_system(scale=3))
        await controller.registry.put(a_system())
        with pytest.raises(Invalid, match="scale is for services"):
            await controller.registry.scale("default", "web", 2)
