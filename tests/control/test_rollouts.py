"""Rollouts with the real loops: they wait for health, for people, and fail by their deadline."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.control.controller import Controller
from harpoon.control.planning import plan_documents
from harpoon.control.rollout_status import rollout_status
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Exceeded, NotFound, Unavailable
from harpoon.model.job import OnFailure, Update
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec, Quota
from harpoon.model.rollout import PausedBy, RolloutPhase, RolloutRecord, RolloutStatus
from harpoon.model.shown import Outcome
from harpoon.model.status import ChangeState
from harpoon.model.task import CheckResult, TaskState
from harpoon.model.template import Resources
from harpoon.store.memory import MemoryStore
from tests.control.test_controller import House, settled, until
from tests.control.test_controller import a_manifest as any_manifest
from tests.fakes import FakeAgent

SECOND = timedelta(seconds=1)
OLD, NEW = {"MODE": "old"}, {"MODE": "new"}


def a_manifest(env: dict[str, str] = OLD, *, scale: int = 1, **update: object) -> Manifest:
    plain = any_manifest(scale=scale, env=env)
    return replace(plain, spec=replace(plain.spec, update=Update(**update)))


@asynccontextmanager
async def running(
    *agents: FakeAgent, store: MemoryStore | None = None, **settings: object
) -> AsyncIterator[Controller]:
    async with House(store or MemoryStore(), agents, **settings).running() as controller:
        yield controller


def record(controller: Controller) -> RolloutRecord:
    row = controller.view.rollouts.rows.get("default/web")
    return RolloutRecord(namespace="default", job="web", version=0, generation="") if row is None else row.value


def shown(controller: Controller) -> RolloutStatus:
    row = controller.view.jobs.rows["default/web"]
    return rollout_status(controller.view, row, SystemClock().now())


def generations(controller: Controller) -> Counter[int]:
    """How many placements there are of each version."""
    rows = controller.view.placements_of("default/web").values()
    return Counter(row.value.version for row in rows)


def ready(controller: Controller) -> int:
    return sum(row.value.ready for row in controller.view.tasks_of("default/web").values())


def in_phase(controller: Controller, phase: RolloutPhase) -> bool:
    return shown(controller).phase is phase


async def test_a_new_task_is_watched_before_the_old_one_goes() -> None:
    async with running(FakeAgent("a1")) as controller:
        await controller.registry.put(a_manifest(healthy_for=SECOND))
        await settled(controller)
        assert not controller.view.rollouts.rows
        change = (await controller.registry.put(a_manifest(NEW, healthy_for=SECOND))).change
        await until(controller, lambda: ready(controller) == 2)
        began = asyncio.get_running_loop().time()
        assert in_phase(controller, RolloutPhase.PROGRESSING)
        assert controller.registry.change(change).state is ChangeState.PROGRESSING
        await until(controller, lambda: generations(controller) == {2: 1})
        assert asyncio.get_running_loop().time() - began > 0.9
        await until(controller, lambda: controller.registry.change(change).is_done)
        assert record(controller).is_complete
        assert in_phase(controller, RolloutPhase.COMPLETE)


async def test_a_rollout_that_misses_its_deadline_is_taken_back_with_evidence() -> None:
    a1, asked = FakeAgent("a1"), []

    async def last_lines(endpoint: str, task: TaskId) -> Sequence[str]:
        asked.append((endpoint, task))
        return ("cannot bind", "bye")

    async with running(a1, last_lines=last_lines) as controller:
        await controller.registry.put(a_manifest(scale=2, deadline=SECOND))
        await settled(controller)
        served = set(a1.tasks)
        a1.makes_ready = False
        change = (await controller.registry.put(a_manifest(NEW, scale=2, deadline=SECOND))).change
        await until(controller, lambda: len(a1.tasks) == 3)
        (task,) = a1.tasks.keys() - served
        check = CheckResult(name="http", is_passing=False, detail="connection refused")
        a1.report(task, state=TaskState.RUNNING, reason="it runs", checks=(check,))
        await until(controller, lambda: controller.registry.change(change).state is ChangeState.FAILED)
        await settled(controller)
        assert set(a1.tasks) == served, "what served before is not touched"
        job, failure = controller.view.jobs.rows["default/web"].value, record(controller).failure
        assert (job.version, job.spec.task.env, generations(controller)) == (3, OLD, {1: 2})
        assert controller.view.versions.rows["default/web/3"].value.reverted_from == 1
        assert failure.reason == (
            f"no further slot became healthy for 1s: 0 of 2 are; {task} on a1 is running: it runs; "
            "check http fails: connection refused"
        )
        assert (failure.version, failure.reverted_by) == (2, 3)
        assert (failure.witness.log, failure.witness.checks) == (("cannot bind", "bye"), (check,))
        assert asked == [("http://a1", task)]
        assert controller.registry.change(change).summary.endswith(failure.reason)
        assert in_phase(controller, RolloutPhase.COMPLETE)


async def test_what_is_taken_back_keeps_the_scale_of_now_and_the_same_again_is_tried_again() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_manifest(deadline=SECOND))
        await settled(controller)
        a1.makes_ready = False
        bad = a_manifest(NEW, scale=2, deadline=SECOND)
        await controller.registry.put(bad)
        await until(controller, lambda: controller.view.jobs.rows["default/web"].value.version == 3)
        assert controller.view.jobs.rows["default/web"].value.spec.scale == 2
        a1.makes_ready = True
        for task in [one for one, told in a1.tasks.items() if not told.ready]:
            a1.report(task, state=TaskState.RUNNING, ready=True)
        await settled(controller)
        again = await controller.registry.put(bad)
        assert again.outcome is Outcome.CHANGED
        await settled(controller)
        assert generations(controller) == {4: 2}
        # How the last one failed is still told, and is no fault of this one.
        assert record(controller).failure.version == 2
        assert controller.registry.change(again.change).is_done


async def test_what_is_taken_back_may_pass_a_quota_and_nothing_slips_in_beside_it() -> None:
    a1 = FakeAgent("a1")

    def sized(env: dict[str, str], cpu: int) -> Manifest:
        manifest = a_manifest(env, scale=2, deadline=SECOND)
        task = replace(manifest.spec.task, resources=Resources(cpu=cpu))
        return replace(manifest, spec=replace(manifest.spec, task=task))

    async with running(a1) as controller:
        await controller.registry.put(sized(OLD, 300))
        await settled(controller)
        a1.makes_ready = False
        await controller.registry.put(sized(NEW, 100))
        quota = NamespaceSpec(quota=Quota(cpu=400))
        declared = NamespaceManifest(
            apiVersion="harpoon/v1", kind="Namespace", metadata=NamespaceMetadata(name="default"), spec=quota
        )
        await controller.registry.quotas.declare(declared)
        await until(controller, lambda: controller.view.jobs.rows["default/web"].value.version == 3)
        job, namespace = controller.view.jobs.rows["default/web"], controller.view.quotas.rows["default"]
        assert namespace.mod_revision == job.mod_revision, "who declares more at that moment looks again"
        assert (namespace.value.quota.cpu, namespace.value.seal != "") == (400, True)
        assert controller.view.used("default").cpu == 600
        with pytest.raises(Exceeded, match="cpu 900m of 400m"):
            await controller.registry.put(any_manifest("more", resources=Resources(cpu=100)))


async def test_an_agent_that_does_not_answer_keeps_nothing_from_being_taken_back() -> None:
    async def last_lines(_endpoint: str, _task: TaskId) -> Sequence[str]:
        raise Unavailable("it is away")

    a1 = FakeAgent("a1")
    async with running(a1, last_lines=last_lines) as controller:
        await controller.registry.put(a_manifest(deadline=SECOND))
        await settled(controller)
        a1.makes_ready = False
        await controller.registry.put(a_manifest(NEW, deadline=SECOND))
        await until(controller, lambda: "default/web/3" in controller.view.versions.rows)
        await settled(controller)
        assert record(controller).failure.witness.log == ()


async def test_a_failure_may_pause_instead_and_is_resumed_by_an_operator() -> None:
    a1 = FakeAgent("a1")
    pausing = {"deadline": SECOND, "on_failure": OnFailure.PAUSE, "scale": 2}
    async with running(a1) as controller:
        await controller.registry.put(a_manifest(**pausing))
        await settled(controller)
        a1.makes_ready = False
        change = (await controller.registry.put(a_manifest(NEW, **pausing))).change
        await until(controller, lambda: record(controller).paused_by is PausedBy.DEADLINE)
        told = controller.registry.change(change)
        assert (told.state, told.is_done) == (ChangeState.FAILED, False)
        assert "its rollouts are paused by update.on_failure" in told.waiting[0]
        assert ready(controller) == 2
        a1.makes_ready = True
        for task in [one for one, known in a1.tasks.items() if not known.ready]:
            a1.report(task, state=TaskState.RUNNING, ready=True)
        # The one that was begun comes to its end; nothing more is begun.
        await until(controller, lambda: generations(controller) == {1: 1, 2: 1})
        await asyncio.sleep(0.3)
        assert generations(controller) == {1: 1, 2: 1}
        await controller.steering.resume("default", "web")
        await settled(controller)
        assert generations(controller) == {2: 2}
        assert record(controller).failure is None
        assert controller.registry.change(change).is_done


async def test_where_nothing_served_before_a_failure_is_only_told() -> None:
    a1 = FakeAgent("a1", makes_ready=False)
    async with running(a1) as controller:
        await controller.registry.put(a_manifest(deadline=SECOND))
        await until(controller, lambda: len(a1.tasks) == 1)
        change = (await controller.registry.put(a_manifest(NEW, deadline=SECOND))).change
        await until(controller, lambda: controller.registry.change(change).state is ChangeState.FAILED)
        # There was an earlier version, even if it did not serve; what is brought back is not taken back in turn.
        await until(controller, lambda: in_phase(controller, RolloutPhase.FAILED))
        assert controller.view.jobs.rows["default/web"].value.version == 3
        a1.makes_ready = True
        for task in list(a1.tasks):
            a1.report(task, state=TaskState.RUNNING, ready=True)
        await settled(controller)
        assert in_phase(controller, RolloutPhase.COMPLETE)


async def test_canaries_serve_beside_the_old_ones_until_they_are_promoted() -> None:
    async with running(FakeAgent("a1"), FakeAgent("a2")) as controller:
        await controller.registry.put(a_manifest(scale=3, canary=1, surge=0, unavailable=1))
        await settled(controller)
        await controller.registry.put(a_manifest(NEW, scale=3, canary=1, surge=0, unavailable=1))
        await until(controller, lambda: in_phase(controller, RolloutPhase.AWAITING_PROMOTION))
        assert (generations(controller), ready(controller)) == ({1: 3, 2: 1}, 4)
        [waits] = shown(controller).waiting
        assert waits.startswith("version 2 is on trial in 1 of 3 slots"), "what served before need not go"
        obeyed = controller.view.revision
        await asyncio.sleep(0.5)
        assert controller.view.revision == obeyed, "what waits for people writes nothing"
        await controller.steering.promote("default", "web")
        await settled(controller)
        assert generations(controller) == {2: 3}
        with pytest.raises(Conflict, match="no rollout under way"):
            await controller.steering.promote("default", "web")


async def test_a_bad_canary_goes_by_its_deadline_and_an_undone_one_at_once() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_manifest(scale=2, canary=1, deadline=SECOND))
        await settled(controller)
        served = set(a1.tasks)
        a1.makes_ready = False
        await controller.registry.put(a_manifest(NEW, scale=2, canary=1, deadline=SECOND))
        await until(controller, lambda: record(controller).is_revert)
        await settled(controller)
        assert set(a1.tasks) == served
        a1.makes_ready = True
        await controller.registry.put(a_manifest(NEW, scale=2, canary=1, deadline=SECOND))
        await until(controller, lambda: in_phase(controller, RolloutPhase.AWAITING_PROMOTION))
        await controller.registry.rollback("default", "web", 1)
        await settled(controller)
        assert set(a1.tasks) == served


async def test_what_dies_while_a_rollout_waits_is_replaced_by_what_served_before() -> None:
    a1 = FakeAgent("a1")
    async with running(a1) as controller:
        await controller.registry.put(a_manifest(scale=3, canary=1))
        await settled(controller)
        await controller.registry.put(a_manifest(NEW, scale=3, canary=1))
        await until(controller, lambda: in_phase(controller, RolloutPhase.AWAITING_PROMOTION))
        last = next(task for task in a1.tasks if ".2." in task)
        a1.report(last, state=TaskState.FAILED, ready=False, reason="exit code 1")
        await until(controller, lambda: last not in controller.view.placements_of("default/web"))
        await until(controller, lambda: ready(controller) == 4)
        assert generations(controller) == {1: 3, 2: 1}
        await controller.registry.scale("default", "web", 4)
        await until(controller, lambda: ready(controller) == 5)
        assert sorted(generations(controller).values()) == [1, 4]
        assert Counter(task.generation for task in a1.tasks.values()).most_common(1)[0][1] == 4


async def test_a_pause_outlives_versions_and_servers() -> None:
    store, a1 = MemoryStore(), FakeAgent("a1")
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        paused = await controller.steering.pause("default", "web")
        assert paused.outcome is Outcome.CHANGED
        assert (await controller.steering.pause("default", "web")).outcome is Outcome.UNCHANGED
        await settled(controller)
        await controller.registry.put(a_manifest(NEW, scale=2))
        await until(controller, lambda: in_phase(controller, RolloutPhase.PAUSED))
    async with running(a1, store=store) as controller:
        await asyncio.sleep(0.3)
        assert generations(controller) == {1: 2}
        assert not controller.registry.status("default", "web").is_done
        await controller.steering.resume("default", "web")
        await settled(controller)
        assert generations(controller) == {2: 2}
        assert (await controller.steering.resume("default", "web")).outcome is Outcome.UNCHANGED


async def test_steering_what_is_not_there_is_refused() -> None:
    async with running(FakeAgent("a1")) as controller:
        with pytest.raises(NotFound):
            await controller.steering.pause("default", "nope")
        await controller.registry.put(a_manifest())
        await settled(controller)
        with pytest.raises(Conflict, match="no rollout under way that could be promoted"):
            await controller.steering.promote("default", "web")
        await controller.steering.pause("default", "web")
        await controller.registry.delete("default", "web")
        await until(controller, lambda: "default/web" not in controller.view.jobs.rows)
        assert not controller.view.rollouts.rows, "the record goes with its job"


async def test_a_plan_ends_with_the_canaries() -> None:
    async with running(FakeAgent("a1")) as controller:
        await controller.registry.put(a_manifest(scale=3, canary=1))
        await settled(controller)
        plan = await plan_documents(
            controller.view, controller.registry, [a_manifest(NEW, scale=3, canary=1)], None, SystemClock().now()
        )
        (told,) = plan.plans
        assert ([one.slot for one in told.placements], told.drops) == ([0], ())
