"""The loops when the store is away for a moment, or holds what they cannot read."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from harpoon.control.view import ACTUAL, JOBS, PLACEMENTS
from harpoon.kit.errors import Unavailable
from harpoon.model.agent import Agent, LinkState
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Change, Compare, Delete, Put, StoreUnavailable, Write
from tests.control.test_controller import House, a_manifest, an_agent, settled, until
from tests.fakes import FakeAgent


class FlakyStore(MemoryStore):
    """A store that cannot answer some of the commits that touch a prefix."""

    def __init__(self, prefix: str, failures: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.failures = failures

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        if self.failures and any(write.key.startswith(self.prefix) for write in writes):
            self.failures -= 1
            raise StoreUnavailable("away for a moment", maybe_applied=False)
        return await super().commit(compares, writes)


async def test_a_placement_whose_commit_failed_is_decided_again() -> None:
    store = FlakyStore(PLACEMENTS, failures=2)
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
    assert store.failures == 0


async def test_what_an_agent_reports_is_written_once_the_store_is_back() -> None:
    store = FlakyStore(ACTUAL, failures=2)
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await controller.registry.put(a_manifest())
        await settled(controller)
    assert store.failures == 0


async def test_a_placement_that_cannot_be_read_does_not_stop_its_task() -> None:
    a1 = FakeAgent("a1")
    store = MemoryStore()
    async with House(store, (a1,)).running() as controller:
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        [row] = controller.view.placements.rows.values()
        key = f"{PLACEMENTS}a1/{row.value.task}"
        await store.commit((), [Put(key, b"not a placement")])
        await until(controller, lambda: bool(controller.view.placements.unreadable))
        controller.registry.status("default", "web")
        await asyncio.sleep(0.1)
        assert row.value.task in a1.tasks
        assert a1.tasks[row.value.task].ready
        await store.commit((), [Delete(key)])


async def test_an_agent_that_is_only_listed_is_asked_who_it_is() -> None:
    a1 = FakeAgent("a1")
    listed = {"a1": "http://a1", "a2": "http://a2"}

    class Transport:
        def __init__(self, endpoint: str) -> None:
            self.endpoint = endpoint

        async def describe(self) -> Agent:
            if self.endpoint != "http://a1":
                raise Unavailable("nobody there")
            return an_agent(a1, "http://elsewhere")

    house = House(MemoryStore(), ())
    house.agents = {"http://a1": a1}
    async with house.running(registers=False) as controller, asyncio.TaskGroup() as group:
        following = group.create_task(controller.roster.follow(listed, Transport))
        await until(controller, lambda: "a1" in controller.view.links.rows)
        await until(controller, lambda: controller.view.links.rows["a1"].value.state is LinkState.CONNECTED)
        assert controller.view.agents.rows["a1"].value.endpoint == "http://a1"
        following.cancel()


class Forgetful(MemoryStore):
    """A store whose watch leaves out what happens to a job, and counts commits."""

    forgets = False
    commits = 0

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:
        async for revision, changes in super().watch(prefix, after=after):
            yield revision, tuple(change for change in changes if not (self.forgets and change[0].startswith(JOBS)))

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        self.commits += 1
        return await super().commit(compares, writes)


async def test_a_job_whose_change_the_view_has_missed_is_not_decided_without_a_pause() -> None:
    store = Forgetful()
    async with House(store, (FakeAgent("a1"),)).running() as controller:
        await controller.registry.put(a_manifest(scale=1))
        await settled(controller)
        store.forgets = True
        job = await store.get(f"{JOBS}default/web")
        assert job is not None
        await store.commit((), [Put(job.key, job.value)])
        [row] = controller.view.placements.rows.values()
        before = store.commits
        await store.commit((), [Delete(f"{PLACEMENTS}a1/{row.value.task}")])
        await asyncio.sleep(0.5)
        # Withdrawn, decided once more, refused; what the agent has is stopped and forgotten.
        assert store.commits - before < 10
        store.forgets = False
        assert await controller.view.mirror.verify() == 1
        await settled(controller)
