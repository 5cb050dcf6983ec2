"""What the roster makes of word from an agent that this instance had failed to reach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harpoon.control import roster as module
from harpoon.control.roster import Roster
from harpoon.control.view import AGENTS, LINKS, View
from harpoon.kit import codec
from harpoon.model.agent import Link, LinkState
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.test_controller import an_agent
from tests.fakes import FakeAgent
from tests.faulty import Fault, FaultyStore

A1 = an_agent(FakeAgent("a1"), "http://a1")


@asynccontextmanager
async def a_roster(state: LinkState, *failed_by: str) -> AsyncIterator[tuple[Roster, View, MemoryStore]]:
    store = FaultyStore()
    link = Link(agent="a1", state=state, since_ms=7, reason="no answer", failed_by=failed_by)
    await store.commit((), (Put(f"{AGENTS}a1", codec.dump(A1)), Put(f"{LINKS}a1", codec.dump(link))))
    view = View(store, incarnation=1, cluster="c1")
    await view.mirror.load()
    async with asyncio.TaskGroup() as group:
        following = group.create_task(view.mirror.run())
        yield Roster(store, view, "s1"), view, store
        following.cancel()


async def failed_by(view: View, store: MemoryStore) -> tuple[str, ...]:
    await view.mirror.reached(await store.revision())
    link = view.links.rows["a1"].value
    assert (link.since_ms, link.reason) == (7, "no answer"), "nothing else of it changes"
    return link.failed_by


@pytest.mark.parametrize("state", [LinkState.INTERRUPTED, LinkState.LOST])
async def test_an_instance_that_has_word_from_an_agent_counts_for_it_again(state: LinkState) -> None:
    async with a_roster(state, "s2", "s1", "s3") as (roster, view, store):
        await roster.register(A1)
        assert await failed_by(view, store) == ("s2", "s3")


@pytest.mark.parametrize(("state", "others"), [(LinkState.CONNECTED, ("s1",)), (LinkState.LOST, ("s2",))])
async def test_word_from_an_agent_changes_nothing_where_it_is_no_news(
    state: LinkState, others: tuple[str, ...]
) -> None:
    async with a_roster(state, *others) as (roster, _, store):
        before = await store.revision()
        await roster.register(A1)
        assert await store.revision() == before


async def test_an_agent_is_registered_also_where_the_store_cannot_take_note_that_it_counts() -> None:
    async with a_roster(LinkState.LOST, "s1") as (roster, view, store):
        assert isinstance(store, FaultyStore)
        store.fail(Fault.REFUSED, prefix=LINKS)
        assert await roster.register(A1) == view.agents.rows["a1"].mod_revision
        assert store.is_through
        assert await failed_by(view, store) == ("s1",)


async def test_an_agent_that_says_much_and_cannot_be_reached_is_not_passed_on_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_roster(LinkState.LOST, "s1") as (roster, view, store):
        await roster.register(A1)
        assert await failed_by(view, store) == ()
        link = Link(agent="a1", state=LinkState.LOST, since_ms=7, reason="no answer", failed_by=("s1",))
        await view.mirror.reached(await store.commit((), (Put(f"{LINKS}a1", codec.dump(link)),)) or 0)
        await roster.register(A1)
        assert await failed_by(view, store) == ("s1",)
        monkeypatch.setattr(module, "COUNT_AGAIN_S", 0.0)
        await roster.register(A1)
        assert await failed_by(view, store) == ()
