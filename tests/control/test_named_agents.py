"""Batch jobs that name their agents, with the real loops: each slot on its own, waited for, tried to its end."""

from datetime import timedelta

import pytest

from harpoon.control.controller import Controller
from harpoon.control.explaining import explain_agent, explain_job, explain_slot
from harpoon.control.planning import plan_documents
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Invalid
from harpoon.model.batch import Ending
from harpoon.model.cron import Cron
from harpoon.model.job import JobType, Metadata, OnSpent, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.rules import PlacementRules
from harpoon.model.status import JobState
from harpoon.model.task import TaskState, parse_task_id
from harpoon.model.template import TaskTemplate
from harpoon.store.memory import MemoryStore
from tests.control.test_batches import end, in_state, live, record, running, started
from tests.control.test_controller import House, an_agent, until
from tests.control.test_controller import a_manifest as a_service
from tests.fakes import FakeAgent


def a_batch(*agents: str, env: dict[str, str] | None = None, **spec: object) -> Manifest:
    return Manifest(
        apiVersion="harpoon/v1",
        kind="Job",
        metadata=Metadata(name="sum"),
        spec=Spec(
            type=JobType.BATCH,
            task=TaskTemplate(command=("work",), env=env or {}),
            placement=PlacementRules(agents=agents),
            **spec,
        ),
    )


def where(*agents: FakeAgent) -> dict[int, str]:
    """The agents of the slots that have a live task."""
    return {
        parse_task_id(task).slot: agent.name
        for agent in agents
        for task, told in agent.tasks.items()
        if not told.is_over
    }


def waits(controller: Controller, slot: int, said: str) -> bool:
    """Whether it is recorded that a slot waits, and what for."""
    row = controller.view.pending.rows.get("default/sum")
    return row is not None and slot in row.value.slots and said in row.value.reason


async def test_each_slot_runs_on_its_own_agent_also_when_it_is_tried_again() -> None:
    a1, a2, a3 = (FakeAgent(f"a{number}") for number in (1, 2, 3))
    async with running(a1, a2, a3) as controller:
        await controller.registry.put(a_batch("a3", "a1", attempts=2))
        await until(controller, lambda: where(a1, a2, a3) == {0: "a3", 1: "a1"})
        (first,) = live(a3)
        end(first, 1, a3)
        await until(controller, lambda: len(live(a3)) == 1 and live(a3) != [first])
        end(live(a3)[0], 0, a3)
        end(live(a1)[0], 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        assert [(one.slot, one.agent, one.attempts) for one in record(controller).results] == [
            (0, "a3", 2),
            (1, "a1", 1),
        ]
        assert started(a2) == []


async def test_every_slot_is_tried_though_another_has_failed_if_the_job_is_to_finish() -> None:
    a1, a2, a3 = (FakeAgent(f"a{number}") for number in (1, 2, 3))
    async with running(a1, a2, a3) as controller:
        await controller.registry.put(a_batch("a1", "a2", "a3", parallel=2, on_failure=OnSpent.FINISH))
        await until(controller, lambda: where(a1, a2, a3) == {0: "a1", 1: "a2"})
        end(live(a1)[0], 7, a1)
        await until(controller, lambda: where(a1, a2, a3) == {1: "a2", 2: "a3"})
        status = controller.registry.status("default", "sum")
        assert (status.state, status.summary) == (JobState.RUNNING, "0/3 complete, 1 failed")
        row = controller.view.jobs.rows["default/sum"]
        spent = await explain_slot(controller.view, row, 0, None, SystemClock().now())
        assert (spent.state, spent.causes[0].code.value) == ("failed", "spent")
        end(live(a2)[0], 0, a2)
        end(live(a3)[0], 0, a3)
        await in_state(controller, JobState.FAILED)
        told = record(controller)
        assert told.outcome is Ending.FAILED
        assert [(one.slot, one.is_complete, one.exit_code) for one in told.results] == [
            (0, False, 7),
            (1, True, 0),
            (2, True, 0),
        ]
        assert all(0 < one.placed_ms <= one.at_ms for one in told.results)


async def test_a_slot_waits_for_an_agent_that_is_cordoned_and_one_that_is_not_there() -> None:
    a1, a2, a9 = FakeAgent("a1"), FakeAgent("a2"), FakeAgent("a9")
    house = House(MemoryStore(), (a1, a2))
    async with house.running() as controller:
        await controller.cordons.cordon("a2")
        await controller.registry.put(a_batch("a1", "a2", "a9"))
        await until(controller, lambda: waits(controller, 2, "a9 needs agent registered") and where(a1) == {0: "a1"})
        assert waits(controller, 1, "a2 needs cordon none (found cordoned)")
        row, now = controller.view.jobs.rows["default/sum"], SystemClock().now()
        told = await explain_job(controller.view, row, None, now)
        assert any(one.startswith("slot 1: ") and "a2 needs cordon" in one for one in told.reasons)
        assert any(one.startswith("slot 2: ") and "a9 needs agent registered" in one for one in told.reasons)
        await controller.cordons.uncordon("a2")
        await until(controller, lambda: where(a1, a2) == {0: "a1", 1: "a2"})
        house.agents["http://a9"] = a9
        await controller.roster.register(an_agent(a9, "http://a9"))
        await until(controller, lambda: where(a1, a2, a9) == {0: "a1", 1: "a2", 2: "a9"})


async def test_a_lost_agent_is_waited_for_and_its_tasks_go_nowhere_else() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with running(a1, a2, a3 := FakeAgent("a3"), lost_after=timedelta(milliseconds=200)) as controller:
        await controller.registry.put(a_batch("a1"))
        await until(controller, lambda: where(a1) == {0: "a1"})
        (task,) = live(a1)
        a1.cut()
        await until(controller, lambda: "a1" in controller.view.lost)
        await until(controller, lambda: controller.view.task(task).value.state is TaskState.LOST)
        agent = controller.view.agents.rows["a1"].value
        told = await explain_agent(controller.view, agent, None, SystemClock().now())
        assert any("waits for it (exclusive, on_lost is wait, or for this agent only)" in one for one in told.reasons)
        status = controller.registry.status("default", "sum")
        assert "they wait for their agents, which placement.agents names" in status.waiting
        assert (live(a2), live(a3)) == ([], [])


async def test_agents_may_follow_at_the_end_and_another_list_takes_another_run() -> None:
    a1, a2, a3 = (FakeAgent(f"a{number}") for number in (1, 2, 3))
    async with running(a1, a2, a3) as controller:
        put = controller.registry.put
        await put(a_batch("a1", "a2"))
        await until(controller, lambda: where(a1, a2) == {0: "a1", 1: "a2"})
        end(live(a1)[0], 0, a1)
        end(live(a2)[0], 0, a2)
        await in_state(controller, JobState.SUCCEEDED)
        await put(a_batch("a1", "a2", "a3"))
        await until(controller, lambda: where(a1, a2, a3) == {2: "a3"})
        for other in (("a1",), ("a2", "a1", "a3"), ("a3", "a2", "a1"), ()):
            with pytest.raises(Invalid, match="what came of a slot stands for its agent"):
                await put(a_batch(*other))
        with pytest.raises(Invalid, match="what came of a slot stands for its agent"):
            await controller.registry.rollback("default", "sum", 1)
        await put(a_batch("a3", "a1", env={"DAY": "2"}))
        await until(controller, lambda: where(a1, a2, a3) == {0: "a3", 1: "a1"})


async def test_a_job_that_names_no_agents_does_not_come_to_name_some() -> None:
    async with running(FakeAgent("a1")) as controller:
        await controller.registry.put(a_batch(completions=1))
        with pytest.raises(Invalid, match=r"placement\.agents of job sum may grow"):
            await controller.registry.put(a_batch("a1"))


async def test_the_record_of_one_that_is_removed_says_nothing_that_is_only_for_deciding() -> None:
    a1 = FakeAgent("a1")
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_batch("a1", keep=timedelta(0)))
        await until(controller, lambda: where(a1) == {0: "a1"})
        seen: list[tuple[str, ...]] = []
        with controller.view.mirror.listening(
            lambda _revision, changes: seen.extend(
                one.new.value.members for one in changes if one.table is controller.view.jobs and one.new is not None
            )
        ):
            end(live(a1)[0], 0, a1)
            await until(controller, lambda: "default/sum" not in controller.view.jobs.rows)
        assert seen == [()]


async def test_a_cron_jobs_children_name_its_agents() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with running(a1, a2) as controller:
        await controller.registry.put(a_batch("a2", "a1", cron=Cron(at="0 0 1 1 *")))
        assert controller.view.jobs.rows["default/sum"].value.spec.scale == 0
        await controller.registry.put(a_batch("a1", "a2", cron=Cron(at="0 0 1 1 *")))
        await controller.cron_orders.trigger("default", "sum")
        await until(controller, lambda: where(a1, a2) == {0: "a1", 1: "a2"})


async def test_a_plan_says_where_it_runs_and_what_waits() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with running(a1, a2) as controller:
        await controller.registry.put(a_service("other", scale=2))
        await until(controller, lambda: controller.registry.status("default", "other").is_done)
        now = SystemClock().now()
        plan = await plan_documents(controller.view, controller.registry, [a_batch("a2", "a7")], None, now)
        (told,) = plan.plans
        assert [(one.slot, one.agent) for one in told.placements] == [(0, "a2")]
        assert told.pending is not None
        assert "a7 needs agent registered" in told.pending.reason
