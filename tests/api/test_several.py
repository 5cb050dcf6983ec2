"""Two instances on one store: either answers anything, also right after the other was told, and neither waits long."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from harpoon.api import pages
from harpoon.client import peer
from harpoon.client.peer import PeerClient
from harpoon.control.view import INSTANCES
from harpoon.kit.errors import Unavailable
from harpoon.model.instance import Instance
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete
from tests.api.rig import TOKEN, Answer, Rig, a_manifest, a_rig
from tests.api.telling import as_problem
from tests.builders import a_job, an_agent

JOBS = "/v1/namespaces/default/jobs"


@asynccontextmanager
async def two(store: Any = None, **settings: Any) -> AsyncIterator[tuple[Rig, Rig]]:
    """Two instances that know of each other."""
    store = store or MemoryStore()
    async with (
        a_rig(store=store, instance="s1", **settings) as first,
        a_rig(store=store, instance="s2", **settings) as second,
    ):
        for rig in (first, second):
            record = Instance(name=rig.doors.instance, url=rig.doors.url, version="1", since_ms=1)
            revision = await first.write(record)
        await second.view.mirror.reached(revision)
        yield first, second


async def behind(rig: Rig) -> "Late":
    """Let the view of an instance stand still from now on."""
    late = Late(rig)
    await late.begin()
    return late


class Late:
    """Holds back what the store tells an instance's view."""

    def __init__(self, rig: Rig) -> None:
        self._mirror = rig.view.mirror
        self._apply: Callable[..., Any] = self._mirror._apply
        self._kept: list[tuple[Any, ...]] = []

    async def begin(self) -> None:
        self._mirror._apply = lambda *given: self._kept.append(given)  # type: ignore[method-assign]

    def end(self) -> None:
        self._mirror._apply = self._apply  # type: ignore[method-assign]
        for given in self._kept:
            self._apply(*given)


# Pages.


async def listed(first: Rig, second: Rig, count: int = 5) -> str:
    """Make jobs, and return the token of the second page, which the first instance keeps."""
    revision = await first.write(*(a_job(name=f"j{number}") for number in range(count)))
    await second.view.mirror.reached(revision)
    return (await first.get("/v1/jobs?limit=2")).json["continue"]


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json["items"]]


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_list_begun_at_one_instance_goes_on_at_another(token: str | None) -> None:
    async with two(token=token) as (first, second):
        cursor = await listed(first, second)
        # What happens meanwhile does not show: it is the same snapshot.
        await second.write(gone=(a_job(name="j3"),))
        page = await second.get(f"/v1/jobs?limit=2&continue={cursor}", X_Request_Id="one-and-the-same")
        assert (page.status, names(page), page.json["remaining"]) == (200, ["j2", "j3"], 1)
        assert page.headers["Harpoon-Revision"] == page.json["revision"]
        assert page.headers["X-Request-Id"] == "one-and-the-same"
        last = await second.get(f"/v1/jobs?continue={page.json['continue']}&min_revision={page.json['revision']}")
        assert (last.status, names(last), "continue" in last.json) == (200, ["j4"], False)


async def test_a_cursor_of_another_list_is_refused_wherever_it_is_given() -> None:
    async with two() as (first, second):
        cursor = await listed(first, second)
        told = as_problem(await second.get(f"/v1/agents?continue={cursor}"), 400, "invalid")
        assert "another list" in told["detail"]


async def test_a_page_that_was_passed_on_is_not_passed_on_again() -> None:
    async with two() as (first, second):
        cursor = await listed(first, second)
        answer = await second.get(f"/v1/jobs?continue={cursor}", **{pages.PASSED_ON: "1"})
        assert as_problem(answer, 410, "continue_expired")


async def test_a_list_begun_at_an_instance_that_is_gone_is_to_be_started_again() -> None:
    async with two() as (first, second):
        cursor = await listed(first, second)
        revision = await first.store.commit((), (Delete(INSTANCES + "s1"),))
        await second.view.mirror.reached(revision)
        told = as_problem(await second.get(f"/v1/jobs?continue={cursor}"), 410, "continue_expired")
        assert "start the list again" in told["detail"]


@asynccontextmanager
async def a_peer(answer: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[str]:
    """Somebody who accepts connections and answers as told; yields its URL."""

    writers: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        answer(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def says_nothing(_: asyncio.StreamWriter) -> None:
    pass


def never_ends(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000)


def denies(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


def is_no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("answer", [says_nothing, never_ends, denies, is_no_http])
async def test_a_peer_that_does_not_answer_as_it_should_costs_a_page_two_seconds_at_most(
    answer: Callable[[asyncio.StreamWriter], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "PASSED_BYTES_MAX", 50_000)
    async with a_rig(instance="s2") as rig, a_peer(answer) as url:
        await rig.write(Instance(name="s1", url=url, version="1", since_ms=1))
        began = time.monotonic()
        gone = await rig.get(f"/v1/jobs?continue=s1.{'x' * 16}.2")
        assert time.monotonic() - began < 3
        assert as_problem(gone, 410, "continue_expired")


@pytest.mark.parametrize("answer", [says_nothing, never_ends, denies, is_no_http])
async def test_a_peer_that_does_not_say_how_it_stands_is_given_up_within_a_second(
    answer: Callable[[asyncio.StreamWriter], None],
) -> None:
    async with a_rig() as rig, a_peer(answer) as url:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="127"):
            await PeerClient(rig.session).health(url)
        assert time.monotonic() - began < 2


async def test_an_instance_that_stops_still_says_how_it_stands() -> None:
    async def draining(_: web.Request) -> web.Response:
        told = {"status": "draining", "instance": "s1", "version": "1", "revision": "1.2", "now_ms": 5}
        return web.json_response(told, status=503)

    app = web.Application()
    app.router.add_get("/v1/health", draining)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with a_rig() as rig:
        told = await PeerClient(rig.session).health(f"http://127.0.0.1:{site.port}")
    await runner.cleanup()
    assert (told.instance, told.revision, told.now_ms) == ("s1", "1.2", 5)


# What an instance is asked before its view shows what another one has told.


async def test_a_change_accepted_by_one_instance_is_known_to_another_at_once() -> None:
    async with two() as (first, second):
        late = await behind(second)
        change = (await first.put()).json["change"]
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(second.get(f"/v1/changes/{change}"))
            await asyncio.sleep(0.05)
            late.end()
        assert (asked.result().status, asked.result().json["id"]) == (200, change)


async def test_a_change_that_was_never_made_is_not_waited_for() -> None:
    async with two() as (first, second):
        change = (await first.put()).json["change"]
        head, _, revision = change.rpartition("-")
        as_problem(await second.get(f"/v1/changes/{head}-{int(revision) + 1000}"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{JOBS}/web/scale", {"scale": 5}),
        ("DELETE", f"{JOBS}/web", None),
        ("PUT", f"{JOBS}/web", a_manifest(scale=7)),
    ],
)
async def test_a_job_made_by_way_of_one_instance_can_be_changed_by_way_of_another_at_once(
    method: str, path: str, body: Any
) -> None:
    async with two() as (first, second):
        late = await behind(second)
        tag = (await first.put()).headers["ETag"]
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(second.ask(method, path, body, If_Match=tag))
            await asyncio.sleep(0.05)
            late.end()
        assert asked.result().status == 202, asked.result().body


async def test_a_job_changed_by_way_of_one_instance_can_be_changed_back_by_way_of_another_at_once() -> None:
    async with two() as (first, second):
        old = (await first.put(scale=1)).json["revision"]
        await second.get(f"/v1/jobs?min_revision={old}")
        late = await behind(second)
        await first.put(scale=2)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(second.put(scale=1))
            await asyncio.sleep(0.05)
            late.end()
        assert asked.result().status == 202
        assert first.view.jobs.rows["default/web"].value.spec.scale == 1


async def test_a_read_waits_for_the_revision_that_another_instance_told() -> None:
    async with two() as (first, second):
        late = await behind(second)
        revision = (await first.put()).json["revision"]
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(second.get(f"{JOBS}/web?min_revision={revision}"))
            await asyncio.sleep(0.05)
            late.end()
        assert asked.result().status == 200


async def test_a_watch_begun_at_one_instance_is_resumed_at_another_without_a_gap() -> None:
    async with two() as (first, second):
        await first.put("a")
        async with first.watch("kinds=jobs") as reader:
            cursor = (await reader.until_type("synced"))[-1]["revision"]
        for name in ("b", "c"):
            await first.put(name)
        async with second.watch(f"kinds=jobs&after={cursor}") as reader:
            told = await reader.changes(2)
        assert [change["changes"][0]["key"] for change in told] == ["default/b", "default/c"]


# What is asked for once.


async def test_a_key_used_at_one_instance_is_known_at_the_other() -> None:
    async with two() as (first, second):
        await first.put()
        once = await first.ask("POST", f"{JOBS}/web/scale", {"scale": 5}, Idempotency_Key="k1")
        again = await second.ask("POST", f"{JOBS}/web/scale", {"scale": 5}, Idempotency_Key="k1")
        assert (again.status, again.json, again.headers["Idempotency-Replayed"]) == (202, once.json, "true")
        other = await second.ask("POST", f"{JOBS}/web/scale", {"scale": 6}, Idempotency_Key="k1")
        as_problem(other, 422, "idempotency_key_reused")


async def test_a_key_used_at_both_instances_at_once_is_done_once_and_told_alike() -> None:
    async with two() as (first, second):
        await first.put(scale=1)
        for number in range(20):
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(
                        rig.ask("POST", f"{JOBS}/web/scale", {"scale": number + 2}, Idempotency_Key=f"k{number}")
                    )
                    for rig in (first, second)
                ]
            told = [task.result() for task in asked]
            assert [answer.status for answer in told] == [202, 202], told
            assert told[0].json["change"] == told[1].json["change"]
            assert sum("Idempotency-Replayed" in answer.headers for answer in told) == 1


# What needs neither the scheduler's hold nor an agent's.


async def test_an_instance_that_holds_nothing_plans_and_explains() -> None:
    async with two() as (first, second):
        revision = await first.write(an_agent("a1"), a_job(scale=1))
        await second.view.mirror.reached(revision)
        planned = await second.ask("POST", "/v1/plan", {"documents": [a_manifest("other", scale=1)]})
        assert (planned.status, planned.json["has_changes"]) == (200, True)
        for path in (f"{JOBS}/web/why", "/v1/agents/a1/why"):
            assert (await second.get(path)).status == 200
