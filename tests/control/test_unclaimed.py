"""After a restore: agents obey again, nothing is restarted, and what nobody knows waits for an operator's word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.control.bookings import Bookings
from harpoon.control.controller import Controller
from harpoon.control.standings import standings_of
from harpoon.control.standstill import standstill
from harpoon.control.task_whys import explain_task
from harpoon.control.unclaimed import Unclaimed
from harpoon.control.view import ACTUAL, DISOWNED, View, placement_key
from harpoon.core.standing import Standing
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Invalid, NotFound, Unavailable
from harpoon.kit.loop import Pace
from harpoon.model.agent import LinkState
from harpoon.model.name import TaskId
from harpoon.model.task import Disowned, TaskState, parse_task_id
from harpoon.model.template import Resources
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.builders import a_job, a_placement, a_task
from tests.control.restoring import back_up, restored
from tests.control.test_controller import House, a_manifest, settled, until
from tests.fakes import FakeAgent

LIFE = 1_900_000_000
RESYNC = Pace(resync=timedelta(milliseconds=50))


async def commandable(controller: Controller) -> None:
    """Wait until the agent is adopted; when it is found as it was, no revision tells."""
    async with asyncio.timeout(10):
        while not controller.is_commandable("a1"):
            await asyncio.sleep(0.001)


def unclaimed(controller: Controller) -> list[TaskId]:
    rows = (row.value for row in controller.view.actual.rows.values())
    return sorted(task.id for task in rows if task.state is TaskState.UNCLAIMED)


@asynccontextmanager
async def a_next_life(
    folder: Path, agent: FakeAgent, *, backed_up: int = 2, then: int = 3, **task: object
) -> AsyncIterator[tuple[Controller, list[TaskId]]]:
    """A controller on a registry that was restored from a backup, after which the job had been scaled up."""
    store = MemoryStore()
    async with House(store, (agent,)).running() as controller:
        await controller.registry.put(a_manifest(scale=backed_up, **task))
        await settled(controller)
        path = await back_up(store, folder / "backup")
        await controller.registry.scale("default", "web", then)
        await settled(controller)
    late = sorted(agent.tasks, key=lambda one: parse_task_id(one).number)[backed_up:]
    agent.obeyed.clear()
    # It will not register again, as an agent need not that runs on.
    house = House(await restored(path, LIFE), (agent,), pace=RESYNC)
    async with house.running(registers=False) as controller:
        await commandable(controller)
        await until(controller, lambda: len(unclaimed(controller)) == len(late))
        yield controller, late


async def in_harmony(controller: Controller, agent: FakeAgent) -> None:
    """Check that through some resyncs nothing is commanded, and nothing written."""
    await asyncio.sleep(0.1)
    obeyed, revision = len(agent.obeyed), await controller.view.mirror._store.revision()
    await asyncio.sleep(0.3)
    assert (len(agent.obeyed), await controller.view.mirror._store.revision()) == (obeyed, revision)


async def test_agents_obey_again_no_task_is_touched_and_what_came_later_is_unclaimed(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        assert a1.mark.incarnation == LIFE
        assert unclaimed(controller) == late
        assert a1.obeyed == []
        assert controller.registry.status("default", "web").summary == "2/2 ready"
        assert controller.registry.status("default", "web").is_done
        await in_harmony(controller, a1)
        assert a1.obeyed == []
        why = explain_task(controller.view, late[0], SystemClock().now())
        assert "before a backup was restored" in why.reasons[-1]
        assert not why.is_fine
        (group,) = (await standstill(controller.view, 0)).items
        assert (group.subjects, group.count) == ((f"task/{late[0]}",), 1)


async def test_the_same_backup_is_restored_again_and_it_is_the_same_again(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        assert unclaimed(controller) == late
    house = House(await restored(tmp_path / "backup", LIFE + 1), (a1,), pace=RESYNC)
    async with house.running(registers=False) as controller:
        await commandable(controller)
        await until(controller, lambda: unclaimed(controller) == late)
        assert a1.mark.incarnation == LIFE + 1
        assert a1.obeyed == []


async def test_it_stays_unclaimed_whatever_its_agent_says_and_whoever_holds_it(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        store = controller.view.mirror._store
        a1.report(late[0], state=TaskState.FAILED, ready=False, reason="exit code 3")
        await until(controller, lambda: controller.view.task(late[0]).value.is_over)
        assert unclaimed(controller) == late
    a1.boot, a1.seq = "boot-2", 0
    async with House(store, (a1,), pace=RESYNC).running(registers=False) as controller:
        await commandable(controller)
        assert unclaimed(controller) == late
        await in_harmony(controller, a1)
        assert a1.obeyed == []


async def test_a_placement_whose_task_was_never_reported_claims_it(tmp_path: Path) -> None:
    a1, store = FakeAgent("a1"), MemoryStore()
    async with House(store, (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
    # As in a backup that was made just before the agent's word came.
    path = await back_up(store, tmp_path / "backup")
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if ACTUAL.encode() not in line]
    again = MemoryStore()
    for line in lines[1:-1]:
        told = codec.load(dict[str, str], line)
        await again.commit((), (Put(told["key"], told["value"].encode()),))
    await again.commit(
        (), (Put("/h/1/ctl/meta/cluster", b'{"cluster": "%s", "incarnation": 9}' % a1.cluster.encode()),)
    )
    a1.obeyed.clear()
    async with House(again, (a1,)).running(registers=False) as controller:
        await settled(controller)
        assert unclaimed(controller) == []
        assert a1.obeyed == []


# Stopping


async def test_a_task_that_an_operator_stops_is_ended_and_forgotten_and_so_is_his_word(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        view, words = controller.view, controller.registry.unclaimed
        claimed = await words.stop("default", late[0])
        assert (claimed.task, claimed.change) == (late[0], None)
        await until(controller, lambda: view.task(late[0]) is None and not view.disowned.rows)
        assert [one.kind for one in a1.obeyed] == ["stop", "forget"]
        assert a1.obeyed[0].reason == "an operator has ended it"
        assert late[0] not in a1.tasks
        assert len(a1.tasks) == 2
        await in_harmony(controller, a1)
        with pytest.raises(NotFound):
            await words.stop("default", late[0])


async def test_one_that_runs_no_more_is_forgotten(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        a1.report(late[0], state=TaskState.FINISHED, ready=False)
        await until(controller, lambda: controller.view.task(late[0]).value.is_over)
        await controller.registry.unclaimed.stop("default", late[0])
        await until(controller, lambda: controller.view.task(late[0]) is None and not controller.view.disowned.rows)
        assert [one.kind for one in a1.obeyed] == ["forget"]


async def test_a_word_given_while_no_server_acts_is_obeyed_by_the_next(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        store = controller.view.mirror._store
    word = Disowned(task=late[0], agent="a1", at_ms=1)
    await store.commit((), (Put(f"{DISOWNED}a1/{late[0]}", codec.dump(word)),))
    async with House(store, (a1,)).running(registers=False) as controller:
        await until(controller, lambda: controller.view.task(late[0]) is None and not controller.view.disowned.rows)
        assert [one.kind for one in a1.obeyed] == ["stop", "forget"]


async def test_a_word_on_a_task_that_its_agent_does_not_have_goes(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        store = controller.view.mirror._store
        gone = f"{DISOWNED}a1/default.web.9.1-1"
        await store.commit(
            (), (Put(gone, codec.dump(Disowned(task=TaskId("default.web.9.1-1"), agent="a1", at_ms=1))),)
        )
        await until(controller, lambda: len(controller.view.disowned.rows) == 1)
        await until(controller, lambda: not controller.view.disowned.rows)
        assert unclaimed(controller) == late


async def test_words_on_an_agent_that_is_declared_dead_go_with_it(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        a1.lets_stop = False
        await controller.registry.unclaimed.stop("default", late[0])
        a1.cut()
        await until(controller, lambda: controller.view.links.rows["a1"].value.state is not LinkState.CONNECTED)
        await controller.cordons.declare_dead("a1")
        assert not controller.view.disowned.rows
        assert unclaimed(controller) == []


# Adopting


async def test_an_adopted_task_takes_its_slot_and_is_left_running(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        registry = controller.registry
        await registry.scale("default", "web", 3)
        await settled(controller)
        other = max(a1.tasks, key=lambda one: parse_task_id(one).number)
        assert parse_task_id(other).number.incarnation == LIFE
        claimed = await registry.unclaimed.adopt("default", late[0])
        await until(controller, lambda: registry.change(claimed.change).is_done)
        assert controller.view.task(late[0]).value.state is TaskState.RUNNING
        assert controller.view.task(late[0]).value.ready
        assert controller.view.placement(late[0]).value.reason == "adopted by an operator"
        assert other not in a1.tasks
        assert [(one.kind, one.task) for one in a1.obeyed[-2:]] == [("stop", other), ("forget", other)]
        assert len(a1.tasks) == 3
        await in_harmony(controller, a1)
        # It is the slot's like any other from now on.
        await registry.put(a_manifest(scale=3, env={"MODE": "new"}))
        await settled(controller)
        assert late[0] not in a1.tasks


async def test_it_can_be_adopted_before_the_job_has_placed_the_slot_anew(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1, resources=Resources(cpu=1300)) as (controller, late):
        registry = controller.registry
        # Three of these fill the agent, the one that nobody claims among them.
        await registry.scale("default", "web", 3)
        await until(controller, lambda: bool(controller.view.pending.rows))
        claimed = await registry.unclaimed.adopt("default", late[0])
        await until(controller, lambda: registry.change(claimed.change).is_done)
        assert a1.obeyed == []
        await until(controller, lambda: not controller.view.pending.rows)
        await in_harmony(controller, a1)


async def test_what_it_takes_of_its_agent_is_counted_where_its_template_is_known(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1, resources=Resources(cpu=700)) as (controller, late):
        bookings = Bookings(controller.view)
        await bookings.load()
        assert bookings.fleet.host("a1").cpu == 2100
        a1.report(late[0], state=TaskState.FAILED, ready=False)
        await until(controller, lambda: controller.view.task(late[0]).value.is_over)
        bookings = Bookings(controller.view)
        await bookings.load()
        assert bookings.fleet.host("a1").cpu == 1400


async def test_unscheduling_its_job_does_not_wait_for_it_and_leaves_it_alone(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        await controller.registry.delete("default", "web")
        await until(controller, lambda: not controller.view.jobs.rows)
        assert list(a1.tasks) == late
        assert unclaimed(controller) == late
        with pytest.raises(Conflict, match="there is no job web in namespace default: schedule it first, or end"):
            await controller.registry.unclaimed.adopt("default", late[0])


async def test_what_cannot_be_adopted_is_refused_with_what_would_help(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        view, registry = controller.view, controller.registry
        [known, *_] = sorted(set(a1.tasks) - set(late))

        async def refused(kind: type[Exception], told: str, task: str = late[0], namespace: str = "default") -> None:
            revision = await view.mirror._store.revision()
            with pytest.raises(kind, match=told):
                await registry.unclaimed.adopt(namespace, task)
            assert await view.mirror._store.revision() == revision

        await refused(Invalid, "a task id is", "web.0")
        await refused(NotFound, "there is no task", "default.web.0.9-9")
        await refused(NotFound, "in namespace other", namespace="other")
        await refused(Conflict, "is running, and not unclaimed: it belongs to job web", known)
        with pytest.raises(Conflict, match="scale that job down or unschedule it"):
            await registry.unclaimed.stop("default", known)
        await refused(Conflict, "job web has scale 2, and so no slot 2: scale it to 3 first, or end the task with")
        generation = view.task(late[0]).value.generation
        a1.report(late[0], generation="another")
        await until(controller, lambda: view.task(late[0]).value.generation == "another")
        await registry.scale("default", "web", 3)
        await settled(controller)
        await refused(Conflict, f"is of generation another, .* version 2 is {generation}, 1 is {generation}. Migrate")
        a1.report(late[0], generation=generation, state=TaskState.FAILED, ready=False)
        await until(controller, lambda: view.task(late[0]).value.is_over)
        await refused(Conflict, "runs no more; forget it with `harpoon stop")
        a1.report(late[0], state=TaskState.RUNNING, ready=True)
        await until(controller, lambda: not view.task(late[0]).value.is_over)
        a1.lets_stop = False
        await registry.delete("default", "web")
        await refused(Conflict, "job web is being unscheduled: schedule it again first")
        a1.cut()
        await until(controller, lambda: view.links.rows["a1"].value.state is not LinkState.CONNECTED)
        await refused(Conflict, "agent a1, which runs task .* is not connected")
        await registry.unclaimed.stop("default", late[0])
        await refused(Conflict, "is being stopped already")
        with pytest.raises(Conflict, match="is being stopped already"):
            await registry.unclaimed.stop("default", late[0])


async def test_a_task_that_is_placed_and_not_reported_is_none_of_these(tmp_path: Path) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, _):
        view = controller.view
        placed = next(iter(view.placements.rows.values())).value
        elsewhere = replace(placed, agent="a9", revision=99)
        await view.mirror._store.commit((), (Put(placement_key(elsewhere), codec.dump(elsewhere)),))
        await until(controller, lambda: view.placement(elsewhere.task) is not None)
        with pytest.raises(Conflict, match="is placed, and not unclaimed"):
            await controller.registry.unclaimed.stop("default", elsewhere.task)


@pytest.mark.parametrize("verb", ["adopt", "stop"])
async def test_whoever_is_overtaken_looks_again_and_gives_up_in_the_end(tmp_path: Path, verb: str) -> None:
    a1 = FakeAgent("a1")
    async with a_next_life(tmp_path, a1) as (controller, late):
        await controller.registry.scale("default", "web", 3)
        await settled(controller)
        store = controller.view.mirror._store
        key = f"{ACTUAL}a1/{late[0]}"

        class Overtaken:
            """A store at which the agent's word comes first, so often."""

            times = 0

            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            async def commit(self, compares: object, writes: object) -> int | None:
                if self.times:
                    self.times -= 1
                    entry = await store.get(key)
                    await store.commit((), (Put(key, entry.value),))
                return await store.commit(compares, writes)

        overtaken = Overtaken()
        words = Unclaimed(overtaken, controller.view, SystemClock())
        overtaken.times = 9
        with pytest.raises(Unavailable, match="keep"):
            await getattr(words, verb)("default", late[0])
        overtaken.times = 2
        await getattr(words, verb)("default", late[0])
        await settled(controller)


async def test_a_view_knows_the_claims_of_an_agent() -> None:
    view = View(MemoryStore(), incarnation=2, cluster="c1")
    assert view.claims("a1") == frozenset()
    assert not view.is_left("default/web")


async def test_what_was_just_adopted_stands_once_also_while_it_is_still_shown_as_unclaimed() -> None:
    store, placement = MemoryStore(), a_placement(is_exclusive=True)
    task = a_task(placement, state=TaskState.UNCLAIMED, reported=TaskState.RUNNING)
    told = Put(f"{ACTUAL}a1/{task.id}", codec.dump(task))
    await store.commit((), [told, Put(placement_key(placement), codec.dump(placement))])
    view = View(store, incarnation=2, cluster="c1")
    await view.mirror.load()
    assert standings_of(view, a_job(exclusive=True)) == (Standing(placement=placement, task=task),)
