"""What operators decide of agents, and what the loops make of it: with real loops, and agents that behave."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from harpoon.control.controller import Controller
from harpoon.control.cordons import Cordons
from harpoon.control.drain import drain_status
from harpoon.control.roster import Roster
from harpoon.control.view import ACTUAL, AGENTS, DEAD, JOBS, LINKS, PLACEMENTS, View, placement_key
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, NotFound, Unavailable
from harpoon.model.agent import Agent, Death, Link, LinkState
from harpoon.model.command import CommandResult
from harpoon.model.job import OnLost
from harpoon.model.manifest import Manifest
from harpoon.model.task import TaskState
from harpoon.model.template import Resources
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compare, Delete, Put, StoreUnavailable, Write
from tests.builders import a_job, a_placement, a_task
from tests.control.test_controller import House, a_manifest, an_agent, settled, until
from tests.fakes import FakeAgent
from tests.faulty import Fault, FaultyStore

LOST_AFTER = timedelta(milliseconds=200)


def kept(manifest: Manifest) -> Manifest:
    """The same, for a job that waits for its lost agents."""
    return replace(manifest, spec=replace(manifest.spec, on_lost=OnLost.WAIT))


def slots(agent: FakeAgent) -> list[str]:
    return sorted(task.split(".")[2] for task, known in agent.tasks.items() if not known.state.is_over)


def ready(*agents: FakeAgent) -> int:
    return len({task.split(".")[2] for agent in agents for task, known in agent.tasks.items() if known.ready})


def is_lost(controller: Controller, name: str) -> bool:
    link = controller.view.links.rows.get(name)
    return link is not None and link.value.state is LinkState.LOST


async def quiet(controller: Controller) -> None:
    """Wait until nothing is written any more."""
    before = -1
    while before != controller.view.revision:
        before = controller.view.revision
        await asyncio.sleep(0.05)


async def test_a_cordoned_agent_gets_no_new_task_and_keeps_what_it_has() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        before = set(a1.tasks)
        await controller.cordons.cordon("a1", reason="disks")
        await controller.registry.scale("default", "web", 6)
        await settled(controller)
        assert set(a1.tasks) == before
        assert len(a2.tasks) == 5


async def test_slots_that_wait_for_a_cordoned_agent_are_placed_when_it_is_uncordoned() -> None:
    a1 = FakeAgent("a1")
    async with House(MemoryStore(), (a1,)).running() as controller:
        await controller.cordons.cordon("a1")
        await controller.registry.put(a_manifest(scale=2))
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        pending = controller.view.pending.rows["default/web"].value
        assert [(one.predicate, one.found) for one in pending.blockers] == [("cordon", "cordoned")]
        await controller.cordons.uncordon("a1")
        await settled(controller)
        assert slots(a1) == ["0", "1"]


async def test_a_drained_agent_keeps_no_task_and_the_job_no_moment_with_fewer_ready_ones() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.registry.put(a_manifest(scale=6))
        await settled(controller)
        fewest = [6]
        controller.view.mirror.listen(lambda _, __: fewest.append(ready(a1, a2)))
        await controller.cordons.drain("a1")
        await until(controller, lambda: drain_status(controller.view, "a1").is_done)
        await settled(controller)
        assert (slots(a1), slots(a2)) == ([], ["0", "1", "2", "3", "4", "5"])
        assert min(fewest) == 6
        await quiet(controller)
        assert not controller.view.placements_on("a1")
        obeyed, revision = len(a1.obeyed) + len(a2.obeyed), controller.view.revision
        await asyncio.sleep(0.1)
        assert (len(a1.obeyed) + len(a2.obeyed), controller.view.revision) == (obeyed, revision)


async def test_a_job_that_may_not_surge_is_drained_slot_by_slot() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        manifest = a_manifest(scale=4)
        update = replace(manifest.spec.update, surge=0, unavailable=1)
        await controller.registry.put(replace(manifest, spec=replace(manifest.spec, update=update)))
        await settled(controller)
        fewest = [4]
        controller.view.mirror.listen(lambda _, __: fewest.append(ready(a1, a2)))
        await controller.cordons.drain("a1")
        await until(controller, lambda: drain_status(controller.view, "a1").is_done)
        await settled(controller)
        assert min(fewest) >= 3


async def test_what_fits_nowhere_else_stays_says_why_and_goes_at_the_deadline() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.cordons.cordon("a2")
        await controller.registry.put(a_manifest(scale=1, resources=Resources(cpu=3000)))
        await settled(controller)
        await controller.cordons.drain("a1", reason="new kernel")
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        await quiet(controller)
        told = drain_status(controller.view, "a1")
        assert (told.is_done, told.left, slots(a1)) == (False, 1, ["0"])
        assert "fits nowhere else: 1 of 1 wanted slots cannot be placed" in told.waiting[0]
        await controller.cordons.drain("a1", deadline=timedelta(milliseconds=300))
        assert controller.view.cordons.rows["a1"].value.reason == "new kernel"
        assert slots(a1) == ["0"]
        await until(controller, lambda: drain_status(controller.view, "a1").is_done)
        assert ready(a1, a2) == 0
        await controller.cordons.uncordon("a2")
        await settled(controller)
        assert slots(a2) == ["0"]


async def test_a_drain_taken_back_leaves_tasks_where_they_are() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2", makes_ready=False)
    async with House(MemoryStore(), (a1, a2)).running() as controller:
        await controller.cordons.cordon("a2")
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        before = set(a1.tasks)
        await controller.cordons.drain("a1")
        await controller.cordons.uncordon("a2")
        await until(controller, lambda: len(a2.tasks) == 1)
        told = drain_status(controller.view, "a1")
        assert "stays until default.web.0." in told.waiting[0]
        assert told.waiting[1].endswith(
            "waits for its turn: update.surge 1 and update.unavailable 0 let only so many tasks of web change at once; "
            f"{next(iter(a2.tasks))} is not ready"
        )
        await controller.cordons.uncordon("a1")
        a2.report(next(iter(a2.tasks)), state=TaskState.RUNNING, ready=True)
        await settled(controller)
        assert len(before & {task for task, known in a1.tasks.items() if known.ready}) == 1


async def test_a_cordon_outlives_registrations_and_terms_and_goes_with_the_agent() -> None:
    store, a1 = MemoryStore(), FakeAgent("a1")
    async with House(store, (a1,)).running() as controller:
        await controller.cordons.cordon("a1")
        await controller.roster.register(replace(an_agent(a1, "http://a1"), tags={"new": "yes"}))
    async with House(store, (a1,), lost_after=LOST_AFTER).running() as controller:
        host = controller.bookings().fleet.host("a1")
        assert host is not None
        assert host.cordon is not None
        a1.cut()
        await until(controller, lambda: controller.view.links.rows["a1"].value.state is not LinkState.CONNECTED)
        await controller.roster.remove("a1")
        assert not controller.view.cordons.rows


# Cordons as records.


@asynccontextmanager
async def a_view(store: MemoryStore) -> AsyncIterator[View]:
    view = View(store, incarnation=1, cluster="c1")
    await view.mirror.load()
    following = asyncio.ensure_future(view.mirror.run())
    yield view
    following.cancel()


async def write(view: View, store: MemoryStore, *writes: Write) -> None:
    await view.mirror.reached(await store.commit((), writes))


async def registered(view: View, store: MemoryStore, name: str = "a1", link: LinkState = LinkState.LOST) -> None:
    agent, known = an_agent(FakeAgent(name), f"http://{name}"), Link(agent=name, state=link, since_ms=0)
    await write(view, store, Put(AGENTS + name, codec.dump(agent)), Put(LINKS + name, codec.dump(known)))


async def test_what_stands_already_is_not_written_again() -> None:
    store = MemoryStore()
    async with a_view(store) as view:
        cordons = Cordons(store, view, SystemClock())
        await registered(view, store)
        assert await cordons.uncordon("a1") == 1
        first = await cordons.cordon("a1", reason="disks")
        assert await cordons.cordon("a1") == await cordons.cordon("a1", reason="disks") == first
        told = view.cordons.rows["a1"].value
        draining = await cordons.drain("a1")
        assert await cordons.drain("a1") == draining
        known = view.cordons.rows["a1"].value
        assert (known.is_draining, known.reason, known.deadline_ms) == (True, "disks", None)
        assert known.since_ms >= told.since_ms
        await cordons.drain("a1", deadline=timedelta(hours=1))
        timed = view.cordons.rows["a1"].value
        assert timed.deadline_ms is not None
        assert timed.since_ms == known.since_ms
        later = await cordons.drain("a1", reason="kernel")
        assert view.cordons.rows["a1"].value == replace(timed, reason="kernel")
        assert await cordons.drain("a1") == later
        await cordons.cordon("a1")
        last = view.cordons.rows["a1"].value
        assert (last.is_draining, last.deadline_ms, last.reason) == (False, None, "kernel")
        gone = await cordons.uncordon("a1")
        assert gone == view.revision
        assert not view.cordons.rows


@pytest.mark.parametrize("verb", ["cordon", "drain", "uncordon", "declare_dead"])
async def test_an_agent_that_is_not_there_is_not_found(verb: str) -> None:
    store = MemoryStore()
    async with a_view(store) as view:
        with pytest.raises(NotFound, match="there is no agent a1"):
            await getattr(Cordons(store, view, SystemClock()), verb)("a1")


class Overtaken(MemoryStore):
    """A store in which somebody else is always faster."""

    is_busy = False

    async def commit(self, compares, writes):
        if self.is_busy:
            entry = await self.get(AGENTS + "a1")
            await super().commit((), [Put(AGENTS + "a1", entry.value)])
        return await super().commit(compares, writes)


@pytest.mark.parametrize("verb", ["cordon", "drain", "uncordon", "declare_dead"])
async def test_tries_against_others_are_bounded(verb: str) -> None:
    store = Overtaken()
    async with a_view(store) as view:
        cordons = Cordons(store, view, SystemClock())
        await registered(view, store)
        await cordons.cordon("a1")
        store.is_busy = True
        asked = cordons.drain("a1") if verb == "cordon" else getattr(cordons, verb)("a1")
        with pytest.raises(Unavailable, match="others keep changing agent a1"):
            await asked


# Agents that are dead.


async def test_the_tasks_of_an_agent_that_is_declared_dead_run_elsewhere_and_its_own_are_stopped_if_it_returns() -> (
    None
):
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1, a2), lost_after=LOST_AFTER)
    async with house.running() as controller:
        await controller.cordons.cordon("a2")
        await controller.registry.put(kept(a_manifest(scale=2)))
        await settled(controller)
        await controller.cordons.uncordon("a2")
        with pytest.raises(Conflict, match="is connected, so it is not dead"):
            await controller.cordons.declare_dead("a1")
        a1.cut()
        await until(controller, lambda: is_lost(controller, "a1"))
        await quiet(controller)
        assert slots(a2) == []
        await controller.cordons.cordon("a1")
        revision = await controller.cordons.declare_dead("a1", reason="burnt down")
        view = controller.view
        assert "a1" not in view.agents.rows
        assert "a1" not in view.links.rows
        assert not view.cordons.rows
        dead = view.dead.rows["a1"]
        assert (dead.value.uid, dead.value.reason, dead.mod_revision) == ("uid-a1", "burnt down", revision)
        await until(controller, lambda: slots(a2) == ["0", "1"])
        assert not view.placements_on("a1")
        assert await controller.cordons.declare_dead("a1") == revision
        a1.heal()
        await controller.roster.register(an_agent(a1, "http://a1"))
        assert not view.dead.rows
        await until(controller, lambda: slots(a1) == [] and not view.tasks_on("a1"))
        assert slots(a2) == ["0", "1"]


class Breaking(MemoryStore):
    """A store that is away after so many commits."""

    left = 1 << 30

    async def commit(self, compares, writes):
        if self.left == 0:
            raise StoreUnavailable("gone", maybe_applied=False)
        self.left -= 1
        assert len(writes) <= 100
        return await super().commit(compares, writes)


def placed(count: int) -> Iterator[Write]:
    for slot in range(count):
        placement = a_placement(slot=slot)
        yield Put(placement_key(placement), codec.dump(placement))
        yield Put(f"/h/1/ctl/actual/a1/{placement.task}", codec.dump(a_task(placement)))


@pytest.mark.parametrize("commits", range(5))
async def test_what_was_broken_off_in_the_middle_is_finished_when_asked_again(commits: int) -> None:
    store = Breaking()
    async with a_view(store) as view:
        cordons = Cordons(store, view, SystemClock())
        await registered(view, store)
        for start in (0, 50):
            await write(view, store, *list(placed(100))[2 * start : 2 * start + 100])
        store.left = commits
        if commits < 4:
            with pytest.raises(StoreUnavailable):
                await cordons.declare_dead("a1")
            assert "a1" in view.agents.rows
            store.left = 1 << 30
        await cordons.declare_dead("a1")
        assert not (view.agents.rows or view.placements.rows or view.actual.rows)
        assert set(view.dead.rows) == {"a1"}


async def test_of_deaths_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.control.cordons.DEAD_MAX", 3)
    store = MemoryStore()
    async with a_view(store) as view:
        cordons = Cordons(store, view, SystemClock())
        for number in range(5):
            await registered(view, store, f"a{number}")
            await cordons.declare_dead(f"a{number}")
            await asyncio.sleep(0.002)
        assert set(view.dead.rows) == {"a2", "a3", "a4"}


async def test_what_was_placed_on_it_by_one_who_had_not_heard_yet_is_placed_elsewhere() -> None:
    a1, a2 = FakeAgent("a1"), FakeAgent("a2")
    house = House(MemoryStore(), (a1, a2), lost_after=LOST_AFTER)
    async with house.running() as controller:
        a1.cut()
        await until(controller, lambda: is_lost(controller, "a1"))
        await controller.cordons.declare_dead("a1")
        accepted = await controller.registry.put(a_manifest(scale=1))
        late = a_placement(slot=0, revision=1, generation=accepted.job.generation)
        await house.store.commit((), [Put(placement_key(late), codec.dump(late))])
        await until(controller, lambda: not controller.view.placements_on("a1"))
        await settled(controller)
        assert slots(a2) == ["0"]


async def test_an_agent_that_returns_while_it_is_declared_dead_keeps_what_it_has() -> None:
    class Returning(MemoryStore):
        async def commit(self, compares, writes):
            if any(write.key.startswith("/h/1/ctl/placements") for write in writes if isinstance(write, Delete)):
                link = Link(agent="a1", state=LinkState.CONNECTED, since_ms=1)
                await super().commit((), [Put(LINKS + "a1", codec.dump(link))])
            return await super().commit(compares, writes)

    store = Returning()
    async with a_view(store) as view:
        await registered(view, store)
        await write(view, store, *placed(2))
        with pytest.raises(Conflict, match="is connected"):
            await Cordons(store, view, SystemClock()).declare_dead("a1")
        assert len(view.placements.rows) == 2


# Registrations.


async def test_a_name_is_not_taken_over_while_its_agent_may_come_back_to_what_waits_for_it() -> None:
    a1 = FakeAgent("a1")
    house = House(MemoryStore(), (a1,), lost_after=timedelta(milliseconds=400))
    async with house.running() as controller:
        await controller.registry.put(kept(a_manifest(scale=1)))
        await settled(controller)
        another = an_agent(FakeAgent("a1", uid="another"), "http://another")
        house.agents["http://another"] = FakeAgent("a1", uid="another")
        with pytest.raises(Conflict, match=r"is connected .uid uid-a1.; give this one another --name"):
            await controller.roster.register(another)
        a1.cut()
        await until(controller, lambda: controller.view.links.rows["a1"].value.state is LinkState.INTERRUPTED)
        with pytest.raises(Conflict, match="or wait until that one is lost"):
            await controller.roster.register(another)
        await until(controller, lambda: is_lost(controller, "a1"))
        with pytest.raises(Conflict, match=r"1 tasks wait for that one.*harpoon declare-dead a1"):
            await controller.roster.register(another)
        await controller.cordons.declare_dead("a1")
        await controller.roster.register(another)
        await settled(controller)


async def test_a_name_of_a_lost_agent_is_taken_over_where_nothing_waits_for_it() -> None:
    store = MemoryStore()
    async with a_view(store) as view:
        await registered(view, store)
        await write(view, store, *placed(1))
        await Roster(store, view).register(an_agent(FakeAgent("a1", uid="another"), "http://another"))
        assert view.agents.rows["a1"].value.uid == "another"


async def test_of_two_agents_of_one_name_that_register_at_once_at_two_servers_one_is_refused() -> None:
    store = MemoryStore()
    async with a_view(store) as one, a_view(store) as other:
        first = an_agent(FakeAgent("a1", uid="u1"), "http://one")
        second = an_agent(FakeAgent("a1", uid="u2"), "http://other")
        came = await asyncio.gather(
            Roster(store, one).register(first), Roster(store, other).register(second), return_exceptions=True
        )
        [refused] = [result for result in came if isinstance(result, BaseException)]
        assert isinstance(refused, Conflict)
        assert "registered by someone else just now" in str(refused)
        assert one.agents.rows["a1"].value in (first, second)


@pytest.mark.parametrize(
    ("link", "tasks", "way"),
    [
        (LinkState.CONNECTED, 0, "give this one another --listen"),
        (LinkState.LOST, 0, "if a1 is gone for good, make it free: harpoon delete agent/a1"),
        (LinkState.LOST, 2, "if a1 is gone for good, make it free: harpoon declare-dead a1"),
    ],
)
async def test_an_endpoint_that_is_taken_names_the_way_out(link: LinkState, tasks: int, way: str) -> None:
    store = MemoryStore()
    async with a_view(store) as view:
        await registered(view, store, link=link)
        if tasks:
            await write(view, store, *placed(tasks))
        with pytest.raises(Conflict) as refused:
            await Roster(store, view).register(an_agent(FakeAgent("a9"), "http://a1"))
        assert str(refused.value) == f"endpoint http://a1 belongs to agent a1, which is {link}; {way}"


# How fast lost tasks are replaced.


async def test_lost_tasks_beyond_the_burst_are_replaced_at_a_limited_rate() -> None:
    agents = FakeAgent("a1"), FakeAgent("a2"), FakeAgent("a3")
    house = House(MemoryStore(), agents, lost_after=LOST_AFTER)
    async with house.running() as controller:
        for name in ("a2", "a3"):
            await controller.cordons.cordon(name)
        for job in range(5):
            await controller.registry.put(a_manifest(f"web{job}", scale=42))
        for job in range(5):
            await settled(controller, f"web{job}")
        for name in ("a2", "a3"):
            await controller.cordons.uncordon(name)
        # When it was lost may be seen late.
        lost = asyncio.get_running_loop().time() + LOST_AFTER.total_seconds()
        agents[0].cut()
        await until(controller, lambda: evicted(house) >= 200)
        assert asyncio.get_running_loop().time() - lost < 5, "at the rate of the others it would take 10 s"
        await until(controller, lambda: not controller.view.placements_on("a1"))
        took = asyncio.get_running_loop().time() - lost
        await quiet(controller)
        assert evicted(house) == 210
        assert 0.4 < took < 8


async def test_lost_tasks_that_fit_nowhere_are_not_looked_at_again_and_again() -> None:
    agents = FakeAgent("a1"), FakeAgent("a2"), FakeAgent("a3")
    house = House(MemoryStore(), agents, lost_after=LOST_AFTER)
    async with house.running() as controller:
        for name in ("a2", "a3"):
            await controller.cordons.cordon(name)
        await controller.registry.put(a_manifest(scale=210))
        await settled(controller)
        agents[0].cut()
        await until(controller, lambda: is_lost(controller, "a1"))
        await until(controller, lambda: "default/web" in controller.view.pending.rows)
        # What was begun may take its time, but it ends.
        async with asyncio.timeout(5):
            before = -1.0
            while before != decisions(house):
                before = decisions(house)
                await asyncio.sleep(0.3)
        await controller.cordons.uncordon("a2")
        await until(controller, lambda: not controller.view.placements_on("a1"))


async def test_while_too_many_agents_are_lost_nothing_is_replaced_and_that_is_told() -> None:
    agents = FakeAgent("a1"), FakeAgent("a2"), FakeAgent("a3")
    house = House(MemoryStore(), agents, lost_after=LOST_AFTER)
    async with house.running() as controller:
        await controller.registry.put(a_manifest(scale=3))
        await settled(controller)
        for agent in agents[:2]:
            agent.cut()
        await until(controller, lambda: is_lost(controller, "a1") and is_lost(controller, "a2"))
        told = "replacing lost tasks is halted: 2 of 3 agents are lost"
        assert told in controller.registry.status("default", "web").waiting
        replaced = evicted(house)
        assert replaced <= 1
        await quiet(controller)
        assert evicted(house) == replaced
        assert gauge(house) == 1
        # The first to be lost may have been replaced before the second was.
        [dead, *_] = [agent for agent in agents[:2] if controller.view.placements_on(agent.name)]
        next(agent for agent in agents[:2] if agent is not dead).heal()
        await until(controller, lambda: not controller.view.placements_on(dead.name))
        await quiet(controller)
        assert evicted(house) == replaced + 1
        assert gauge(house) == 0


def evicted(house: House) -> float:
    return house.metrics.registry.get_sample_value("harpoon_evictions_total") or 0.0


def decisions(house: House) -> float | None:
    return house.metrics.registry.get_sample_value("harpoon_decision_seconds_count")


def gauge(house: House) -> float | None:
    return house.metrics.registry.get_sample_value("harpoon_evictions_halted")


async def test_a_receipt_is_written_with_a_decision_that_changes_nothing() -> None:
    store = MemoryStore()
    async with a_view(store) as view:
        cordons = Cordons(store, view, SystemClock())
        await registered(view, store)
        told: list[tuple[int, ...]] = []

        def extra(outcomes):
            told.append(outcomes(77))
            return (Compare("/h/1/ctl/idem/x", mod=0),), [Put("/h/1/ctl/idem/x", b"{}")]

        assert await cordons.uncordon("a1", extra=extra) == 1
        assert await store.get("/h/1/ctl/idem/x") is not None
        assert told == [(1,)]


async def test_a_dead_agent_leaves_no_record_though_its_instance_hears_of_it_late() -> None:
    store, a1, a2 = FaultyStore(), FakeAgent("a1"), FakeAgent("a2")
    async with House(store, (a1, a2), lost_after=timedelta(seconds=0.6)).running() as controller:
        view = controller.view
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        a1.cut()
        await until(controller, lambda: view.links.rows["a1"].value.state is LinkState.INTERRUPTED)
        await quiet(controller)
        # Another instance declares it dead; at that moment it is taken for lost here.
        store.hush()
        gone = [LINKS + "a1", AGENTS + "a1", *(f"{ACTUAL}a1/{task}" for task in view.tasks_on("a1"))]
        gone += [placement_key(row.value) for row in view.placements_on("a1").values()]
        death = Death(agent="a1", uid=a1.uid, at_ms=1)
        await store.commit((), [Put(DEAD + "a1", codec.dump(death)), *map(Delete, gone)])
        await asyncio.sleep(1)
        store.tell()
        await until(controller, lambda: ready(a2) == 2)
        await quiet(controller)
        assert "a1" not in view.links.rows
        assert not view.tasks_on("a1")
        assert controller.registry.status("default", "web").is_done


async def declared_dead(store: MemoryStore, agent: FakeAgent) -> None:
    """Declare an agent dead as another instance does that has not heard yet of what is placed there."""
    death = Death(agent=agent.name, uid=agent.uid, at_ms=1)
    gone = [Delete(table + agent.name) for table in (AGENTS, LINKS)]
    await store.commit((), [Put(DEAD + agent.name, codec.dump(death)), *gone])


async def test_what_was_placed_on_an_agent_just_before_it_was_declared_dead_is_placed_elsewhere_at_once() -> None:
    store, a1, a2 = MemoryStore(), FakeAgent("a1"), FakeAgent("a2")
    async with House(store, (a1, a2)).running() as controller:
        await controller.cordons.cordon("a2")
        # It is placed, and nothing comes of it.
        a1._obey = lambda command: CommandResult(task=command.task, is_ok=False, reason="not now")
        await controller.registry.put(a_manifest(scale=1))
        await until(controller, lambda: len(controller.view.placements.rows) == 1)
        await controller.cordons.uncordon("a2")
        a1.cut()
        await quiet(controller)
        await declared_dead(store, a1)
        await until(controller, lambda: ready(a2) == 1)
        await settled(controller)


class Returning(MemoryStore):
    """A store in which an agent that was declared dead registers again just before its placement is deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.back: Agent | None = None

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        agent = self.back
        if agent and any(isinstance(one, Delete) and one.key.startswith(PLACEMENTS) for one in writes):
            self.back = None
            await super().commit((), [Delete(DEAD + agent.name), Put(AGENTS + agent.name, codec.dump(agent))])
        return await super().commit(compares, writes)


async def test_an_agent_that_is_back_keeps_what_was_to_be_taken_from_it_as_dead() -> None:
    store, a1 = Returning(), FakeAgent("a1")
    async with House(store, (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        [task] = a1.tasks
        a1.cut()
        await quiet(controller)
        store.back = an_agent(a1, "http://a1")
        await declared_dead(store, a1)
        a1.heal()
        await until(controller, lambda: store.back is None and controller.is_commandable("a1"))
        await settled(controller)
        assert list(controller.view.placements_of("default/web")) == list(a1.tasks) == [task]


async def test_an_agent_where_a_slot_may_run_unclaimed_that_runs_once_is_neither_replaced_nor_removed() -> None:
    store = MemoryStore()
    async with a_view(store) as view:
        await registered(view, store)
        job = a_job(exclusive=True)
        task = a_task(state=TaskState.UNCLAIMED, reported=TaskState.RUNNING)
        record = Put(f"{ACTUAL}a1/{task.id}", codec.dump(task))
        await write(view, store, record, Put(f"{JOBS}default/web", codec.dump(job)))
        roster, another = Roster(store, view), an_agent(FakeAgent("a1", uid="another"), "http://another")
        with pytest.raises(Conflict, match=f"1 tasks wait for that one, such as {task.id}.* declare-dead a1"):
            await roster.register(another)
        with pytest.raises(Conflict, match="1 tasks are still placed on agent a1, or unclaimed, and may run there"):
            await roster.remove("a1")
        over = replace(task, reported=TaskState.FINISHED)
        await write(view, store, Put(record.key, codec.dump(over)))
        await roster.register(another)
        await roster.remove("a1")


async def test_what_frees_the_slots_of_an_agent_is_known_although_declaring_it_dead_was_broken_off() -> None:
    store = FaultyStore()
    async with a_view(store) as view:
        await registered(view, store)
        await write(view, store, *placed(2))
        store.fail(Fault.REFUSED, prefix=AGENTS)
        with pytest.raises(StoreUnavailable):
            await Cordons(store, view, SystemClock()).declare_dead("a1", reason="burnt")
        await view.mirror.reached(await store.revision())
        assert view.placements_on("a1") == {}
        assert view.dead.rows["a1"].value.reason == "burnt"
        # It was not: it is as it was registered, and says so.
        await Roster(store, view).register(view.agents.rows["a1"].value)
        assert "a1" not in view.dead.rows


async def test_an_agent_that_came_back_meanwhile_is_not_removed_late() -> None:
    store = FaultyStore()
    async with a_view(store) as view:
        await registered(view, store)
        store.fail(Fault.LATE, prefix=AGENTS)
        with pytest.raises(StoreUnavailable):
            await Roster(store, view).remove("a1")
        back = Link(agent="a1", state=LinkState.CONNECTED, since_ms=1)
        await write(view, store, Put(LINKS + "a1", codec.dump(back)), *placed(1))
        assert await store.deliver() == [None]
        assert await store.get(AGENTS + "a1") is not None


class Dialled(MemoryStore):
    """A store in which the link to an agent is found to be as told just before the agent is removed."""

    def __init__(self, state: LinkState) -> None:
        super().__init__()
        self.found: LinkState | None = state

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        state = self.found
        if state is not None and Delete(AGENTS + "a1") in writes:
            self.found = None
            link = Link(agent="a1", state=state, since_ms=1, reason="nobody answers")
            await super().commit((), [Put(LINKS + "a1", codec.dump(link))])
        return await super().commit(compares, writes)


async def test_what_is_found_of_a_link_in_the_moment_its_agent_is_removed_does_not_keep_it() -> None:
    store = Dialled(LinkState.UNKNOWN)
    async with a_view(store) as view:
        await registered(view, store)
        await Roster(store, view).remove("a1")
        assert not view.agents.rows
        assert not view.links.rows
    store = Dialled(LinkState.CONNECTED)
    async with a_view(store) as view:
        await registered(view, store)
        with pytest.raises(Conflict, match="is connected"):
            await Roster(store, view).remove("a1")
        assert "a1" in view.agents.rows


async def test_what_was_placed_on_an_agent_in_the_moment_it_was_removed_goes_when_that_is_declared_dead() -> None:
    store, a1, a2 = MemoryStore(), FakeAgent("a1"), FakeAgent("a2")
    async with House(store, (a1, a2)).running() as controller:
        await controller.cordons.cordon("a2")
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        a1.cut()
        await quiet(controller)
        # As if the placement had been committed between the look at what is placed there and the deletion.
        reported = [Delete(f"{ACTUAL}a1/{task}") for task in controller.view.tasks_on("a1")]
        await store.commit((), [Delete(AGENTS + "a1"), Delete(LINKS + "a1"), *reported])
        await until(controller, lambda: "a1" not in controller.view.agents.rows)
        await controller.cordons.uncordon("a2")
        await quiet(controller)
        assert len(controller.view.placements_on("a1")) == 1
        await controller.cordons.declare_dead("a1", reason="removed")
        await until(controller, lambda: ready(a2) == 1)
        await settled(controller)
        with pytest.raises(NotFound):
            await controller.cordons.declare_dead("a3")
