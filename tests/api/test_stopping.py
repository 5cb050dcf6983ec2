"""An instance that is told to stop: what it holds is another's at once, and who asked it something is answered."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp

from harpoon.client.peer import PeerClient
from harpoon.config import Listen, ServerSettings
from harpoon.control.connecting import Connecting
from harpoon.control.controller import Controller
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.sharing import Sharing, homes_of
from harpoon.control.work import WorkExchange
from harpoon.kit.clock import Random, SystemClock
from harpoon.service import server
from harpoon.store.memory import MemoryStore
from tests.api.rig import PATIENCE_S, a_manifest
from tests.api.test_site import SlowRegistry
from tests.control.test_controller import House, an_agent
from tests.fakes import FakeAgent
from tests.ports import free_port


async def test_an_instance_gives_its_holds_back_while_requests_under_way_are_still_answered() -> None:
    store, a1 = MemoryStore(), FakeAgent("a1")
    settings = ServerSettings(listen=Listen("127.0.0.1", free_port()), instance="first")
    means = Means(
        store=store, connect=lambda _: a1, clock=SystemClock(), rng=Random(1), instance="first", settle=timedelta(0)
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        first = await Controller.open(
            means, Metrics(), partial(WorkExchange, clock=means.clock, homes=homes_of(means.instance))
        )
        sharing = Sharing(means, first.view, first.runs, first.exchange)
        doors = server._doors(settings, means, first, PeerClient(session), None, sharing)
        doors = replace(doors, registry=SlowRegistry(store, first.view, SystemClock()))
        house = server._House(
            settings=settings,
            means=means,
            controller=first,
            connecting=Connecting(first.exchange, first.runs.conductor_of, "first", ()),
            doors=doors,
            own=None,
            recorder=None,
        )
        serving = group.create_task(server._keep(house, stop, lambda _: ready.set()))
        await ready.wait()
        await first.roster.register(an_agent(a1, "http://a1"))
        await until(lambda: first.is_commandable("a1") and first.bookings() is not None)

        second = await stack.enter_async_context(House(store, (a1,), instance="second").running(registers=False))
        put = group.create_task(a_put(session, settings.listen.port))
        await doors.registry.begun.wait()
        stop.set()
        began = time.monotonic()
        await until(lambda: second.is_commandable("a1") and second.bookings() is not None)
        assert time.monotonic() - began < 0.5
        assert not serving.done()
        doors.registry.may_go_on.set()
        assert await put == 202
        async with asyncio.timeout(PATIENCE_S):
            await serving


async def a_put(session: aiohttp.ClientSession, port: int) -> int:
    url = f"http://127.0.0.1:{port}/v1/namespaces/default/jobs/web"
    async with session.put(url, json=a_manifest()) as response:
        return response.status


async def until(is_true: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_true():
            await asyncio.sleep(0.005)
