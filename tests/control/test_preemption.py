"""Preemption by the real loops: what goes, who gets the room, and who is told."""

import pytest

from harpoon.control.controller import Controller
from harpoon.control.events import Subject, events_of
from harpoon.control.explaining import explain_job
from harpoon.control.planning import plan_documents
from harpoon.control.promising import promise_documents
from harpoon.control.task_whys import explain_task
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Invalid
from harpoon.model.job import Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.template import Resources, TaskTemplate
from harpoon.store.memory import MemoryStore
from tests.control.test_controller import House, settled, until
from tests.fakes import FakeAgent

#: Of the agents of these tests.
ALL = 1 << 30


def a_manifest(name: str, *, memory: int, **spec: object) -> Manifest:
    template = TaskTemplate(command=("serve",), resources=Resources(memory=memory))
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name=name), spec=Spec(task=template, **spec))


def placed(controller: Controller, name: str) -> set[str]:
    return set(controller.view.placements_of(f"default/{name}"))


@pytest.mark.parametrize("exclusive", [False, True])
async def test_the_urgent_job_gets_the_room_and_what_was_preempted_waits_for_some(exclusive: bool) -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest("low", memory=ALL, priority=10, exclusive=exclusive))
        await settled(controller, "low")
        await controller.registry.put(a_manifest("urgent", memory=ALL // 2, priority=80, preempt=True))
        await settled(controller, "urgent")
        assert {task.split(".")[1] for task in a1.tasks} == {"urgent"}
        await until(controller, lambda: "default/low" in controller.view.pending.rows)
        # One that is exclusive is withdrawn, and deleted once its agent has forgotten it.
        assert controller.metrics.drops._value.get() == 1 + exclusive
        await controller.registry.delete("default", "urgent")
        await settled(controller, "low")


async def test_room_that_is_made_is_kept_for_whom_it_is_made() -> None:
    a1 = FakeAgent("a1", lets_stop=False)
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest("base", memory=ALL * 4 // 10, priority=90))
        await controller.registry.put(a_manifest("low", memory=ALL * 3 // 10, priority=10))
        await settled(controller, "base")
        await settled(controller, "low")
        [low] = placed(controller, "low")
        await controller.registry.put(a_manifest("urgent", memory=ALL * 6 // 10, priority=80, preempt=True))
        # It would fit again beside what is left of it, and the other not.
        await until(controller, lambda: "default/low" in controller.view.pending.rows)
        told = controller.view.pending.rows["default/low"].value
        assert told.reason.endswith("; room is kept on a1 for job default/urgent, and other tasks go for that")
        assert controller.view.pending.rows["default/urgent"].value.kept == {"a1": (0,)}
        a1.lets_stop = True
        a1.report(TaskId(low), state=TaskState.FINISHED)
        await settled(controller, "urgent")
        await until(controller, lambda: "kept" not in controller.view.pending.rows["default/low"].value.reason)
        assert not placed(controller, "low")


async def test_nothing_is_stopped_for_a_job_that_does_not_ask_for_it_however_urgent() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest("low", memory=ALL, priority=0))
        await settled(controller, "low")
        before = set(a1.tasks)
        await controller.registry.put(a_manifest("urgent", memory=ALL, priority=100))
        await until(controller, lambda: "default/urgent" in controller.view.pending.rows)
        assert (set(a1.tasks), placed(controller, "low")) == (before, before)


async def test_of_jobs_that_wait_the_one_of_higher_priority_is_placed_first() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest("first", memory=ALL))
        await settled(controller, "first")
        for name, priority in (("aa", 20), ("bb", 60), ("cc", 40)):
            await controller.registry.put(a_manifest(name, memory=ALL, priority=priority))
        await until(controller, lambda: len(controller.view.pending.rows) == 3)
        order = []
        for name in ("first", "bb", "cc"):
            await controller.registry.delete("default", name)
            left = {"aa", "bb", "cc"} - {name}
            await until(controller, lambda left=left: any(placed(controller, one) for one in left))
            order += [one for one in left if placed(controller, one)]
            await settled(controller, order[-1])
        assert order == ["bb", "cc", "aa"]


async def test_both_sides_are_told_why() -> None:
    a1 = FakeAgent("a1", lets_stop=False)
    async with House(MemoryStore(), (a1,)).running() as controller:
        view, now = controller.view, SystemClock().now()
        await controller.registry.put(a_manifest("low", memory=ALL, priority=10))
        await settled(controller, "low")
        [low] = map(TaskId, a1.tasks)
        await controller.registry.put(a_manifest("urgent", memory=ALL, priority=80, preempt=True))
        await until(controller, lambda: any(task.state is TaskState.STOPPING for task in a1.tasks.values()))
        await until(controller, lambda: "default/urgent" in view.pending.rows)
        told = await explain_job(view, view.jobs.rows["default/urgent"], controller.bookings(), now)
        [slots] = told.slots
        assert slots.reason.startswith(f"it waits for {low} to go, which makes room; until then ")
        assert view.pending.rows["default/urgent"].value.awaited == (low,)
        victim = explain_task(view, low, now)
        why = "it makes room for job default/urgent, whose priority is higher"
        assert f"its placement was withdrawn, so it is to stop: {why}" in victim.reasons
        events = await events_of(view, Subject(task=low), 10)
        assert [one.detail for one in events.items if one.event == "withdrawn"] == [f"it is to stop on a1: {why}"]
        a1.lets_stop = True
        a1.report(low, state=TaskState.FINISHED)
        await settled(controller, "urgent")


async def test_a_plan_shows_what_would_go_and_is_no_promise() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        view, now = controller.view, SystemClock().now()
        await controller.registry.put(a_manifest("low", memory=ALL, priority=10))
        await settled(controller, "low")
        [low] = a1.tasks
        urgent = a_manifest("urgent", memory=ALL, priority=80, preempt=True)
        plan = await plan_documents(view, controller.registry, [urgent], controller.bookings(), now)
        assert [drop.task for drop in plan.plans[0].drops] == [low]
        assert [(one.wave, one.agent) for one in plan.plans[0].placements] == [(2, "a1")]
        with pytest.raises(Invalid, match="takes the room of tasks of other jobs"):
            await promise_documents(view, controller.registry, [urgent], controller.bookings(), now)


async def test_a_change_of_priority_alone_replaces_no_task_and_counts_from_then_on() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.registry.put(a_manifest("low", memory=ALL, priority=10))
        await settled(controller, "low")
        before = set(a1.tasks)
        await controller.registry.put(a_manifest("low", memory=ALL, priority=90))
        await settled(controller, "low")
        await controller.registry.put(a_manifest("urgent", memory=ALL, priority=80, preempt=True))
        await until(controller, lambda: "default/urgent" in controller.view.pending.rows)
        assert set(a1.tasks) == before
        await controller.registry.put(a_manifest("low", memory=ALL, priority=10))
        await settled(controller, "urgent")
