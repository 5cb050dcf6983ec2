"""What a server's client makes of an agent's answers, good or bad."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from harpoon.agent import client
from harpoon.agent.client import AgentClient
from harpoon.kit.errors import Fenced, Unavailable
from harpoon.model.name import TaskId
from harpoon.model.token import Token
from harpoon.model.wire import Adopt, Commands
from tests.agent.rig import TOKEN, serving
from tests.ports import free_port

ADOPT = Adopt(token=TOKEN, instance="i", uid="u", cluster="c")


async def peer(handler) -> tuple[web.AppRunner, str]:
    runner, port = await serving(
        {("GET", "/v1/tasks"): handler, ("POST", "/v1/adopt"): handler, ("POST", "/v1/commands"): handler}
    )
    return runner, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (409, b'{"title": "no", "mark": {"incarnation": 1, "revision": 5}}', Fenced),
        (409, b"nonsense", Fenced),
        (409, b'{"code": "other_agent"}', Unavailable),
        (200, b"nonsense", Unavailable),
        (200, b"{}", Unavailable),
        (302, b"", Unavailable),
        (404, b"{}", Unavailable),
        (500, b"x" * 100_000, Unavailable),
    ],
)
async def test_a_client_tells_errors_apart(status, body, error):
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "http://127.0.0.1:1/"})

    runner, url = await peer(answer)
    try:
        async with aiohttp.ClientSession() as session:
            caller = AgentClient(session, url, None)
            with pytest.raises(error) as raised:
                await caller.adopt(ADOPT)
            if b"mark" in body:
                assert raised.value.mark == Token(incarnation=1, revision=5)
            with pytest.raises(error):
                await caller.command(Commands(token=TOKEN, instance="i", uid="u", commands=()))
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "events",
    [
        b"",
        b"event: snapshot\ndata: nonsense\n\n",
        b'event: changed\ndata: {"boot": 1}\n\n',
    ],
)
async def test_a_stream_that_ends_or_tells_nonsense_is_unavailable(events):
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(events)
        return response

    runner, url = await peer(answer)
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(Unavailable):
                await anext(AgentClient(session, url, None).stream())
    finally:
        await runner.cleanup()


async def test_a_stream_is_read_however_it_is_cut(tmp_path):
    snapshot = b'event: snapshot\ndata: {"agent":"a","uid":"u","seq":3,"boot":"b","tasks":[]}\n\n'
    changed = b'event: changed\ndata: {"boot":"b","seq":4,"gone":["x"]}\n\n'
    whole = snapshot + b": \n\n" + changed + b"event: newer\ndata: {}\n\n"

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for at in range(0, len(whole), 7):
            await response.write(whole[at : at + 7])
            await asyncio.sleep(0)
        return response

    runner, url = await peer(answer)
    try:
        async with aiohttp.ClientSession() as session:
            told = []
            with pytest.raises(Unavailable, match="ended the stream"):
                async for event in AgentClient(session, url + "/", None).stream():
                    told += [event]
        assert [None if event is None else event.seq for event in told] == [3, None, 4, None]
    finally:
        await runner.cleanup()


async def test_nobody_listening_is_unavailable():
    async with aiohttp.ClientSession() as session:
        caller = AgentClient(session, f"http://127.0.0.1:{free_port()}", None)
        with pytest.raises(Unavailable):
            await caller.adopt(ADOPT)
        with pytest.raises(Unavailable):
            await anext(caller.stream())
        with pytest.raises(Unavailable):
            await caller.logs(TaskId("default.web.0.1-1"))


async def test_a_silent_stream_is_unavailable(monkeypatch):
    monkeypatch.setattr(client, "_STREAM_TIMEOUT", aiohttp.ClientTimeout(total=None, sock_read=0.05))

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(10)
        return response

    runner, url = await peer(answer)
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(Unavailable, match="no answer in time"):
                await anext(AgentClient(session, url, None).stream())
    finally:
        await runner.cleanup()
