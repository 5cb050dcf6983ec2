"""Terms: one instance acts at a time, and goes on by itself after whatever the store did to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from harpoon.control import controller as module
from harpoon.control.controller import Controller
from harpoon.control.membership import Membership
from harpoon.control.view import ACTUAL, JOBS, PLACEMENTS
from harpoon.core.assign import owner
from harpoon.kit.errors import Unavailable
from harpoon.model import wire
from harpoon.model.agent import LinkState
from harpoon.store.hold import HOLDS, acquire
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put, RolledBack, Store, StoreUnavailable
from tests.control.test_controller import House, a_manifest, an_agent, settled, until
from tests.fakes import FakeAgent
from tests.faulty import Fault, FaultyStore

SCHEDULER = f"{HOLDS}scheduler"


async def soon(is_true: Callable[[], bool]) -> None:
    """Wait for what no revision tells."""
    async with asyncio.timeout(5):
        while not is_true():
            await asyncio.sleep(0.001)


async def a_new_term(controller: Controller, before: object) -> None:
    """Wait for a term after the one ``before``, with its agents."""
    await soon(lambda: controller.term is not None and controller.term is not before)
    await soon(lambda: controller.is_commandable("a1"))


@asynccontextmanager
async def at_work(store: Store, agent: FakeAgent, scale: int = 2) -> AsyncIterator[tuple[House, Controller]]:
    """A controller whose job ``web`` runs."""
    house = House(store, (agent,))
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=scale))
        await settled(controller)
        yield house, controller


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_lost_lease_is_followed_by_a_term_with_a_higher_token_and_no_task_hears_of_it(is_gone: bool) -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    async with at_work(store, a1) as (house, controller):
        term, view, mark, obeyed, tasks = controller.term, controller.view, a1.mark, len(a1.obeyed), dict(a1.tasks)
        store.lapse(is_gone=is_gone)
        await a_new_term(controller, term)
        assert controller.view is view
        assert a1.mark > mark
        assert (len(a1.obeyed), a1.tasks) == (obeyed, tasks)
        await controller.registry.scale("default", "web", 3)
        await settled(controller)
        assert a1.tasks.items() > tasks.items()
        assert house.metrics.terms._value.get() == 2


async def test_nothing_of_a_term_hears_the_view_after_it() -> None:
    store = FaultyStore()
    async with at_work(store, FakeAgent("a1")) as (_, controller):
        listeners = len(controller.view.mirror._listeners)
        for _ in range(3):
            term = controller.term
            store.lapse(is_gone=True)
            await a_new_term(controller, term)
        assert len(controller.view.mirror._listeners) == listeners


@pytest.mark.parametrize("is_lost", [True, False])
async def test_while_the_store_is_away_reads_are_answered_and_all_heals_when_it_is_back(is_lost: bool) -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    with capture_logs() as told:
        async with at_work(store, a1) as (_, controller):
            tasks, term = dict(a1.tasks), controller.term
            store.leave()
            if is_lost:
                store.lapse(is_gone=False)
            [task, _] = a1.tasks
            a1.report(task, reason="the world goes on")
            await asyncio.sleep(1.2)
            assert controller.registry.status("default", "web").is_done
            with pytest.raises(StoreUnavailable) as caught:
                await controller.registry.scale("default", "web", 3)
            assert not caught.value.maybe_applied
            assert a1.tasks.keys() == tasks.keys()
            assert (controller.term is None) == is_lost
            store.come_back()
            if is_lost:
                await a_new_term(controller, term)
            await controller.registry.scale("default", "web", 3)
            await settled(controller)
            await until(controller, lambda: controller.view.task(task).value.reason == "the world goes on")
            assert a1.tasks.keys() > tasks.keys()
    # Whatever waits says so once, however often it tries.
    waits = [line["event"] for line in told if line["event"] in ("waiting_for_store", "publish_failed")]
    assert waits == ["publish_failed", *(["waiting_for_store"] if is_lost else [])]


async def test_a_second_instance_takes_its_share_and_all_of_it_when_the_first_ends() -> None:
    store, agents = FaultyStore(), tuple(FakeAgent(f"a{number}") for number in range(12))
    settings = {"settle": timedelta(milliseconds=50)}
    names = {agent.name for agent in agents}

    def minded(controller: Controller) -> set[str]:
        return {name for name in names if controller.is_commandable(name)}

    async with asyncio.TaskGroup() as group:
        async with House(store, agents, instance="one-1", **settings).running() as first:
            await first.registry.put(a_manifest(scale=24))
            await settled(first)
            tasks = {agent.name: dict(agent.tasks) for agent in agents}
            other = House(store, agents, instance="two-2", **settings).running(registers=False)
            second = await other.__aenter__()
            await soon(lambda: minded(first) | minded(second) == names and bool(minded(second)))
            await asyncio.sleep(0.1)
            belongs = {name: owner(name, ("one-1", "two-2")) for name in names}
            assert minded(first) == {name for name, instance in belongs.items() if instance == "one-1"}
            assert minded(second) == names - minded(first) != set()
            assert (first.bookings() is None, second.bookings() is None) == (False, True)
            # Each commands its own, by what the one that leads decides; both take what users ask.
            await second.registry.scale("default", "web", 36)
            await settled(second)
            assert {agent.name for agent in agents if len(agent.tasks) == 3} == names
        await soon(lambda: minded(second) == names and second.bookings() is not None)
        assert all(agent.tasks.items() > tasks[agent.name].items() for agent in agents)
        await second.registry.scale("default", "web", 12)
        await settled(second)
        await other.__aexit__(None, None, None)
        group.create_task(asyncio.sleep(0))


async def test_what_is_held_is_left_to_its_holder_until_its_lease_is_over() -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    lease = await store.lease(10)
    for name in ("scheduler", "agents/a1"):
        assert await acquire(store, lease, name, "s1-aaaa", 1) is not None
    with capture_logs() as told:
        async with House(store, (a1,), instance="s1-bbbb").running(registers=False) as controller:
            await controller.roster.register(an_agent(a1, "http://a1"))
            await soon(lambda: any(line["event"] == "led_by_another" for line in told))
            await asyncio.sleep(0.05)
            assert not controller.is_commandable("a1")
            assert controller.bookings() is None
            await lease.revoke()
            await soon(lambda: controller.is_commandable("a1") and controller.bookings() is not None)
    assert [line["leader"] for line in told if line["event"] == "led_by_another"] == ["s1-aaaa"]


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.SILENT, Fault.LATE, Fault.OVERTAKEN])
@pytest.mark.parametrize("prefix", [PLACEMENTS, ACTUAL, JOBS, f"{HOLDS}agents/", HOLDS])
async def test_no_slot_is_filled_twice_whatever_becomes_of_a_commit(fault: Fault, prefix: str) -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    store.fail(fault, fault, prefix=prefix)
    house = House(store, (a1,))
    async with house.running() as controller:
        accepted = await put_until_accepted(controller, scale=5)
        await settled(controller)
        await store.deliver()
        await asyncio.sleep(0.05)
        await settled(controller)
        placed = [(row.value.slot, row.value.agent) for row in controller.view.placements.rows.values()]
        assert sorted(slot for slot, _ in placed) == list(range(5))
        assert len(a1.tasks) == len(a1.obeyed) == 5
        assert controller.view.jobs.rows["default/web"].value.version == accepted
        actual = [row.value for row in controller.view.actual.rows.values()]
        rows = {one.id: replace(one, ready_since_ms=0) for one in actual}
        assert rows == a1.tasks
        bookings = controller.bookings()
        assert bookings is not None
        assert sum(bookings.fleet.placement(task) is not None for task in a1.tasks) == 5
    assert store.left < 2


async def put_until_accepted(controller: Controller, scale: int) -> int:
    """Declare a job as a client does, which tries again while it is told that nobody knows; return its version."""
    for _ in range(5):
        try:
            return (await controller.registry.put(a_manifest(scale=scale))).job.version
        except StoreUnavailable as error:
            assert error.maybe_applied
    raise AssertionError("never accepted")


async def test_a_placement_that_comes_late_is_not_made_beside_the_one_decided_meanwhile() -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    async with House(store, (a1,)).running() as controller:
        held = await store.get(SCHEDULER)
        store.fail(Fault.LATE, prefix=PLACEMENTS)
        await controller.registry.put(a_manifest(scale=1))
        await soon(lambda: store.is_through)
        # What is decided now is decided at another revision, and so makes another task.
        await controller.registry.put(a_manifest("other", scale=0))
        await settled(controller)
        assert await store.deliver() == [None]
        assert len(controller.view.placements.rows) == len(a1.obeyed) == 1
        assert (await store.get(SCHEDULER)).create_revision == held.create_revision


async def test_a_placement_that_comes_late_is_not_made_beside_that_of_a_later_time_of_leading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_others = [False]
    monkeypatch.setattr(Membership, "is_others_to_lead", lambda _: is_others[0])
    monkeypatch.setattr("harpoon.control.leadership.LOOK_AGAIN_S", 0.01)
    store, a1 = FaultyStore(), FakeAgent("a1")
    async with House(store, (a1,)).running() as controller:
        await soon(lambda: controller.bookings() is not None)
        held = await store.get(SCHEDULER)
        store.fail(Fault.LATE, prefix=PLACEMENTS)
        store.fail(Fault.REFUSED, prefix=SCHEDULER)
        await controller.registry.put(a_manifest(scale=1))
        await soon(lambda: store.left == 1)
        # It is to be given back, and cannot be; then nobody else is there to have it.
        is_others[0] = True
        await soon(lambda: store.is_through and controller.bookings() is None)
        await controller.registry.put(a_manifest("other", scale=0))
        is_others[0] = False
        await settled(controller)
        assert await store.deliver() == [None]
        assert len(controller.view.placements.rows) == len(a1.obeyed) == 1
        assert (await store.get(SCHEDULER)).create_revision == held.create_revision


async def test_a_state_that_comes_late_does_not_hide_a_later_one() -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    async with at_work(store, a1, scale=1) as (_, controller):
        [task] = a1.tasks
        mark = a1.mark
        store.fail(Fault.LATE, prefix=ACTUAL)
        a1.report(task, reason="first")
        await soon(lambda: store.is_through)
        a1.report(task, reason="second")
        await until(controller, lambda: controller.view.task(task).value.reason == "second")
        assert await store.deliver() == [None]
        assert a1.mark == mark


async def test_a_schedulers_hold_that_somebody_deleted_is_taken_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.control.leadership.RETRY_S", 0.01)
    store, a1 = FaultyStore(), FakeAgent("a1")
    async with at_work(store, a1) as (_, controller):
        term, obeyed, before = controller.term, len(a1.obeyed), (await store.get(SCHEDULER)).create_revision
        await store.commit((), (Delete(SCHEDULER),))
        await controller.registry.scale("default", "web", 3)
        await settled(controller)
        assert (await store.get(SCHEDULER)).create_revision > before
        assert len(a1.obeyed) == obeyed + 1
        assert controller.term is term


async def test_an_agent_that_another_instance_holds_is_waited_for() -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    await store.commit((), (Put(f"{HOLDS}agents/a1", b'{"instance":"other"}'),))
    house = House(store, (a1,))
    async with house.running(registers=False) as controller:
        await soon(lambda: controller.term is not None)
        await controller.roster.register(an_agent(a1, "http://a1"))
        await asyncio.sleep(0.05)
        assert not controller.is_commandable("a1")
        await store.commit((), (Delete(f"{HOLDS}agents/a1"),))
        await soon(lambda: controller.is_commandable("a1"))


async def test_an_agents_hold_that_somebody_deleted_is_taken_anew_with_the_agents_next_minder() -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    async with at_work(store, a1) as (_, controller):
        term, mark = controller.term, a1.mark
        await store.commit((), (Delete(f"{HOLDS}agents/a1"),))
        await controller.roster.register(replace(an_agent(a1, "http://a1"), facts={"moved": "yes"}))
        await soon(lambda: a1.mark > mark and controller.is_commandable("a1"))
        assert controller.term is term


async def test_an_agent_that_registers_anew_keeps_its_hold_and_its_tasks() -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    async with at_work(store, a1) as (_, controller):
        mark, obeyed = a1.mark, len(a1.obeyed)
        store.fail(Fault.LATE, prefix=ACTUAL)
        [task, _] = a1.tasks
        a1.report(task, reason="told before")
        await soon(lambda: store.is_through)
        await controller.roster.register(replace(an_agent(a1, "http://a1"), facts={"moved": "yes"}))
        await until(controller, lambda: controller.view.task(task).value.reason == "told before")
        assert await store.deliver() == [None]
        assert (a1.mark, len(a1.obeyed)) == (mark, obeyed)


class Slow(FakeAgent):
    """Lets commands wait while it is told to, and does not answer them then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.is_quick = asyncio.Event()
        self.is_quick.set()
        self.waiting = self.adoptions = 0

    async def adopt(self, order: wire.Adopt) -> wire.Snapshot:
        self.adoptions += 1
        return await super().adopt(order)

    async def command(self, batch: wire.Commands) -> wire.Results:
        if not self.is_quick.is_set():
            self.waiting += 1
            await self.is_quick.wait()
            raise Unavailable("it does not answer")
        return await super().command(batch)


async def test_nothing_comes_of_an_answer_whose_minder_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.core.machine.REFUSED_MAX", timedelta(seconds=0.05))
    monkeypatch.setattr("harpoon.core.machine.SILENCE_MAX", timedelta(seconds=0.2))
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    a1 = Slow("a1")
    async with at_work(FaultyStore(), a1) as (_, controller):
        a1.is_quick.clear()
        await controller.registry.scale("default", "web", 3)
        await soon(lambda: a1.waiting == 1)
        before = a1.adoptions
        # It is minded anew while a command is on its way.
        await controller.roster.register(replace(an_agent(a1, "http://a1"), facts={"name": "a1", "os": "new"}))
        await soon(lambda: a1.adoptions > before)
        a1.is_quick.set()
        await settled(controller)
        await asyncio.sleep(0.5)
    assert errors == []


async def test_an_agent_that_answers_no_command_keeps_none_from_the_others() -> None:
    slow, quick = Slow("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (slow, quick)).running() as controller:
        # Else all of the first job may go to the one.
        links = controller.view.links.rows
        await until(controller, lambda: [link.value.state for link in links.values()] == [LinkState.CONNECTED] * 2)
        slow.is_quick.clear()
        await controller.registry.put(a_manifest(scale=2))
        await soon(lambda: slow.waiting == 1)
        for number in range(3):
            await controller.registry.put(a_manifest(f"web{number}", scale=2))
        await soon(lambda: len(quick.tasks) == 4)
        assert slow.waiting == 1
        slow.is_quick.set()
        for name in ("web", "web0", "web1", "web2"):
            await settled(controller, name)


async def test_an_agent_is_taken_once_the_store_is_back() -> None:
    store, a1 = FaultyStore(), FakeAgent("a1")
    store.fail(Fault.REFUSED, Fault.LOST, Fault.SILENT, prefix=f"{HOLDS}agents/")
    async with House(store, (a1,)).running() as controller:
        assert store.is_through
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)


async def test_a_store_that_went_back_ends_the_control_plane() -> None:
    store = FaultyStore()
    with pytest.raises(ExceptionGroup) as caught:
        async with House(store, ()).running() as controller:
            await soon(lambda: controller.term is not None)
            store.shift = -1
            store.lapse(is_gone=True)
            await asyncio.sleep(5)
    assert caught.group_contains(RolledBack)


async def test_an_instance_that_ends_while_the_store_is_away_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FAREWELL_S", 0.05)
    store = FaultyStore()
    with capture_logs() as told:
        async with House(store, ()).running() as controller:
            await soon(lambda: controller.term is not None)
            store.leave()
        async with asyncio.timeout(1):
            pass
    assert any(line["event"] == "holds_not_given_back" for line in told)


async def test_a_view_that_cannot_be_verified_now_is_verified_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERIFY_EVERY", timedelta(milliseconds=20))
    store = FaultyStore()
    async with House(store, ()).running() as controller:
        await controller.registry.put(a_manifest("idle", scale=0))
        store.leave()
        with capture_logs() as told:
            await soon(lambda: any(line["event"] == "view_not_verified" for line in told))
        store.come_back()
        controller.view.jobs._rows.clear()
        await soon(lambda: "default/idle" in controller.view.jobs.rows)


async def test_a_store_in_memory_has_terms_too() -> None:
    async with at_work(MemoryStore(), FakeAgent("a1")) as (_, controller):
        term = controller.term
        assert term is not None
        await term.member.lease.revoke()
        await a_new_term(controller, term)
