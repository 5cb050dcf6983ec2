"""Slots of exclusive jobs have an occupant in the store, which refuses what a view that lacks something allows."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from harpoon.control import controller as module
from harpoon.control.deed import Deed
from harpoon.control.explaining import explain_job
from harpoon.control.occupancy import align
from harpoon.control.unclaimed import Unclaimed
from harpoon.control.view import ACTUAL, JOBS, PLACEMENTS, SLOTS, View, placement_key, slot_key
from harpoon.core import machine
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Unavailable
from harpoon.kit.loop import Pace
from harpoon.model.agent import Link, LinkState
from harpoon.model.job import Version
from harpoon.model.task import Occupant, TaskState
from harpoon.store.memory import MemoryStore
from harpoon.store.port import COMPARES_MAX, Change, Compare, Delete, Put, Store, Write
from tests.builders import a_job, a_placement, a_task
from tests.control.restoring import back_up, restored
from tests.control.test_controller import settled, until
from tests.control.test_exclusive import a_manifest, hosts, is_lost, is_moved, running

SLOT = SLOTS + "default/web/0"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PENDING_MAX", timedelta(seconds=1))
    monkeypatch.setattr(machine, "TICK", timedelta(seconds=0.05))


class Leaky(MemoryStore):
    """Leaves the next revision that writes a placement out of its watches, and says nothing; counts what it refuses."""

    is_leaking = False
    refused = 0

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        async for revision, changes in super().watch(prefix, after=after):
            is_left_out = self.is_leaking and any(change.key.startswith(PLACEMENTS) for change in changes)
            self.is_leaking &= not is_left_out
            yield revision, () if is_left_out else changes

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        revision = await super().commit(compares, writes)
        self.refused += revision is None
        return revision


async def has_leaked(store: Leaky) -> None:
    async with asyncio.timeout(5):
        while store.is_leaking:
            await asyncio.sleep(0.001)


async def occupant(store: Store, key: str = SLOT) -> Occupant | None:
    entry = await store.get(key)
    return None if entry is None else codec.load(Occupant, entry.value)


async def test_a_slot_whose_placement_the_view_lacks_is_not_placed_a_second_time() -> None:
    a1, a2 = hosts(2)
    store = Leaky()
    async with running(a1, a2, store=store) as controller:
        store.is_leaking = True
        await controller.registry.put(a_manifest())
        await has_leaked(store)
        first = await occupant(store)
        assert not controller.view.placements.rows
        with capture_logs() as told:
            await controller.registry.put(a_manifest(env={"MODE": "new"}))
            await until(controller, lambda: is_moved(controller, first.task))
            await settled(controller)
        [started] = {*a1.tasks, *a2.tasks}
        assert {*a1.denials_asked(), *a2.denials_asked()} == {first.task}
        assert (await occupant(store)).task == started
        events = [line["event"] for line in told]
        assert events.index("job_waits_for_view") < events.index("mirror_repaired")
        assert {line["key"] for line in told if line["event"] == "mirror_doubted"} == {SLOT}


async def test_a_view_that_was_compared_just_now_is_waited_for_and_the_store_left_in_peace() -> None:
    [a1] = hosts(1)
    store = Leaky()
    async with running(a1, store=store) as controller:
        for name in ("web", "other"):
            store.is_leaking = True
            await controller.registry.put(a_manifest(name))
            await has_leaked(store)
            if name == "web":
                await controller.registry.put(a_manifest(env={"MODE": "new"}))
                await settled(controller)
        store.refused = 0
        await controller.registry.put(a_manifest("other", env={"MODE": "new"}))
        await asyncio.sleep(0.5)
        assert not controller.view.placements_of("default/other")
        assert store.refused == 1


async def test_a_view_that_is_doubted_again_is_compared_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOUBTED_EVERY", timedelta(seconds=0.3))
    [a1] = hosts(1)
    store = Leaky()
    async with running(a1, store=store) as controller:
        for name in ("web", "other"):
            store.is_leaking = True
            await controller.registry.put(a_manifest(name))
            await has_leaked(store)
            await controller.registry.put(a_manifest(name, env={"MODE": "new"}))
            await settled(controller, name)


async def test_what_an_earlier_release_has_placed_is_named_as_soon_as_it_is_seen() -> None:
    [a1] = hosts(1)
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        named = await occupant(store)
        gone = Occupant(task="default.web.0.1-1", agent="a1")
        for write in (Delete(SLOT), Put(SLOT, codec.dump(gone))):
            revision = await store.commit((), (write,))
            await until(controller, lambda at=revision: controller.view.revision > at)
            assert await occupant(store) == named
        revision = controller.view.revision
        await asyncio.sleep(0.1)
        assert (controller.view.revision, a1.denials_asked()) == (revision, [])


async def test_what_was_declared_dead_has_no_slot_any_more() -> None:
    a1, a2 = hosts(2)
    store = MemoryStore()
    async with running(a1, a2, store=store) as controller:
        await controller.cordons.cordon("a2")
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        a1.cut()
        await is_lost(controller, "a1")
        await controller.cordons.uncordon("a2")
        await controller.cordons.declare_dead("a1")
        await until(controller, lambda: len(a2.tasks) == 2)
        await settled(controller)
        assert {(await occupant(store, f"{SLOTS}default/web/{slot}")).agent for slot in range(2)} == {"a2"}


async def test_a_job_that_goes_with_a_dead_agent_leaves_no_occupant() -> None:
    [a1] = hosts(1)
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        a1.cut()
        await is_lost(controller, "a1")
        await controller.registry.delete("default", "web")
        await controller.cordons.declare_dead("a1")
        await until(controller, lambda: not controller.view.jobs.rows)
        left = [entry.key async for page in store.list("/h/1/ctl/") for entry in page.entries if "web" in entry.key]
        assert left == []


async def test_a_slot_whose_occupant_cannot_be_read_is_not_placed_and_says_so() -> None:
    [a1] = hosts(1)
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await store.commit((), (Put(SLOT, b'{"of": "a later release"}'), Put(SLOTS + "default/other/0", b"?")))
        await until(controller, lambda: len(controller.view.occupants.unreadable) == 2)
        await controller.registry.put(a_manifest())
        row = controller.view.jobs.rows["default/web"]
        why = await explain_job(controller.view, row, controller.bookings(), SystemClock().now())
        assert any("slot 0 waits: the record of" in reason for reason in why.reasons), why.reasons
        await asyncio.sleep(0.1)
        assert a1.starts() == []
        await store.commit((), (Delete(SLOT),))
        await until(controller, lambda: not controller.view.occupants.unreadable.get("default/web/0"))
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await settled(controller)


async def test_a_restored_registry_knows_who_has_its_slots(tmp_path: Path) -> None:
    [a1] = hosts(1)
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        path = await back_up(store, tmp_path / "backup")
    again = await restored(path, 2)
    assert await occupant(again) == await occupant(store)
    [first] = a1.tasks
    async with running(a1, store=again) as controller:
        await controller.registry.put(a_manifest(env={"MODE": "new"}))
        await until(controller, lambda: is_moved(controller, first))
        await settled(controller)


async def an_unclaimed_task(store: Store) -> tuple[Unclaimed, View, str]:
    """Have an agent report a task of an exclusive job that no record knows; return who adopts it, and its id."""
    job, placement = a_job(exclusive=True), a_placement(is_exclusive=True)
    task = a_task(placement, state=TaskState.UNCLAIMED, reported=TaskState.RUNNING)
    version = Version(
        namespace=job.namespace, name=job.name, version=1, generation=task.generation, spec=job.spec, at_ms=1
    )
    link = Link(agent=task.agent, state=LinkState.CONNECTED, since_ms=1)
    records = {
        f"{ACTUAL}{task.agent}/{task.id}": task,
        "/h/1/ctl/jobs/default/web": job,
        "/h/1/ctl/versions/default/web/1": version,
        f"/h/1/ctl/links/{task.agent}": link,
    }
    await store.commit((), [Put(key, codec.dump(record)) for key, record in records.items()])
    view = View(store, incarnation=2, cluster="c1")
    await view.mirror.load()
    return Unclaimed(store, view, SystemClock()), view, task.id


async def followed(view: View, work: Unclaimed, task: str) -> None:
    following = asyncio.ensure_future(view.mirror.run())
    try:
        await work.adopt("default", task)
    finally:
        following.cancel()


async def test_a_task_that_is_adopted_has_its_slot() -> None:
    store = MemoryStore()
    words, view, task = await an_unclaimed_task(store)
    await followed(view, words, task)
    assert (await occupant(store)).task == task


async def test_a_task_is_not_adopted_into_a_slot_that_another_has_unseen() -> None:
    store = Leaky()
    words, view, task = await an_unclaimed_task(store)
    other = a_placement(is_exclusive=True, agent="a2", revision=77)
    store.is_leaking = True
    named = Occupant(task=other.task, agent=other.agent)
    await store.commit((), (Put(placement_key(other), codec.dump(other)), Put(SLOT, codec.dump(named))))
    with pytest.raises(Unavailable, match="others keep changing"):
        await followed(view, words, task)
    assert await occupant(store) == named
    # Also when only the placement is what it lacks.
    await view.mirror.verify()
    view.placements._rows.clear()
    view._placements._jobs.clear()
    with pytest.raises(Unavailable, match="others keep changing"):
        await followed(view, words, task)


async def test_of_two_placements_of_a_slot_either_may_be_the_one_that_is_named() -> None:
    store = MemoryStore()
    older, newer = (a_placement(is_exclusive=True, revision=revision) for revision in (5, 9))
    view = View(store, incarnation=1, cluster="c1")
    await store.commit((), [Put(placement_key(one), codec.dump(one)) for one in (newer, older)])
    await view.mirror.load()
    [(write, compares)] = align(view, "default/web", (), ())
    assert codec.load(Occupant, write.value).task == newer.task
    assert [compare.key for compare in compares] == [slot_key(newer), placement_key(newer)]
    assert await store.commit(compares, (Put(SLOT, codec.dump(Occupant(task=older.task, agent=older.agent))),))
    view = View(store, incarnation=1, cluster="c1")
    await view.mirror.load()
    assert list(align(view, "default/web", (), ())) == []
    # Once that one is denied, the slot is the other's.
    denied = replace(older, is_revoked=True, is_denied=True)
    await store.commit((), (Put(placement_key(older), codec.dump(denied)),))
    view = View(store, incarnation=1, cluster="c1")
    await view.mirror.load()
    [(write, _)] = align(view, "default/web", (), {older.task})
    assert codec.load(Occupant, write.value).task == newer.task


async def test_commits_hold_no_more_compares_than_a_store_takes() -> None:
    units = tuple((Delete(f"/slots/{number}"),) for number in range(120))
    guards = {unit[0].key: (Compare(unit[0].key, mod=1), Compare(unit[0].key + "/of", mod=0)) for unit in units}
    deed = Deed(key="default/web", compares=(Compare("/hold", mod=1),), units=units, guards=guards)
    commits = list(deed.commits())
    assert [write for commit in commits for write in commit] == [unit[0] for unit in units]
    assert max(len(deed.compares_for(commit)) for commit in commits) <= COMPARES_MAX


async def test_a_slot_that_is_not_wanted_any_more_is_left_in_one_commit() -> None:
    [a1] = hosts(1)
    store = MemoryStore()
    async with running(a1, store=store) as controller:
        await controller.registry.put(a_manifest(scale=2))
        await settled(controller)
        before = controller.view.revision
        await controller.registry.scale("default", "web", 1)
        await until(controller, lambda: len(controller.view.placements.rows) == 1)
        await settled(controller)
        gone = [{change.table.name for change in changes} for _, changes in controller.view.mirror.since(before) or ()]
        assert {"placements", "slots"} in gone
        assert await occupant(store, f"{SLOTS}default/web/1") is None


@pytest.mark.parametrize("exclusive", [False, True])
async def test_what_was_placed_unseen_for_a_job_that_is_gone_goes_too(exclusive: bool) -> None:
    [a1] = hosts(1)
    store = Leaky()
    async with running(a1, store=store) as controller:
        store.is_leaking = True
        await controller.registry.put(a_manifest(exclusive=exclusive))
        await has_leaked(store)
        await controller.registry.delete("default", "web")
        await until(controller, lambda: not controller.view.jobs.rows)
        assert await controller.view.mirror.verify() == 1 + exclusive
        await until(controller, lambda: not controller.view.placements.rows and not controller.view.actual.rows)
        async with asyncio.timeout(5):
            while left := [
                one.key async for page in store.list("/h/1/ctl/") for one in page.entries if "web" in one.key
            ]:
                await asyncio.sleep(0.01)
        assert (a1.tasks, left) == ({}, [])


async def test_what_is_placed_for_a_job_that_cannot_be_read_stays() -> None:
    [a1] = hosts(1)
    store = Leaky()
    async with running(a1, store=store, pace=Pace(resync=timedelta(seconds=0.05))) as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
        revision = await store.commit((), (Put(JOBS + "default/web", b'{"of": "a later release"}'),))
        await until(controller, lambda: bool(controller.view.jobs.unreadable))
        await asyncio.sleep(0.2)
        assert controller.view.revision == revision
        assert len(a1.tasks) == len(controller.view.placements.rows) == 1
        assert store.refused == 0
