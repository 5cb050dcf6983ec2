"""Batch jobs with the real loops: each slot runs to its end once, whoever schedules and whatever is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from harpoon.control.controller import Controller
from harpoon.control.records import version_of
from harpoon.control.view import BATCHES, JOBS, VERSIONS, placement_key
from harpoon.kit import codec
from harpoon.kit.errors import Exceeded, Invalid
from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.command import StartTask
from harpoon.model.dependency import Dependency
from harpoon.model.instance import Holder
from harpoon.model.job import JobType, Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec, Quota
from harpoon.model.parameters import Parameter, ParameterType
from harpoon.model.shown import Outcome
from harpoon.model.status import ChangeState, JobState
from harpoon.model.task import TaskState, parse_task_id
from harpoon.model.template import TaskTemplate
from harpoon.store.hold import HOLDS
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests import builders
from tests.control.test_controller import House, until
from tests.control.test_controller import a_manifest as a_service
from tests.fakes import FakeAgent

SECOND = timedelta(seconds=1)


def a_batch(name: str = "sum", *, env: dict[str, str] | None = None, **spec: object) -> Manifest:
    template = TaskTemplate(command=("work",), env=env or {})
    return Manifest(
        apiVersion="harpoon/v1",
        kind="Job",
        metadata=Metadata(name=name),
        spec=Spec(type=JobType.BATCH, task=template, **spec),
    )


@asynccontextmanager
async def running(
    *agents: FakeAgent, store: MemoryStore | None = None, **settings: object
) -> AsyncIterator[Controller]:
    async with House(store or MemoryStore(), agents, **settings).running() as controller:
        yield controller


def live(*agents: FakeAgent) -> list[TaskId]:
    return sorted(task for agent in agents for task, told in agent.tasks.items() if not told.is_over)


def slots(tasks: Sequence[TaskId]) -> list[int]:
    return [parse_task_id(task).slot for task in tasks]


def end(task: TaskId, code: int, *agents: FakeAgent) -> None:
    state = TaskState.FAILED if code else TaskState.FINISHED
    agent = next(one for one in agents if task in one.tasks)
    agent.report(task, state=state, ready=False, exit_code=code, reason=f"exited {code}")


def started(*agents: FakeAgent) -> list[TaskId]:
    return [one.task for agent in agents for one in agent.obeyed if isinstance(one, StartTask)]


def record(controller: Controller, name: str = "sum") -> BatchRecord:
    return controller.view.batches.rows[f"default/{name}"].value


def state(controller: Controller, name: str = "sum") -> JobState:
    return controller.registry.status("default", name).state


async def in_state(controller: Controller, wanted: JobState, name: str = "sum") -> None:
    await until(controller, lambda: state(controller, name) is wanted)


async def test_each_slot_runs_once_and_no_more_at_once_than_parallel_says() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with running(a1, a2) as controller:
        change = (await controller.registry.put(a_batch(completions=5, parallel=2))).change
        for done in range(5):
            await until(controller, lambda done=done: len(live(a1, a2)) == min(2, 5 - done))
            assert controller.registry.change(change).state is ChangeState.PROGRESSING
            end(live(a1, a2)[0], 0, a1, a2)
        await in_state(controller, JobState.SUCCEEDED)
        assert controller.registry.change(change).is_done
        assert sorted(slots(started(a1, a2))) == [0, 1, 2, 3, 4]
        assert [(one.slot, one.attempts, one.exit_code) for one in record(controller).results] == [
            (slot, 1, 0) for slot in range(5)
        ]
        await until(controller, lambda: not controller.view.placements_of("default/sum"))
        assert controller.registry.status("default", "sum").summary == "5/5 complete"


async def test_what_has_ended_is_kept_at_its_agent_until_the_job_goes() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_batch())
        await until(controller, lambda: live(a1) != [])
        (task,) = live(a1)
        end(task, 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        await until(controller, lambda: not controller.view.placements_of("default/sum"))
        await controller.registry.put(a_service("other", scale=1))
        await until(controller, lambda: controller.registry.status("default", "other").is_done)
        assert task in a1.tasks
        await controller.registry.delete("default", "sum")
        await until(controller, lambda: "default/sum" not in controller.view.jobs.rows)
        assert task not in a1.tasks
        assert not controller.view.batches.rows


async def test_a_failed_task_is_tried_again_elsewhere() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with running(a1, a2) as controller:
        await controller.registry.put(a_batch(attempts=2))
        await until(controller, lambda: live(a1, a2) != [])
        (first,) = live(a1, a2)
        where = next(one for one in (a1, a2) if first in one.tasks)
        end(first, 3, a1, a2)
        await until(controller, lambda: live(a1, a2) not in ([], [first]))
        (second,) = live(a1, a2)
        assert second not in where.tasks
        end(second, 0, a1, a2)
        await in_state(controller, JobState.SUCCEEDED)
        (result,) = record(controller).results
        assert (result.attempts, result.task) == (2, second)


async def test_a_job_that_has_used_up_its_attempts_fails_with_the_evidence_and_stops_the_rest() -> None:
    a1 = FakeAgent("a1")

    async def last_lines(_endpoint: str, task: TaskId) -> Sequence[str]:
        return (f"{task} says", "disk full")

    async with running(a1, last_lines=last_lines) as controller:
        change = (await controller.registry.put(a_batch(completions=3, parallel=2, attempts=2))).change
        await until(controller, lambda: slots(live(a1)) == [0, 1])
        end(live(a1)[0], 7, a1)
        await until(controller, lambda: len(started(a1)) == 3 and slots(live(a1)) == [0, 1])
        failing = live(a1)[0]
        end(failing, 7, a1)
        await in_state(controller, JobState.FAILED)
        await until(controller, lambda: live(a1) == [])
        told = record(controller)
        reason = f"slot 0 has no attempts left: {failing} on a1 failed with exit code 7, attempt 2 of 2: exited 7"
        assert (told.outcome, told.reason) == (Ending.FAILED, reason)
        assert told.witness.log == (f"{failing} says", "disk full")
        assert told.witness.exit_code == 7
        assert controller.registry.change(change).state is ChangeState.FAILED
        assert controller.registry.change(change).summary == reason
        assert 2 not in slots(started(a1)), "nothing more is started"


async def test_the_deadline_fails_a_job_and_outlives_a_restart() -> None:
    store, a1 = MemoryStore(), FakeAgent("a1")
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_batch(deadline=2 * SECOND))
        await until(controller, lambda: live(a1) != [])
    async with running(a1, store=store, instance="other") as controller:
        await in_state(controller, JobState.FAILED)
        assert record(controller).reason == "its deadline of 2s has passed, and 0 of 1 slots are complete"
        assert record(controller).witness.state is TaskState.RUNNING
        await until(controller, lambda: live(a1) == [])


async def test_a_complete_slot_never_runs_again_though_its_agent_forgets_all_and_servers_change() -> None:
    store, a1 = MemoryStore(), FakeAgent("a1")
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_batch(completions=2))
        await until(controller, lambda: slots(live(a1)) == [0, 1])
        end(live(a1)[0], 0, a1)
        await until(controller, lambda: "default/sum" in controller.view.batches.rows)
        await until(controller, lambda: len(controller.view.placements_of("default/sum")) == 1)
    for task in [one for one in a1.tasks if parse_task_id(one).slot == 0]:
        a1.forget(task)
    async with running(a1, store=store, instance="other") as controller:
        end(live(a1)[0], 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        assert slots(started(a1)) == [0, 1]


async def test_what_is_noted_is_not_started_again_though_its_agent_has_lost_it_and_its_placement_stands() -> None:
    store, a1 = MemoryStore(), FakeAgent("a1")
    # Whoever schedules has noted what came of one task, and was killed before it could withdraw it.
    await store.commit((), (Put(f"{HOLDS}scheduler", codec.dump(Holder(instance="killed"))),))
    job = builders.a_batch(name="sum", completions=2)
    ended, other = (builders.a_placement(job="sum", slot=slot, generation=job.generation) for slot in (0, 1))
    result = SlotResult(slot=0, is_complete=True, attempts=1, task=ended.task, agent="a1", exit_code=0)
    noted = BatchRecord(namespace="default", job="sum", version=1, results=(result,))
    async with running(a1, store=store):
        records = {
            f"{JOBS}default/sum": job,
            f"{VERSIONS}default/sum/1": version_of(job, None),
            BATCHES + "default/sum": noted,
        }
        records |= {placement_key(one): one for one in (ended, other)}
        await store.commit((), [Put(key, codec.dump(record)) for key, record in records.items()])
        async with asyncio.timeout(5):
            while not started(a1):
                await asyncio.sleep(0.001)
    assert started(a1) == [other.task]


async def test_a_changed_template_starts_over_and_the_same_document_does_nothing() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_batch(completions=2, parallel=1))
        await until(controller, lambda: live(a1) != [])
        first = live(a1)[0]
        end(first, 0, a1)
        await until(controller, lambda: slots(live(a1)) == [1])
        again = await controller.registry.put(a_batch(completions=2, parallel=1))
        assert again.outcome is Outcome.UNCHANGED
        await controller.registry.put(a_batch(completions=2, parallel=1, env={"DAY": "2"}))
        await until(controller, lambda: slots(live(a1)) == [0])
        for _ in range(2):
            await until(controller, lambda: len(live(a1)) == 1)
            end(live(a1)[0], 0, a1)
            await until(controller, lambda: live(a1) == [] or slots(live(a1)) == [1])
        await in_state(controller, JobState.SUCCEEDED)
        assert slots(started(a1)) == [0, 1, 0, 1]
        assert first not in a1.tasks, "what the run before wrote goes with it"


async def test_more_completions_go_on_from_what_is_complete() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_batch(completions=1))
        await until(controller, lambda: live(a1) != [])
        end(live(a1)[0], 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        await controller.registry.put(a_batch(completions=2))
        await until(controller, lambda: slots(live(a1)) == [1])
        end(live(a1)[0], 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        assert slots(started(a1)) == [0, 1]


async def test_an_ended_job_is_removed_when_it_was_kept_for_long_enough() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_batch(keep=SECOND))
        await until(controller, lambda: live(a1) != [])
        end(live(a1)[0], 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        await until(controller, lambda: "default/sum" not in controller.view.jobs.rows)
        assert a1.tasks == {}
        assert not controller.view.batches.rows


async def test_a_lost_task_is_replaced_and_that_is_no_attempt() -> None:
    a1, a2, a3 = FakeAgent("a1"), FakeAgent("a2"), FakeAgent("a3")
    async with running(a1, a2, a3, lost_after=timedelta(milliseconds=200)) as controller:
        await controller.registry.put(a_batch())
        await until(controller, lambda: live(a1, a2, a3) != [])
        (task,) = live(a1, a2, a3)
        lost = next(one for one in (a1, a2, a3) if task in one.tasks)
        others = [one for one in (a1, a2, a3) if one is not lost]
        lost.cut()
        await until(controller, lambda: live(*others) != [])
        end(live(*others)[0], 0, *others)
        await in_state(controller, JobState.SUCCEEDED)
        assert record(controller).results[0].attempts == 1


async def test_a_drain_lets_a_task_run_to_its_end_until_its_deadline() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with running(a1, a2) as controller:
        await controller.registry.put(a_batch())
        await until(controller, lambda: live(a1, a2) != [])
        (task,) = live(a1, a2)
        here, other = (a1, a2) if task in a1.tasks else (a2, a1)
        await controller.cordons.drain(here.name)
        await controller.registry.put(a_service("web", scale=1))
        await until(controller, lambda: controller.registry.status("default", "web").is_done)
        assert task in live(here)
        await controller.cordons.drain(here.name, deadline=SECOND)
        await until(controller, lambda: any(".sum." in one for one in live(other)))
        assert live(here) == []


async def test_an_exclusive_slot_is_tried_again_only_once_its_agent_has_denied_the_last() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_batch(attempts=2, exclusive=True))
        await until(controller, lambda: live(a1) != [])
        (first,) = live(a1)
        end(first, 1, a1)
        await until(controller, lambda: live(a1) not in ([], [first]))
        assert a1.denials == {"default.sum.0": parse_task_id(first).number}
        end(live(a1)[0], 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        await until(controller, lambda: not controller.view.placements_of("default/sum"))
        assert not controller.view.occupants.rows
        assert record(controller).results[0].attempts == 2


async def test_a_job_may_wait_for_a_batch_job_to_succeed() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_batch("load"))
        web = a_service("web", scale=1)
        spec = Spec(task=web.spec.task, depends_on=(Dependency(job="load"),))
        await controller.registry.put(Manifest(apiVersion="harpoon/v1", kind="Job", metadata=web.metadata, spec=spec))
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        await until(controller, lambda: live(a1) != [])
        end(live(a1)[0], 0, a1)
        await until(controller, lambda: controller.registry.status("default", "web").is_done)


async def test_what_is_for_services_is_refused_and_so_is_another_type() -> None:
    async with running(FakeAgent("a1")) as controller:
        await controller.registry.put(a_batch(completions=2))
        with pytest.raises(Invalid, match="scale is for services"):
            await controller.registry.scale("default", "sum", 5)
        with pytest.raises(Invalid, match="type cannot be changed") as caught:
            await controller.registry.put(a_service("sum"))
        assert caught.value.problems[0].pointer == "/spec/type"


async def test_a_quota_counts_what_runs_at_once_and_nothing_once_it_has_ended() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        quota = NamespaceManifest(
            apiVersion="harpoon/v1",
            kind="Namespace",
            metadata=NamespaceMetadata(name="default"),
            spec=NamespaceSpec(quota=Quota(tasks=2)),
        )
        await controller.registry.quotas.declare(quota)
        with pytest.raises(Exceeded, match="lower parallel to 2"):
            await controller.registry.put(a_batch(completions=3))
        await controller.registry.put(a_batch(completions=3, parallel=2))
        assert controller.view.used("default").tasks == 2
        with pytest.raises(Exceeded):
            await controller.registry.put(a_service("web", scale=1))
        for left in (3, 2, 1):
            await until(controller, lambda left=left: len(live(a1)) == min(2, left))
            end(live(a1)[0], 0, a1)
        await in_state(controller, JobState.SUCCEEDED)
        assert controller.view.used("default").tasks == 0
        await controller.registry.put(a_service("web", scale=1))


async def test_tasks_get_the_values_of_parameters_and_other_values_start_over() -> None:
    a1 = FakeAgent("a1")

    def on(day: str) -> Manifest:
        task = TaskTemplate(command=("work", "${parameters.day}"))
        spec = Spec(
            type=JobType.BATCH,
            task=task,
            parameters={"day": Parameter(type=ParameterType.STRING)},
            arguments={"day": day},
        )
        return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name="sum"), spec=spec)

    async with running(a1) as controller:
        for day in ("monday", "tuesday"):
            await controller.registry.put(on(day))
            await until(controller, lambda: live(a1) != [])
            end(live(a1)[0], 0, a1)
            await in_state(controller, JobState.SUCCEEDED)
        assert (await controller.registry.put(on("tuesday"))).outcome is Outcome.UNCHANGED
        commands = [one.template.command for one in a1.obeyed if isinstance(one, StartTask)]
        assert commands == [("work", "monday"), ("work", "tuesday")]
