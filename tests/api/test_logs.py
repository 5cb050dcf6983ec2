"""Logs passed on from an agent that is played by a small server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from harpoon.agent.client import AgentClient
from harpoon.model.task import TaskState
from tests.api.rig import Rig, a_rig
from tests.builders import a_job, a_placement, a_task
from tests.ports import free_port

OLD, NEW, OTHER = a_placement(revision=5), a_placement(revision=9), a_placement(slot=1, revision=9)
LOGS = "/v1/namespaces/default/jobs/web/logs"


class LoggingAgent:
    """Answers with what it was asked for; a followed log goes on until `finish`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.finish = asyncio.Event()
        self.left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.match_info["id"], dict(request.query)))
        if request.match_info["id"] == OTHER.task:
            return web.json_response({"title": "no such task"}, status=404)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(f"log of {request.match_info['id']}\n".encode())
        if request.query["follow"] == "true":
            try:
                await self.finish.wait()
                await response.write(b"the end\n")
            finally:
                self.left.set()
        return response


@asynccontextmanager
async def a_logging_agent() -> AsyncIterator[tuple[Rig, LoggingAgent]]:
    """Doors, and an agent that they fetch logs from: one task over, its successor running, one that only the view knows."""
    agent = LoggingAgent()
    app = web.Application()
    app.router.add_get("/v1/tasks/{id}/logs", agent.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as session:
        client = AgentClient(session, f"http://127.0.0.1:{port}", None)
        async with a_rig(logs=lambda _: client) as rig:
            await rig.write(a_job(), OLD, NEW, OTHER)
            await rig.write(a_task(OLD, state=TaskState.FAILED), a_task(NEW), a_task(OTHER))
            yield rig, agent
    await runner.cleanup()


async def test_the_log_of_a_task_is_passed_on_as_it_is() -> None:
    async with a_logging_agent() as (rig, agent):
        answer = await rig.get(f"/v1/tasks/{NEW.task}/logs?stream=stderr&tail=10&follow=false")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.body == f"log of {NEW.task}\n".encode()
        assert agent.asked == [(NEW.task, {"stream": "stderr", "follow": "false", "tail": "10"})]


@pytest.mark.parametrize(("query", "task"), [("slot=0", NEW.task), (f"task={OLD.task}", OLD.task)])
async def test_the_log_of_a_job_is_that_of_the_task_named_or_of_the_latest_in_the_slot(query: str, task: str) -> None:
    async with a_logging_agent() as (rig, _):
        assert (await rig.get(f"{LOGS}?{query}")).body == f"log of {task}\n".encode()


async def test_a_job_of_one_slot_needs_no_slot_named() -> None:
    async with a_logging_agent() as (rig, _):
        assert (await rig.get(LOGS)).status == 400
        await rig.write(gone=[OTHER, a_task(OTHER)])
        assert (await rig.get(LOGS)).body == f"log of {NEW.task}\n".encode()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("slot=7", 404),
        ("slot=x", 400),
        ("slot=-1", 400),
        ("task=default.web.0.1-1", 404),
        (f"slot=0&task={NEW.task}", 400),
        ("slot=0&stream=stdin", 400),
        ("slot=0&tail=many", 400),
        ("slot=0&follow=yes", 400),
        ("slot=0&since=1h", 400),
        ("slot=1", 404),
    ],
)
async def test_logs_that_cannot_be_asked_for(query: str, status: int) -> None:
    async with a_logging_agent() as (rig, _):
        assert (await rig.get(f"{LOGS}?{query}")).status == status


async def test_a_task_that_no_agent_has_yet_has_no_log() -> None:
    async with a_logging_agent() as (rig, _):
        placed = a_placement(slot=2, revision=12)
        await rig.write(placed)
        answer = await rig.get(f"/v1/tasks/{placed.task}/logs")
        assert answer.status == 409
        assert "has not reported it yet" in answer.json["detail"]


async def test_a_followed_log_goes_on_until_the_agent_ends_it() -> None:
    async with a_logging_agent() as (rig, agent), rig.watch(f"/v1/tasks/{NEW.task}/logs?follow=true") as reader:
        assert await reader.response.content.readline() == f"log of {NEW.task}\n".encode()
        agent.finish.set()
        assert await reader.response.content.read() == b"the end\n"


async def test_the_agent_is_let_go_when_the_reader_leaves() -> None:
    async with a_logging_agent() as (rig, agent):
        async with rig.watch(f"/v1/tasks/{NEW.task}/logs?follow=true") as reader:
            await reader.response.content.readline()
            reader.response.close()
        async with asyncio.timeout(5):
            await agent.left.wait()


async def test_a_followed_log_ends_when_the_instance_drains() -> None:
    async with a_logging_agent() as (rig, agent), rig.watch(f"/v1/tasks/{NEW.task}/logs?follow=true") as reader:
        await reader.response.content.readline()
        rig.doors.drain.set()
        assert await reader.response.content.read() == b""
        async with asyncio.timeout(5):
            await agent.left.wait()


async def test_an_agent_that_cannot_be_reached_is_told_as_unavailable() -> None:
    async with aiohttp.ClientSession() as session:
        client = AgentClient(session, f"http://127.0.0.1:{free_port()}", None)
        async with a_rig(logs=lambda _: client) as rig:
            await rig.write(a_job(), NEW, a_task(NEW))
            answer = await rig.get(f"/v1/tasks/{NEW.task}/logs")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_head_of_a_followed_log_ends() -> None:
    async with a_logging_agent() as (rig, _):
        answer = await rig.ask("HEAD", f"/v1/tasks/{NEW.task}/logs?follow=true")
        assert (answer.status, answer.body) == (200, b"")
