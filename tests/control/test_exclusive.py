"""Exclusive jobs with the real loops: nothing takes a slot before its agent has denied what had it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from harpoon.api.endpoints import endpoints_json
from harpoon.control.controller import Controller
from harpoon.control.drain import drain_status
from harpoon.control.explaining import explain_job
from harpoon.control.planning import plan_documents
from harpoon.control.standstill import standstill
from harpoon.control.status import unreported
from harpoon.control.task_whys import explain_task
from harpoon.control.view import PLACEMENTS
from harpoon.core import machine
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Invalid, Unavailable
from harpoon.model import wire
from harpoon.model.agent import LinkState
from harpoon.model.command import Command, CommandResult, ForgetTask, StartTask
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.template import Resources
from harpoon.model.upkeep import DrainStatus
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compare, Delete, Put, Store, Write
from tests.control.test_controller import House, an_agent, settled, until
from tests.control.test_controller import a_manifest as any_manifest
from tests.fakes import FakeAgent
from tests.faulty import Fault, FaultyStore


def a_manifest(name: str = "web", *, exclusive: bool = True, **given: object) -> Manifest:
    plain = any_manifest(name, **{"scale": 1, **given})
    return replace(plain, spec=replace(plain.spec, exclusive=exclusive))


@dataclass
class Host(FakeAgent):
    """Loses answers to denials as often as told, and notices when a slot is started beside another task of it."""

    mute: int = 0
    others: "list[Host]" = field(default_factory=list)

    async def command(self, batch: wire.Commands) -> wire.Results:
        results = await super().command(batch)
        running = [task for host in self.others for task, told in host.tasks.items() if not told.state.is_over]
        slots = [task.rpartition(".")[0] for task in running]
        assert len(slots) == len(set(slots)), f"a slot runs twice: {running}"
        if self.mute and any(isinstance(one, ForgetTask) and one.is_denied for one in batch.commands):
            self.mute -= 1
            raise Unavailable("the answer was lost")
        return results

    def starts(self) -> list[TaskId]:
        return [one.task for one in self.obeyed if isinstance(one, StartTask)]

    def denials_asked(self) -> list[TaskId]:
        return [one.task for one in self.obeyed if isinstance(one, ForgetTask) and one.is_denied]


def hosts(count: int, **given: object) -> list[Host]:
    made = [Host(f"a{number + 1}", **given) for number in range(count)]
    for host in made:
        host.others = made
    return made


@asynccontextmanager
async def running(
    *agents: Host, store: Store | None = None, lost_after: float = 0.2, **settings: object
) -> AsyncIterator[Controller]:
    lost = timedelta(seconds=lost_after)
    async with House(store or MemoryStore(), agents, lost_after=lost, **settings).running() as controller:
        yield controller


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PENDING_MAX", timedelta(seconds=1))
    monkeypatch.setattr(machine, "REFUSED_MAX", timedelta(seconds=0.1))
    monkeypatch.setattr(machine, "TICK", timedelta(seconds=0.05))


def placement(controller: Controller, slot: int = 0) -> object:
    rows = controller.view.placements_of("default/web").values()
    return next(row.value for row in rows if row.value.slot == slot)


def is_moved(controller: Controller, task: TaskId) -> bool:
    """Whether the job's only slot has another placement than this, and no other."""
    placed = controller.view.placements_of("default/web")
    return len(placed) == 1 and task not in placed


async def is_lost(controller: Controller, *agents: str) -> None:
    links = controller.view.links.rows
    await until(controller, lambda: all(links[name].value.state is LinkState.LOST for name in agents))


def explained(controller: Controller, task: TaskId) -> tuple[str, ...]:
    told = explain_task(controller.view, task, SystemClock().now())
    return () if told is None else told.reasons


async def test_a_migrate_stops_and_denies_before_it_starts_and_then_is_silent() -> None:
    a1, a2 = hosts(2)
    async with running(a1, a2) as controller:
        await controller.registry.put(a_manifest(scale=3))
        await settled(controller)
        old = {*a1.tasks, *a2.tasks}
        accepted = await controller.registry.put(a_manifest(scale=3, env={"MODE": "new"}))
        await settled(controller)
        assert {*a1.denials_asked(), *a2.denials_asked()} == old
        assert len(a1.denials_asked() + a2.denials_asked()) == 3
        assert {task.generation for host in (a1, a2) for task in host.tasks.values()} == {accepted.job.generation}
        assert len(a1.tasks) + len(a2.tasks) == len(controller.view.placements.rows) == 3
        assert controller.view.rollouts.rows["default/web"].value.is_complete
        obeyed, revision = len(a1.obeyed) + len(a2.obeyed), controller.view.revision
        await asyncio.sleep(1.5)
        assert (len(a1.obeyed) + len(a2.obeyed), controller.view.revision) == (obeyed, revision)


async def test_scaling_down_and_unscheduling_leave_nothing() -> None:
    [a1] = hosts(1)
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        await controller.registry.scale("default", "web", 1)
        await settled(controller)
        assert len(a1.tasks) == len(controller.view.placements.rows) == 1
        await controller.registry.delete("default", "web")
        await until(controller, lambda: "default/web" not in controller.view.jobs.rows)
        left = [entry.key async for page in store.list("/h/1/ctl/") for entry in page.entries if "web" in entry.key]
        assert (a1.tasks, left) == ({}, [])


async def test_no_span_of_time_frees_the_slot_of_a_lost_agent_and_it_says_so() -> None:
    a1, a2, a3 = hosts(3)
    async with running(a1, a2, a3) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        [host] = [one for one in (a1, a2, a3) if one.tasks]
        [task] = host.tasks
        host.cut()
        await is_lost(controller, host.name)
        await asyncio.sleep(0.3)
        said = f"slot 0 waits for agent {host.name}, on which {task} may still run; "
        said += f"if {host.name} will never come back: harpoon declare-dead {host.name}"
        assert said in controller.registry.status("default", "web").waiting
        assert said in explained(controller, task)
        # It is old now, and to go; so it is revoked, and that is all.
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await until(controller, lambda: placement(controller).is_revoked)
        revision = controller.view.revision
        await asyncio.sleep(0.3)
        assert controller.view.revision == revision
        said = f"slot 0 waits for agent {host.name} to acknowledge that it forgot {task}; "
        said += f"if {host.name} will never come back: harpoon declare-dead {host.name}"
        status = controller.registry.status("default", "web")
        assert (status.waiting, status.placed, status.is_done) == ((said,), 0, False)
        why = await explain_job(
            controller.view, controller.view.jobs.rows["default/web"], controller.bookings(), SystemClock().now()
        )
        assert why.reasons.count(said) == 1
        later = SystemClock().now().wall + 60_000
        assert said in [item.reason for item in (await standstill(controller.view, later)).items]
        host.heal()
        await settled(controller)
        assert task not in host.tasks
        assert host.denials_asked() == [task]


async def test_a_task_that_was_never_reported_is_denied_too_and_its_late_start_refused() -> None:
    a1, a2 = hosts(2)
    async with running(a1, a2) as controller:
        holds = asyncio.Event()
        sent: list[wire.Commands] = []

        def delaying(host: Host) -> None:
            obey = host.command

            async def command(batch: wire.Commands) -> wire.Results:
                if not holds.is_set() and any(isinstance(one, StartTask) for one in batch.commands):
                    sent.append(batch)
                    raise Unavailable("no answer, and it is still on its way")
                return await obey(batch)

            host.command = command

        delaying(a1)
        delaying(a2)
        await controller.registry.put(a_manifest())
        async with asyncio.timeout(5):
            while not sent:
                await asyncio.sleep(0.01)
        first = placement(controller)
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await until(controller, lambda: is_moved(controller, first.task))
        host = {one.name: one for one in (a1, a2)}[first.agent]
        assert host.denials_asked()[:1] == [first.task]
        holds.set()
        await settled(controller)
        # What was on its way arrives: of the same holder, with the same token.
        (late,) = (await host.command(sent[0])).results
        assert (late.is_ok, late.reason) == (False, "it is denied")
        assert first.task not in host.tasks


async def test_a_lost_answer_is_asked_for_again_until_it_is_in() -> None:
    a1, a2 = hosts(2, mute=2)
    async with running(a1, a2) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await settled(controller)
        asked = a1.denials_asked() + a2.denials_asked()
        assert (len(asked), len(set(asked))) == (3, 1)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST, Fault.SILENT, Fault.LATE, Fault.OVERTAKEN])
@pytest.mark.parametrize("write", ["revoking", "denial"])
async def test_what_could_not_be_written_is_found_missing(fault: Fault, write: str) -> None:
    a1, a2 = hosts(2, lets_stop=False)
    store = FaultyStore()
    async with running(a1, a2, store=store) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        first = placement(controller)
        host = {one.name: one for one in (a1, a2)}[first.agent]
        if write == "revoking":
            store.fail(fault, prefix=f"{PLACEMENTS}{first.agent}/")
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await until(controller, lambda: host.tasks[first.task].state is TaskState.STOPPING)
        if write == "denial":
            store.fail(fault, prefix=f"{PLACEMENTS}{first.agent}/")
        host.report(first.task, state=TaskState.FINISHED, ready=False)
        await settled(controller)
        assert store.is_through
        await store.deliver()
        await asyncio.sleep(0.1)
        assert [row.value.is_revoked for row in controller.view.placements.rows.values()] == [False]
        assert controller.registry.status("default", "web").is_done


async def test_the_next_holder_asks_for_the_denial_again() -> None:
    [a1] = hosts(1, mute=10**6)
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        async with asyncio.timeout(5):
            while not a1.denials_asked():
                await asyncio.sleep(0.01)
    a1.mute = 0
    asked = len(a1.denials_asked())
    async with running(a1, store=store, instance="other") as controller:
        await settled(controller)
        assert len(a1.denials_asked()) == asked + 1
        assert len(a1.tasks) == 1


async def test_an_agent_that_knows_no_denials_frees_no_slot() -> None:
    [a1] = hosts(1)
    obey = a1._obey
    a1._obey = lambda command: replace(obey(command), is_denied=False)
    async with running(a1) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await until(controller, lambda: placement(controller).is_revoked)
        async with asyncio.timeout(5):
            while len(a1.denials_asked()) < 2:
                await asyncio.sleep(0.01)
        assert not placement(controller).is_denied


async def test_a_failed_task_is_denied_and_its_failures_are_counted_on() -> None:
    [a1] = hosts(1)
    async with running(a1) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        first = placement(controller)
        now_ms = SystemClock().now().wall
        a1.report(first.task, state=TaskState.FAILED, ready=False, reason="exit 1", since_ms=now_ms)
        await until(controller, lambda: is_moved(controller, first.task))
        await settled(controller)
        second = placement(controller)
        assert second.failures == 1
        assert second.reason.startswith(f"{first.task} on a1 is failed: exit 1; ")
        assert a1.denials_asked() == [first.task]


async def test_a_slot_whose_start_its_agent_had_denied_before_is_placed_anew() -> None:
    [a1] = hosts(1)
    obey, refused = a1._obey, []

    def deny_first(command: Command) -> CommandResult:
        if isinstance(command, StartTask) and command.task in (refused or [command.task]):
            # As in an earlier life of the registry, of which a backup knows nothing.
            refused.append(command.task)
            return CommandResult(task=command.task, is_ok=False, reason="it is denied", is_denied=True)
        return obey(command)

    a1._obey = deny_first
    async with running(a1) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        assert len(refused) == 1
        [task] = a1.tasks
        assert placement(controller).task == task != refused[0]
        assert a1.denials_asked() == []


async def test_a_drain_does_not_wait_for_what_its_agent_has_denied() -> None:
    [a1] = hosts(1)
    async with running(a1) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        first = placement(controller)
        await controller.cordons.cordon("a1")
        now_ms = SystemClock().now().wall
        a1.report(first.task, state=TaskState.FAILED, ready=False, reason="exit 1", since_ms=now_ms)
        # Its record is kept for the failures it counts, until the slot can be placed.
        await until(controller, lambda: placement(controller).is_denied)
        await controller.cordons.drain("a1")
        await until(controller, lambda: not controller.view.tasks_on("a1"))
        assert placement(controller).task == first.task
        assert drain_status(controller.view, "a1") == DrainStatus(is_done=True, left=0, tasks=(), waiting=())


async def test_a_drain_says_of_a_revoked_task_that_it_is_to_stop() -> None:
    a1, a2 = hosts(2, lets_stop=False)
    async with running(a1, a2) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        agent = placement(controller).agent
        await controller.cordons.drain(agent)
        await until(controller, lambda: placement(controller).is_revoked)
        told = drain_status(controller.view, agent)
        task = placement(controller).task
        assert told.left == 1
        assert told.waiting[0].startswith(f"{task} is to stop, and is ")


async def test_a_revoked_task_is_no_endpoint_and_shown_as_what_it_is() -> None:
    [a1] = hosts(1, lets_stop=False)
    async with running(a1) as controller:
        await controller.registry.put(a_manifest(ports={"http": 0}))
        await settled(controller)
        [task] = a1.tasks
        assert task in endpoints_json(controller.view, "default/web").decode()
        await controller.registry.put(a_manifest(ports={"http": 0}, env={"MODE": "new"}))
        await until(controller, lambda: placement(controller).is_revoked)
        assert endpoints_json(controller.view, "default/web") == b"[]"
        assert "its placement was revoked, so it is to stop: version 2 replaces version 1" in explained(
            controller, task
        )
        assert "has not acknowledged yet that it forgot it" in unreported(placement(controller)).reason
        # It ends: then the slot is free.
        await until(controller, lambda: controller.view.tasks_of("default/web")[task].value.state is TaskState.STOPPING)
        a1.report(task, state=TaskState.FINISHED, ready=False)
        await settled(controller)


async def test_a_plan_foretells_what_comes() -> None:
    a1, a2 = hosts(2)
    async with running(a1, a2) as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        wanted = a_manifest(scale=2, env={"MODE": "new"})
        plan = await plan_documents(
            controller.view, controller.registry, [wanted], controller.bookings(), SystemClock().now()
        )
        await controller.registry.put(wanted)
        await settled(controller)
        [foretold] = plan.plans
        came = {(row.value.slot, row.value.agent) for row in controller.view.placements.rows.values()}
        assert {(one.slot, one.agent) for one in foretold.placements} == came
        assert [one.wave for one in foretold.drops] == [1, 3]
        assert [one.wave for one in foretold.placements] == [2, 4]


async def test_an_agent_with_exclusive_tasks_is_neither_removed_nor_taken_for_another() -> None:
    a1, a2 = hosts(2)
    async with running(a1, a2) as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        a1.cut()
        await is_lost(controller, "a1")
        with pytest.raises(Conflict, match="may run there; if it will never come back: harpoon declare-dead a1"):
            await controller.roster.remove("a1")
        stranger = replace(an_agent(a1, "http://a1"), uid="another")
        with pytest.raises(Conflict, match=r"another agent named a1 is lost \(uid uid-a1\).*declare-dead a1"):
            await controller.roster.register(stranger)
        # The same agent may come back elsewhere.
        await controller.roster.register(replace(an_agent(a1, "http://a1"), tags={"zone": "b"}))


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True)])
async def test_whether_a_job_is_exclusive_stays_as_long_as_it_is_there(before: bool, after: bool) -> None:
    [a1] = hosts(1)
    async with running(a1) as controller:
        registry = controller.registry
        await registry.put(a_manifest(exclusive=before))
        await settled(controller)
        with pytest.raises(Invalid, match="exclusive cannot be changed while job web exists") as alone:
            await registry.put(a_manifest(exclusive=after))
        assert alone.value.problems[0].pointer == "/spec/exclusive"
        with pytest.raises(Invalid) as together:
            await registry.apply([a_manifest("new", exclusive=after), a_manifest(exclusive=after)])
        assert together.value.problems[0].pointer == "/documents/1/spec/exclusive"
        a1.lets_stop = False
        await registry.delete("default", "web")
        with pytest.raises(Invalid, match="unschedule it"):
            await registry.put(a_manifest(exclusive=after))


class Interfering(MemoryStore):
    """Deletes a placement, as an operator may, just before it is revoked."""

    deleted: str = ""

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        for write in writes:
            if isinstance(write, Put) and b'"is_revoked":true' in write.value and not self.deleted:
                self.deleted = write.key
                await super().commit((), (Delete(write.key),))
        return await super().commit(compares, writes)


async def test_revoking_does_not_bring_back_what_was_declared_dead_meanwhile() -> None:
    [a1] = hosts(1)
    store = Interfering()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        first = placement(controller)
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await until(controller, lambda: is_moved(controller, first.task))
        await settled(controller)
        assert store.deleted.endswith(first.task)
        assert a1.denials_asked() == []


async def test_an_exclusive_task_keeps_its_room_until_its_agent_has_denied_it() -> None:
    [a1] = hosts(1, lets_stop=False)
    resources = Resources(cpu=3000)
    async with running(a1) as controller:
        await controller.registry.put(a_manifest(resources=resources))
        await settled(controller)
        [task] = a1.tasks
        await controller.registry.put(a_manifest(resources=resources, env={"MODE": "new"}))
        await until(controller, lambda: placement(controller).is_revoked)
        host = controller.bookings().fleet.host("a1")
        assert host.cpu == 3000
        await controller.registry.put(a_manifest("other", resources=resources))
        await until(controller, lambda: "default/other" in controller.view.pending.rows)
        a1.report(task, state=TaskState.FINISHED, ready=False)
        await until(controller, lambda: task not in controller.view.placements_of("default/web"))
        assert host.cpu == 3000


async def test_a_slot_whose_record_cannot_be_read_is_not_placed_a_second_time() -> None:
    store = MemoryStore()
    [a1] = hosts(1)
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        [task] = a1.tasks
        key = f"{PLACEMENTS}a1/{task}"
        record = (await store.get(key)).value
        await store.commit((), (Put(key, b'{"of": "a later release"}'),))
        await until(controller, lambda: bool(controller.view.placements.unreadable))
        said = f"slot 0 waits: the record of {task} cannot be read by this release"
        why = await explain_job(
            controller.view, controller.view.jobs.rows["default/web"], controller.bookings(), SystemClock().now()
        )
        assert said in why.reasons
        await asyncio.sleep(0.2)
        assert a1.starts() == [task]
        await store.commit((), (Put(key, record),))
        await settled(controller)
        assert a1.starts() == [task]
