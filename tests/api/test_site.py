"""Listening and stopping."""

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from harpoon.api.app import make_app
from harpoon.api.doors import Doors
from harpoon.api.limits import Limits
from harpoon.api.site import check_bind, run_site
from harpoon.control.registry import Accepted, Registry
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.manifest import Manifest
from tests.api.rig import PATIENCE_S, a_manifest, a_rig
from tests.builders import a_job


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "example.org"])
def test_nobody_listens_beyond_this_machine_without_a_token(host: str) -> None:
    with pytest.raises(Invalid, match="--token-file"):
        check_bind(host, None)
    check_bind(host, "a token")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    check_bind(host, None)


async def test_a_site_that_may_not_listen_there_does_not_start() -> None:
    async with a_rig() as rig:
        other = make_app_of(rig.doors)
        with pytest.raises(Invalid, match=r"0\.0\.0\.0"):
            await run_site(other, "0.0.0.0", 0)


async def test_an_address_in_use_is_told() -> None:
    async with a_rig() as rig:
        with pytest.raises(Unavailable, match=f"127.0.0.1:{rig.port}"):
            await run_site(make_app_of(rig.doors), "127.0.0.1", rig.port)


def make_app_of(doors: Doors) -> web.Application:
    """Another application for the same instance; its counters need a registry of their own."""
    return make_app(replace(doors, metrics=CollectorRegistry(), drain=asyncio.Event()))


@pytest.mark.parametrize(
    ("accept", "word"), [("application/x-ndjson", b'{"type":"bye"}\n'), ("text/event-stream", b": bye\n\n")]
)
@pytest.mark.parametrize("path", ["/v1/watch", "/v1/namespaces/default/jobs/web/endpoints"])
async def test_streams_end_with_a_last_word_when_the_instance_drains(path: str, accept: str, word: bytes) -> None:
    async with a_rig() as rig:
        await rig.write(a_job())
        async with rig.watch(path, accept) as reader:
            await reader.until_type("synced" if path.endswith("watch") else "endpoints")
            rig.doors.drain.set()
            await reader.rest()
            assert reader.raw[-1] == word


class SlowRegistry(Registry):
    """Commits only once it is let."""

    def __init__(self, *of: object) -> None:
        super().__init__(*of)
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def put(self, manifest: Manifest, **conditions: object) -> Accepted:
        self.begun.set()
        await self.may_go_on.wait()
        return await super().put(manifest, **conditions)


async def test_requests_under_way_are_answered_before_the_end_and_new_ones_are_not_taken() -> None:
    async with a_rig(registry=lambda store, view: SlowRegistry(store, view, SystemClock())) as rig:
        registry = rig.doors.registry
        async with asyncio.TaskGroup() as group:
            put = group.create_task(rig.put())
            await registry.begun.wait()
            rig.doors.drain.set()
            async with asyncio.timeout(PATIENCE_S):
                while not await is_refused(rig.port):
                    await asyncio.sleep(0.005)
            registry.may_go_on.set()
        assert put.result().status == 202


@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_body_that_is_still_arriving_is_taken_whole_and_answered_but_nothing_after_it(pieces: int) -> None:
    body = json.dumps(a_manifest()).encode()
    head = "PUT /v1/namespaces/default/jobs/web HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with a_rig() as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-pieces])
        # Asked after it, so taken after it.
        await rig.get("/v1/health")
        rig.doors.drain.set()
        while not await is_refused(rig.port):
            await asyncio.sleep(0.01)
        for piece in body[-pieces:]:
            writer.write(bytes([piece]))
            await asyncio.sleep(0.01)
        writer.write(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            answered = await reader.read()
        writer.close()
    assert answered.startswith(b"HTTP/1.1 202")
    assert answered.count(b"HTTP/1.1") == 1


async def test_requests_that_do_not_end_in_time_are_given_up() -> None:
    async with a_rig(registry=lambda store, view: SlowRegistry(store, view, SystemClock()), grace_s=0.1) as rig:

        async def put() -> bool:
            try:
                await rig.put()
            except aiohttp.ClientConnectionError:
                return False
            return True

        async with asyncio.TaskGroup() as group:
            is_answered = group.create_task(put())
            await rig.doors.registry.begun.wait()
            rig.doors.drain.set()
        assert not is_answered.result()


async def is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False


async def test_idle_connections_are_closed() -> None:
    async with a_rig(limits=Limits(idle_s=0.05)) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
