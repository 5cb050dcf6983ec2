"""Cron jobs with the real loops: each due is fired once, whoever schedules, whatever is lost, however clocks are set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.control.controller import Controller
from harpoon.control.cron_status import cron_causes, cron_event
from harpoon.control.events import Subject, events_of
from harpoon.control.explaining import explain_job
from harpoon.control.view import CRON, JOBS, VERSIONS
from harpoon.core.cron_due import child_name
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, Exceeded, Invalid, NotFound, Unavailable
from harpoon.kit.loop import Pace
from harpoon.model.cron import Cron, CronRecord, CronStatus, Overlap
from harpoon.model.job import Job, JobType, Owner
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.manifest import Manifest
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec, Quota
from harpoon.model.shown import Outcome
from harpoon.model.story import Happening
from harpoon.model.task import TaskState
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.crew import Crew, Shifted, soon
from tests.control.test_controller import House, until
from tests.control.test_controller import a_manifest as any_manifest
from tests.fakes import FakeAgent
from tests.faulty import Fault, FaultyStore

MINUTE = 60_000
HOUR = 60 * MINUTE
HOURLY = Cron(at="0 * * * *")
KEY = "default/nightly"
#: What is set by hand is found out so soon.
PACE = Pace(resync=timedelta(milliseconds=50), retry=timedelta(milliseconds=10))


def a_manifest(cron: Cron | None = HOURLY, name: str = "nightly", **task: object) -> Manifest:
    plain = any_manifest(name, scale=1, restart=Restart(policy=RestartPolicy.NEVER), **task)
    return replace(plain, spec=replace(plain.spec, type=JobType.BATCH, cron=cron))


class Hands(Shifted):
    """A clock whose wall is set by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_ms = -(self.now().wall % HOUR) - HOUR + 20 * MINUTE

    @property
    def hour_ms(self) -> int:
        """When the hour began."""
        return self.now().wall // HOUR * HOUR

    def set(self, at_ms: int) -> None:
        self.ahead_ms += at_ms - self.now().wall


@asynccontextmanager
async def house(
    clock: Hands, *agents: FakeAgent, store: MemoryStore | None = None, **settings: object
) -> AsyncIterator[Controller]:
    settings = {"clock": clock, "pace": PACE, **settings}
    async with House(store or MemoryStore(), agents, **settings).running() as controller:
        yield controller


def children(controller: Controller) -> dict[str, Job]:
    return {row.value.name: row.value for row in controller.view.children_of(KEY).values()}


def record(controller: Controller) -> CronRecord:
    return controller.view.cron.rows[KEY].value


def status(controller: Controller) -> CronStatus:
    told = controller.registry.status("default", "nightly").cron
    assert told is not None
    return told


async def begun(controller: Controller, manifest: Manifest | None = None) -> None:
    await controller.registry.put(manifest or a_manifest())
    await until(controller, lambda: KEY in controller.view.cron.rows)


async def fired(controller: Controller, due_ms: int) -> Job:
    """Wait until a due is fired, and return its child."""
    name = child_name("nightly", due_ms)
    await until(controller, lambda: name in children(controller))
    return children(controller)[name]


async def passed(controller: Controller, due_ms: int) -> None:
    """Wait until a due is decided."""
    await until(controller, lambda: record(controller).seen_ms >= due_ms)


async def idle() -> None:
    """Let some resyncs pass."""
    await asyncio.sleep(0.3)


async def finish(controller: Controller, agent: FakeAgent, child: Job) -> None:
    """Let the task of a child end."""
    tasks = controller.view.tasks_of
    await until(controller, lambda: bool(tasks(f"default/{child.name}")))
    [task] = tasks(f"default/{child.name}")
    agent.report(task, state=TaskState.FINISHED, ready=False, exit_code=0)
    await until(controller, lambda: child.name not in status(controller).running)


async def test_a_due_makes_a_child_that_runs_and_the_cron_job_runs_nothing() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    async with house(clock, a1) as controller:
        accepted = await controller.registry.put(
            replace(a_manifest(), metadata=replace(a_manifest().metadata, tags={"a": "b"}))
        )
        await until(controller, lambda: KEY in controller.view.cron.rows)
        assert controller.registry.change(accepted.change).is_done, "there is nothing to wait for"
        due_ms = clock.hour_ms + HOUR
        assert status(controller).next_ms == due_ms
        assert not controller.view.children_of(KEY)
        clock.set(due_ms + 1)
        child = await fired(controller, due_ms)
        parent = controller.view.jobs.rows[KEY].value
        assert child.owner == Owner(job="nightly", due_ms=due_ms)
        assert (child.spec, child.generation) == (replace(parent.spec, cron=None, scale=1), parent.generation)
        assert child.tags == {"a": "b"}
        assert f"default/{child.name}/1" in controller.view.versions.rows
        await until(controller, lambda: len(a1.tasks) == 1)
        assert not controller.view.placements_of(KEY)
        told = status(controller)
        assert (told.fired.job, told.fired.due_ms, told.next_ms) == (child.name, due_ms, due_ms + HOUR)
        assert told.running == (child.name,)
        assert controller.metrics.registry.get_sample_value("harpoon_cron_fired_total") == 1


async def test_it_wakes_by_itself_when_it_is_due() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1"), pace=Pace(resync=timedelta(seconds=60))) as controller:
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms - 400)
        await begun(controller)
        assert not children(controller)
        began = asyncio.get_running_loop().time()
        await fired(controller, due_ms)
        assert asyncio.get_running_loop().time() - began < 5


async def test_nothing_is_written_while_nothing_is_due() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        await begun(controller)
        await idle()
        revision = controller.view.revision
        await idle()
        assert controller.view.revision == revision


async def test_a_clock_that_is_set_back_fires_nothing_twice() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        await begun(controller, a_manifest(replace(HOURLY, overlap=Overlap.ALLOW)))
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        await fired(controller, due_ms)
        clock.set(due_ms - 10 * MINUTE)
        await idle()
        clock.set(due_ms + 2)
        await idle()
        assert len(children(controller)) == 1


async def test_a_server_that_starts_again_fires_what_was_not_and_nothing_twice() -> None:
    clock, store, a1 = Hands(), MemoryStore(), FakeAgent("a1")
    async with house(clock, a1, store=store) as controller:
        await begun(controller, a_manifest(replace(HOURLY, overlap=Overlap.ALLOW)))
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        first = await fired(controller, due_ms)
    async with House(store, (a1,), clock=clock, pace=PACE).running(registers=False) as controller:
        await idle()
        assert set(children(controller)) == {first.name}
    clock.set(due_ms + 4 * HOUR + 30 * MINUTE)
    async with House(store, (a1,), clock=clock, pace=PACE).running(registers=False) as controller:
        last = await fired(controller, due_ms + 4 * HOUR)
        await idle()
        assert set(children(controller)) == {first.name, last.name}
        assert record(controller).missed == 3
        assert "passed before they could be fired" in status(controller).skipped.reason


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST, Fault.SILENT, Fault.LATE, Fault.OVERTAKEN])
async def test_a_due_is_fired_once_whatever_becomes_of_the_answer(fault: Fault) -> None:
    clock, store = Hands(), FaultyStore()
    async with house(clock, FakeAgent("a1"), store=store) as controller:
        await begun(controller, a_manifest(replace(HOURLY, overlap=Overlap.ALLOW)))
        due_ms = clock.hour_ms + HOUR
        store.fail(fault, fault, prefix=CRON)
        clock.set(due_ms + 1)
        await fired(controller, due_ms)
        await store.deliver()
        await idle()
        assert len(children(controller)) == 1
        assert record(controller).fired.due_ms == record(controller).seen_ms == due_ms


async def test_of_several_instances_one_fires_and_another_goes_on_when_it_dies(in_haste: None) -> None:
    store, cron = MemoryStore(), Cron(at="* * * * *", overlap=Overlap.ALLOW)
    crew = Crew(store, [FakeAgent("a1")])
    async with crew.at_work("one", "two", "three"):
        await begun(crew.mates["one"].plane, a_manifest(cron))
        for _ in range(3):
            leader = crew.leader()
            plane = crew.mates[leader].plane
            # All clocks go on to just before the next minute.
            left = MINUTE - plane._means.clock.now().wall % MINUTE - 100
            for mate in crew.mates.values():
                mate.clock.ahead_ms += left
            due_ms = (plane._means.clock.now().wall // MINUTE + 1) * MINUTE
            await soon(lambda at=due_ms, plane=plane: child_name("nightly", at) in children(plane))
            if len(crew.mates) > 1:
                dead = await crew.kill(leader)
                crew.lapse(dead)
                await soon(lambda: crew.leader() is not None)
        [last] = crew.mates.values()
        assert len(children(last.plane)) == 3
        assert record(last.plane).missed == 0
        # One that was killed may not have come to count what it had done.
        assert sum(mate.count("harpoon_cron_fired_total") for mate in crew.ever) <= 3


async def test_while_a_child_runs_the_next_due_is_skipped_and_that_is_told() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    async with house(clock, a1) as controller:
        await begun(controller)
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        child = await fired(controller, due_ms)
        clock.set(due_ms + HOUR + 1)
        await passed(controller, due_ms + HOUR)
        assert set(children(controller)) == {child.name}
        assert status(controller).skipped.reason == f"{child.name} is not over, and overlap is forbid"
        assert status(controller).fired.job == child.name
        await finish(controller, a1, child)
        clock.set(due_ms + 2 * HOUR + 1)
        await fired(controller, due_ms + 2 * HOUR)
        row = controller.view.jobs.rows[KEY]
        why = await explain_job(controller.view, row, None, clock.now())
        assert [one.code for one in why.causes] == ["cron_due", "cron_runs", "cron_skipped"]
        assert f"{child.name} is not over" in why.reasons[2]
        events = (await events_of(controller.view, Subject(job=KEY), 10)).items
        assert [one.event for one in events] == ["scheduled", "fired", "skipped", "fired"]
        assert events[1].detail.startswith(f"{child.name} for ")


async def test_a_child_that_is_replaced_is_gone_before_the_next_one_comes() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    async with house(clock, a1) as controller:
        await begun(controller, a_manifest(replace(HOURLY, overlap=Overlap.REPLACE)))
        due_ms = clock.hour_ms + HOUR
        clock.set(due_ms + 1)
        first = await fired(controller, due_ms)
        await until(controller, lambda: len(a1.tasks) == 1)
        seen: list[set[str]] = []
        controller.view.mirror.listen(lambda _at, _changes: seen.append(set(children(controller))))
        clock.set(due_ms + HOUR + 1)
        second = await fired(controller, due_ms + HOUR)
        assert set(children(controller)) == {second.name}
        assert {first.name, second.name} not in seen


async def test_unscheduling_takes_the_children_and_the_cron_job_goes_last() -> None:
    clock, a1, store = Hands(), FakeAgent("a1"), MemoryStore()
    async with house(clock, a1, store=store) as controller:
        await begun(controller, a_manifest(replace(HOURLY, overlap=Overlap.ALLOW)))
        for _ in range(2):
            clock.set(clock.hour_ms + HOUR + 1)
            await fired(controller, clock.hour_ms)
        await until(controller, lambda: len(a1.tasks) == 2)
        gone: list[str] = []
        controller.view.mirror.listen(
            lambda _at, changes: gone.extend(
                change.key for change in changes if change.table is controller.view.jobs and change.new is None
            )
        )
        accepted = await controller.registry.delete("default", "nightly")
        told = controller.registry.change(accepted.change)
        assert told.summary == "2 children left"
        assert all("is not gone yet" in one for one in told.waiting)
        await until(controller, lambda: KEY not in controller.view.jobs.rows)
        assert gone[-1] == KEY
        assert len(gone) == 3
        assert not a1.tasks
        left = [entry.key async for page in store.list("/h/1/ctl/") for entry in page.entries]
        assert not [key for key in left if key.startswith((JOBS, CRON, VERSIONS))]


async def test_one_that_is_scheduled_again_before_it_has_gone_makes_up_for_nothing() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    async with house(clock, a1) as controller:
        await begun(controller)
        clock.set(clock.hour_ms + HOUR + 1)
        child = await fired(controller, clock.hour_ms)
        await until(controller, lambda: len(a1.tasks) == 1)
        a1.cut()
        await controller.registry.delete("default", "nightly")
        await until(controller, lambda: KEY not in controller.view.cron.rows)
        clock.set(clock.hour_ms + HOUR + 10 * MINUTE)
        await controller.registry.put(a_manifest())
        await until(controller, lambda: KEY in controller.view.cron.rows)
        await idle()
        assert set(children(controller)) == {child.name}
        assert (record(controller).fired, record(controller).missed) == (None, 0)


async def test_a_job_neither_loses_its_schedule_nor_gets_one() -> None:
    async with house(Hands(), FakeAgent("a1")) as controller:
        await begun(controller)
        await controller.registry.put(a_manifest(None, "once"))
        for wrong in (a_manifest(None), a_manifest(HOURLY, "once")):
            with pytest.raises(Invalid, match="cron is neither added nor taken away while job") as refused:
                await controller.registry.put(wrong)
            assert refused.value.problems[0].pointer == "/spec/cron"


async def test_what_does_not_fit_the_quota_is_skipped() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        spec = NamespaceSpec(quota=Quota(tasks=0))
        metadata = NamespaceMetadata(name="default")
        await controller.registry.quotas.declare(
            NamespaceManifest(apiVersion="harpoon/v1", kind="Namespace", metadata=metadata, spec=spec)
        )
        await begun(controller)
        clock.set(clock.hour_ms + HOUR + 1)
        await passed(controller, clock.hour_ms)
        assert not children(controller)
        assert status(controller).skipped.reason.startswith("quota of namespace default: tasks 1 of 0")
        with pytest.raises(Exceeded):
            await controller.cron_orders.trigger("default", "nightly")


async def test_a_name_that_is_taken_is_not_taken_over() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        await begun(controller)
        name = child_name("nightly", clock.hour_ms + HOUR)
        other = (await controller.registry.put(a_manifest(None, name))).job
        clock.set(clock.hour_ms + HOUR + 1)
        await passed(controller, clock.hour_ms)
        assert status(controller).skipped.reason == f"there is a job {name} already; unschedule that one"
        assert controller.view.jobs.rows[f"default/{name}"].value == other


async def test_while_it_is_paused_nothing_is_fired_and_nothing_is_made_up_for() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        await begun(controller)
        orders, due_ms = controller.cron_orders, clock.hour_ms + HOUR
        assert (await orders.pause("default", "nightly")).outcome is Outcome.CHANGED
        assert (await orders.pause("default", "nightly")).outcome is Outcome.UNCHANGED
        assert status(controller).next_ms is None
        assert controller.registry.status("default", "nightly").summary.startswith("paused since ")
        clock.set(due_ms + 10 * MINUTE)
        await idle()
        why = await explain_job(controller.view, controller.view.jobs.rows[KEY], None, clock.now())
        assert [one.code for one in why.causes] == ["cron_paused"]
        assert (await orders.resume("default", "nightly")).outcome is Outcome.CHANGED
        assert (await orders.resume("default", "nightly")).outcome is Outcome.UNCHANGED
        await idle()
        assert not children(controller)
        assert (record(controller).missed, status(controller).next_ms) == (0, due_ms + HOUR)
        events = (await events_of(controller.view, Subject(job=KEY), 10)).items
        assert [one.event for one in events] == ["scheduled", "paused", "resumed"]


async def test_an_operator_gets_a_child_at_once_and_the_dues_stay_as_they_are() -> None:
    clock, a1 = Hands(), FakeAgent("a1")
    async with house(clock, a1) as controller:
        await begun(controller)
        await controller.cron_orders.pause("default", "nightly")
        accepted = await controller.cron_orders.trigger("default", "nightly")
        child = accepted.job
        assert (accepted.outcome, child.owner.is_triggered) == (Outcome.CREATED, True)
        assert accepted.change.startswith(f"default.{child.name}.")
        assert children(controller) == {child.name: child}
        with pytest.raises(Conflict, match=f"{child.name} is not over, and overlap is forbid"):
            await controller.cron_orders.trigger("default", "nightly")
        assert status(controller).triggered.job == child.name
        assert status(controller).fired is None
        events = (await events_of(controller.view, Subject(job=KEY), 10)).items
        assert [one.event for one in events] == ["scheduled", "paused", "triggered"]
        await finish(controller, a1, child)


async def test_two_children_are_not_triggered_in_one_second() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        await begun(controller, a_manifest(replace(HOURLY, overlap=Overlap.ALLOW)))
        clock.set(clock.now().wall // 1000 * 1000)
        await controller.cron_orders.trigger("default", "nightly")
        with pytest.raises(Conflict, match="in this very second"):
            await controller.cron_orders.trigger("default", "nightly")


async def test_orders_are_for_cron_jobs_that_there_are() -> None:
    async with house(Hands()) as controller:
        await controller.registry.put(a_manifest(None))
        for order in (controller.cron_orders.pause, controller.cron_orders.resume, controller.cron_orders.trigger):
            with pytest.raises(Conflict, match="job nightly is no cron job: its spec has no cron"):
                await order("default", "nightly")
            with pytest.raises(NotFound):
                await order("default", "other")


async def test_a_record_that_cannot_be_read_is_left_alone() -> None:
    clock, store = Hands(), MemoryStore()
    async with house(clock, FakeAgent("a1"), store=store) as controller:
        await begun(controller)
        await store.commit((), (Put(CRON + KEY, b"from a later release"),))
        await until(controller, lambda: KEY in controller.view.cron.unreadable)
        clock.set(clock.hour_ms + HOUR + 1)
        await idle()
        assert not children(controller)
        with pytest.raises(Unavailable, match="cannot be read by this release"):
            await controller.cron_orders.pause("default", "nightly")


async def test_another_schedule_is_not_due_before_it_was_declared() -> None:
    clock = Hands()
    async with house(clock, FakeAgent("a1")) as controller:
        await begun(controller)
        clock.set(clock.hour_ms + 50 * MINUTE)
        await controller.registry.put(a_manifest(Cron(at="30 * * * *")))
        await until(controller, lambda: record(controller).at == "30 * * * *")
        await idle()
        assert not children(controller)
        assert status(controller).next_ms == clock.hour_ms + HOUR + 30 * MINUTE


def test_what_happens_to_a_record_is_told_once() -> None:
    before = CronRecord(namespace="default", job="nightly", at="0 * * * *", timezone="UTC", seen_ms=0)
    assert cron_event(before, None) is None
    assert cron_event(None, before) is None
    assert cron_event(before, replace(before, seen_ms=1)) is None
    assert cron_event(before, replace(before, paused_ms=1))[0] is Happening.PAUSED


def test_one_that_is_never_due_again_says_nothing_of_a_due() -> None:
    told = CronStatus(next_ms=None, paused_ms=None, running=(), fired=None, triggered=None, skipped=None, missed=0)
    assert cron_causes(HOURLY, told) == []


def test_a_record_is_read_as_it_was_written() -> None:
    record = CronRecord(namespace="default", job="nightly", at="0 2 * * *", timezone="Europe/Berlin", seen_ms=5)
    assert codec.load(CronRecord, codec.dump(record)) == record
