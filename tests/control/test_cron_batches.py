"""Cron jobs whose children are batch jobs, with the real loops: run to their end, kept, and told apart when they fail."""

from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.control.crontab import running_children
from harpoon.control.waiting import keys_of
from harpoon.kit.errors import Invalid
from harpoon.model.cron import Overlap
from harpoon.model.job import Job
from harpoon.model.manifest import Manifest
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec, Quota
from harpoon.model.parameters import Parameter, ParameterType
from harpoon.model.status import JobState
from harpoon.store.memory import MemoryStore
from tests.control.test_batches import end, live, started
from tests.control.test_controller import House, until
from tests.control.test_cron import (
    HOUR,
    HOURLY,
    KEY,
    MINUTE,
    PACE,
    Hands,
    begun,
    children,
    fired,
    house,
    idle,
    passed,
    record,
    status,
)
from tests.control.test_cron import a_manifest as a_cron
from tests.fakes import FakeAgent


def a_manifest(overlap: Overlap = Overlap.FORBID, env: dict[str, str] | None = None, **spec: object) -> Manifest:
    plain = a_cron(replace(HOURLY, overlap=overlap))
    task = replace(plain.spec.task, env=env or {})
    return replace(plain, spec=replace(plain.spec, task=task, **spec))


def stands(controller: object, child: Job) -> JobState:
    return controller.registry.status("default", child.name).state


async def test_children_run_to_their_end_and_are_kept_and_no_restart_fires_any_twice() -> None:
    clock, store, a1 = Hands(), MemoryStore(), FakeAgent("a1")
    async with house(clock, a1, store=store) as controller:
        await begun(controller, a_manifest(completions=2, parallel=1))
        parent = controller.view.jobs.rows[KEY].value
        assert (parent.run, parent.spec.scale) == (None, 0)
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        first = await fired(controller, due_ms)
        assert first.run is not None
        assert (first.run.version, first.spec.scale) == (1, 2)
        assert due_ms < first.run.since_ms <= clock.now().wall
        await until(controller, lambda: len(live(a1)) == 1)
        end(live(a1)[0], 0, a1)
        await until(controller, lambda: len(live(a1)) == 1 and len(started(a1)) == 2)
        # One slot is complete, the other runs.
        clock.set(due_ms + HOUR + 1)
        await passed(controller, due_ms + HOUR)
        assert status(controller).skipped.reason == f"{first.name} is not over, and overlap is forbid"
        assert set(children(controller)) == {first.name}
    async with House(store, (a1,), clock=clock, pace=PACE).running(registers=False) as controller:
        await until(controller, lambda: status(controller).running == (first.name,))
        await until(controller, lambda: len(live(a1)) == 1)
        end(live(a1)[0], 0, a1)
        await until(controller, lambda: status(controller).running == ())
        assert stands(controller, first) is JobState.SUCCEEDED
        clock.set(due_ms + 2 * HOUR + 1)
        second = await fired(controller, due_ms + 2 * HOUR)
        await until(controller, lambda: len(live(a1)) == 1)
        assert set(children(controller)) == {first.name, second.name}, "the first one is kept"
    async with House(store, (a1,), clock=clock, pace=PACE).running(registers=False) as controller:
        await idle()
        assert set(children(controller)) == {first.name, second.name}
        assert len(started(a1)) == 3
        assert record(controller).fired.job == second.name
        assert (await controller.registry.delete("default", "nightly")).job.is_terminating
        await until(controller, lambda: KEY not in controller.view.jobs.rows)
        assert not (a1.tasks or controller.view.batches.rows or controller.view.cron.rows)


async def test_a_child_is_removed_when_it_was_kept_and_hinders_no_due_meanwhile() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    async with house(clock, a1) as controller:
        await begun(controller, a_manifest(keep=timedelta(minutes=50)))
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        first = await fired(controller, due_ms)
        await until(controller, lambda: len(live(a1)) == 1)
        end(live(a1)[0], 0, a1)
        await until(controller, lambda: stands(controller, first) is JobState.SUCCEEDED)
        await until(controller, lambda: not controller.view.placements_of(f"default/{first.name}"))
        a1.cut()
        clock.set(due_ms + HOUR - 5 * MINUTE)
        await until(controller, lambda: children(controller)[first.name].is_terminating)
        clock.set(due_ms + HOUR + 1)
        second = await fired(controller, due_ms + HOUR)
        assert set(children(controller)) == {first.name, second.name}, "its agent has not forgotten it yet"
        assert status(controller).skipped is None


async def test_whoever_waits_for_a_cron_job_hears_what_becomes_of_its_children() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    async with house(clock, a1) as controller:
        await begun(controller, a_manifest())
        clock.set(clock.hour_ms + HOUR + 1)
        child = await fired(controller, clock.hour_ms)
        await until(controller, lambda: len(live(a1)) == 1)
        view, heard = controller.view, set()
        view.mirror.listen(
            lambda _at, changes: heard.update(one.table.name for one in changes if KEY in keys_of(view, one))
        )
        end(live(a1)[0], 0, a1)
        await until(controller, lambda: not view.placements_of(f"default/{child.name}"))
        assert heard == {"actual", "batches", "placements"}


async def test_a_child_that_failed_is_not_over_before_its_tasks_have_stopped() -> None:
    clock, a1 = Hands(), FakeAgent("a1", lets_stop=False)
    async with house(clock, a1) as controller:
        await begun(controller, a_manifest(completions=2))
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        child = await fired(controller, due_ms)
        await until(controller, lambda: len(live(a1)) == 2)
        first, second = live(a1)
        end(first, 1, a1)
        await until(controller, lambda: stands(controller, child) is JobState.FAILED)
        assert running_children(controller.view, KEY) == [child.name]
        clock.set(due_ms + HOUR + 1)
        await passed(controller, due_ms + HOUR)
        assert set(children(controller)) == {child.name}
        end(second, 1, a1)
        await until(controller, lambda: not running_children(controller.view, KEY))
        clock.set(due_ms + 2 * HOUR + 1)
        await fired(controller, due_ms + 2 * HOUR)


async def test_an_operator_gives_arguments_to_one_child_and_those_of_dues_stay_as_they_are() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    day = Parameter(type=ParameterType.STRING, default="today", maxLength=10)
    async with house(clock, a1) as controller:
        manifest = a_manifest(Overlap.ALLOW, env={"DAY": "${parameters.day}"}, parameters={"day": day})
        await begun(controller, manifest)
        orders = controller.cron_orders
        asked = (await orders.trigger("default", "nightly", arguments={"day": "2026-01-31"})).job
        assert asked.spec.given().env == {"DAY": "2026-01-31"}
        for wrong, said in (
            ({"dya": "x"}, "arguments.dya: the job has no such parameter; it has day"),
            ({"day": 5}, "arguments.day is of type string; got 5"),
        ):
            with pytest.raises(Invalid, match=said) as refused:
                await orders.trigger("default", "nightly", arguments=wrong)
            assert refused.value.problems[0].pointer == "/arguments"
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        assert (await fired(controller, due_ms)).spec.given().env == {"DAY": "today"}
        assert controller.view.jobs.rows[KEY].value.spec.arguments == {}


async def test_a_cron_job_takes_one_job_of_its_quota_and_its_children_their_tasks() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        await controller.registry.quotas.declare(
            NamespaceManifest(
                apiVersion="harpoon/v1",
                kind="Namespace",
                metadata=NamespaceMetadata(name="default"),
                spec=NamespaceSpec(quota=Quota(tasks=2)),
            )
        )
        await begun(controller, a_manifest(completions=5, parallel=2))
        used = controller.view.used("default")
        assert (used.jobs, used.tasks) == (1, 0)
        clock.set(clock.hour_ms + HOUR + 1)
        await fired(controller, clock.hour_ms)
        used = controller.view.used("default")
        assert (used.jobs, used.tasks) == (2, 2)
