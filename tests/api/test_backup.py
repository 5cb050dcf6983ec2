"""The backup door: one revision, whole, whatever goes on meanwhile; and a last word when it cannot be."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from harpoon import __version__
from harpoon.api.limits import Limits
from harpoon.store import backup
from harpoon.store.cluster import CLUSTER, Cluster
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Page, StoreUnavailable
from tests.api.rig import TOKEN, a_rig
from tests.api.test_slow import a_wire
from tests.store.copying import a_source, content
from tests.store.reading import put


def whole(folder: Path, body: bytes) -> backup.Whole:
    path = folder / "backup"
    path.write_bytes(body)
    return backup.inspect(path)


async def large(count: int, size: int) -> MemoryStore:
    values = {f"/h/1/ctl/idem/{number:05}": b"x" * size for number in range(count)}
    store = await a_source(values)
    await put(store, CLUSTER, b'{"cluster": "c1", "incarnation": 1}')
    return store


class Away(MemoryStore):
    """A store that is away from some page of a list on."""

    at = 99

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        number = 0
        async for page in super().list(prefix):
            number += 1
            if number == self.at:
                yield page._replace(entries=page.entries[: len(page.entries) // 2])
                number += 1
            if number > self.at:
                raise StoreUnavailable("the store went away", maybe_applied=False)


async def test_the_registry_is_told_as_it_stands(tmp_path: Path) -> None:
    async with a_rig() as rig:
        await rig.put("web")
        revision = rig.view.revision
        answer = await rig.get("/v1/backup")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
        found = whole(tmp_path, answer.body)
        assert found.header[:2] == (Cluster("c1", 1), revision)
        assert found.header.version == __version__
        told = {one["key"]: one["value"] for one in map(json.loads, answer.body.splitlines()[1:-1])}
        assert {key: value.encode() for key, value in told.items()} == await content(rig.store)
        assert set(told) == {"/h/1/ctl/jobs/default/web", "/h/1/ctl/versions/default/web/1"}


async def test_it_is_of_one_revision_though_others_write_all_the_time(tmp_path: Path) -> None:
    async with a_rig(store=await large(500, 1_000)) as rig:
        is_done = asyncio.Event()

        async def write() -> None:
            number = 0
            while not is_done.is_set():
                number += 1
                both = {f"/h/1/ctl/idem/{place:05}": str(number).encode() for place in (0, 499)}
                for key, value in both.items():
                    await put(rig.store, key, value)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(5):
                found = (await rig.get("/v1/backup")).body
                assert whole(tmp_path, found).records == 500
                values = {json.loads(line)["key"]: json.loads(line)["value"] for line in found.splitlines()[1:-1]}
                first, last = values["/h/1/ctl/idem/00000"], values["/h/1/ctl/idem/00499"]
                assert first == last or int(first) == int(last) + 1
            is_done.set()


async def test_a_reader_who_is_slow_takes_little_of_the_servers_memory_and_is_cut_off() -> None:
    limits = Limits(bookmark_s=0.05, stall_s=0.3, farewell_s=0.2)
    async with a_rig(store=await large(3_000, 10_000), limits=limits) as rig, a_wire(rig) as wire:
        await wire.send(b"GET /v1/backup HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await wire.some()).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(1.5)
        told = await wire.rest()
        assert len(told) < 20_000_000
        assert b'"records"' not in told


async def test_a_store_that_is_away_is_told_by_the_status() -> None:
    store = Away()
    async with a_rig(store=store) as rig:
        store.at = 0
        assert (await rig.get("/v1/backup")).status == 503


async def test_a_store_that_goes_away_in_the_middle_is_told_and_nothing_seems_whole() -> None:
    store = Away()
    async with a_rig(store=store) as rig:
        for number in range(200):
            await put(store, f"/h/1/ctl/idem/{number:05}", b"x" * 1_000)
        store.at = 1
        async with rig.watch("/v1/backup") as reader:
            *_, last = await reader.rest()
        assert (last["type"], last["detail"]) == ("error", "the store went away")


async def test_an_instance_that_stops_says_so() -> None:
    async with a_rig(store=await large(3_000, 10_000)) as rig:
        async with rig.session.get(rig.url("/v1/backup"), read_bufsize=4096) as response:
            await response.content.readline()
            rig.doors.drain.set()
            *_, last = (await response.content.read()).splitlines()
        assert json.loads(last)["type"] == "bye"


async def test_it_takes_a_token_and_no_parameters() -> None:
    async with a_rig(token=TOKEN) as rig:
        async with rig.session.get(rig.url("/v1/backup")) as response:
            assert response.status == 401
        assert (await rig.get("/v1/backup?prefix=/h")).status == 400
        assert (await rig.ask("HEAD", "/v1/backup")).status == 200
