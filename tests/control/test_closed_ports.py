"""Ports that no operation calls, as servers and agents come and go."""

import asyncio

from harpoon.control.closed_ports import ClosedPorts
from harpoon.control.view import AGENTS, View
from harpoon.kit import codec
from harpoon.model.instance import Instance
from harpoon.store.hold import INSTANCES
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put
from tests.control.test_controller import an_agent
from tests.fakes import FakeAgent


async def test_they_are_those_of_the_store_and_of_whoever_is_there_now() -> None:
    store = MemoryStore()
    view = View(store, incarnation=1, cluster="test")
    one = Instance(name="one", url="http://10.0.0.1:4460", version="1", since_ms=1)
    nowhere = Instance(name="two", url="", version="1", since_ms=1)
    await store.commit((), [Put(f"{INSTANCES}{each.name}", codec.dump(each)) for each in (one, nowhere)])
    await view.mirror.load()
    closed = ClosedPorts(view, {2379, 4450})
    following = asyncio.ensure_future(view.mirror.run())
    try:
        assert [port in closed for port in (2379, 4450, 4460, 4451, 80)] == [True, True, True, False, False]
        agent = an_agent(FakeAgent("a1"), "http://10.0.0.2:4451")
        revision = await store.commit((), [Put(f"{AGENTS}a1", codec.dump(agent)), Delete(f"{INSTANCES}one")])
        await view.mirror.reached(revision or 0)
        assert [port in closed for port in (2379, 4450, 4460, 4451)] == [True, True, False, True]
    finally:
        following.cancel()
        await asyncio.wait((following,))
