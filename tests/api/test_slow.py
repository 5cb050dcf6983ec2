"""Clients that are slow, on purpose or not, and clients that are too many: each with a socket of its own."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harpoon.api.limits import Limits
from harpoon.control.registry import Accepted, Registry
from harpoon.kit.clock import SystemClock
from harpoon.model.manifest import Manifest
from tests.api.rig import PATIENCE_S, Rig, a_manifest, a_rig
from tests.api.telling import as_problem
from tests.builders import a_job

GET_JOBS = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: Of the kernel's states of a connection: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT.
_OPEN = ("01", "04", "05", "08")
PUT_HEAD = b"PUT /v1/namespaces/default/jobs/web HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Wire:
    """A raw connection that takes only what it is told to take."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        # Small, so that the server feels at once that nobody reads.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.port = port

    async def open(self) -> None:
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self.port))

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def some(self) -> bytes:
        """What comes next; nothing at the end, however the server made it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.get_running_loop().sock_recv(self.socket, 4096)
        except ConnectionError:
            return b""

    async def rest(self) -> bytes:
        parts = []
        while part := await self.some():
            parts.append(part)
        return b"".join(parts)


@asynccontextmanager
async def a_wire(rig: Rig) -> AsyncIterator[Wire]:
    wire = Wire(rig.port)
    try:
        await wire.open()
        yield wire
    finally:
        wire.socket.close()


async def fill(rig: Rig, count: int = 24) -> None:
    """Jobs whose list is larger than what the sockets hold in between."""
    for number in range(count):
        await rig.write(a_job(name=f"j{number}", env={f"E{part}": "x" * 100_000 for part in range(5)}))


async def test_who_drips_the_headers_is_cut_off() -> None:
    async with a_rig(limits=Limits(idle_s=0.1)) as rig, a_wire(rig) as wire:
        await wire.send(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Drip: ")

        async def drip() -> None:
            try:
                while True:
                    await wire.send(b"x")
                    await asyncio.sleep(0.01)
            except ConnectionError:
                return

        async with asyncio.TaskGroup() as group:
            dripping = group.create_task(drip())
            assert await wire.rest() == b""
            dripping.cancel()


async def test_who_says_nothing_at_all_is_cut_off() -> None:
    async with a_rig(limits=Limits(idle_s=0.05)) as rig, a_wire(rig) as wire:
        assert await wire.rest() == b""


async def test_who_drips_the_body_is_told_and_cut_off() -> None:
    async with a_rig(limits=Limits(body_s=0.1, linger_s=0.1)) as rig, a_wire(rig) as wire:
        await wire.send(PUT_HEAD + b'Content-Length: 1000\r\n\r\n{"api')
        answer = await wire.rest()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "too_slow"


async def test_who_does_not_read_a_large_answer_is_cut_off_and_its_memory_freed() -> None:
    async with a_rig(limits=Limits(stall_s=0.1)) as rig, a_wire(rig) as wire:
        await fill(rig)
        await wire.send(GET_JOBS)
        assert (await wire.some()).startswith(b"HTTP/1.1 200 OK")
        # Nothing more is read until the server has given up, which others can tell by its sockets.
        await until_alone(rig)
        taken = len(await wire.rest())
        assert taken < 5 << 20


async def test_who_reads_a_large_answer_slowly_but_steadily_gets_it_whole() -> None:
    async with a_rig(limits=Limits(stall_s=1.0)) as rig, a_wire(rig) as wire:
        await fill(rig, 12)
        await wire.send(GET_JOBS)
        head, _, body = (await wire.some()).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        size = len(body)
        slept = 0
        while size < length:
            size += len(part := await wire.some())
            assert part, f"cut off after {size} of {length}"
            if size * 8 // length > slept:
                slept += 1
                await asyncio.sleep(0.2)
        assert slept >= 7


async def test_who_reads_ever_so_slowly_has_only_so_long_for_the_whole_answer() -> None:
    async with a_rig(limits=Limits(stall_s=0.1, answer_s=0.3)) as rig, a_wire(rig) as wire:
        await fill(rig)
        await wire.send(GET_JOBS)

        async def sip() -> None:
            while await wire.some():
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            sipping = group.create_task(sip())
            await until_alone(rig)
            sipping.cancel()


async def test_who_does_not_read_the_last_bytes_of_a_connection_that_is_closed_is_cut_off_too() -> None:
    async with a_rig(limits=Limits(stall_s=0.05, farewell_s=0.05, idle_s=0.1)) as rig, a_wire(rig) as wire:
        await fill(rig, 1)
        for _ in range(12):
            await wire.send(GET_JOBS)
        await until_alone(rig)


async def test_a_reader_that_stalls_costs_others_nothing() -> None:
    async with a_rig(limits=Limits(stall_s=5)) as rig, a_wire(rig) as wire:
        await fill(rig)
        await wire.send(GET_JOBS)
        assert await wire.some()
        for _ in range(5):
            assert (await rig.get("/v1/namespaces/default/jobs/j1/status")).status == 200


async def test_connections_are_bounded_and_one_too_many_is_told_so() -> None:
    async with a_rig(limits=Limits(connections=2)) as rig:
        async with a_wire(rig) as first, a_wire(rig) as second:
            for wire in (first, second):
                await wire.send(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await wire.some()).startswith(b"HTTP/1.1 200")
            async with a_wire(rig) as third:
                head, _, body = (await third.rest()).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 429 ")
                assert b"Retry-After: 1" in head
                assert f"Content-Length: {len(body)}".encode() in head
                assert json.loads(body)["code"] == "too_many"
        await until_alone(rig)
        assert (await rig.get("/v1/health")).status == 200


class GatedRegistry(Registry):
    """Puts only once it is let."""

    def __init__(self, *of: Any) -> None:
        super().__init__(*of)
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def put(self, manifest: Manifest, **how: Any) -> Accepted:
        self.begun.set()
        await self.may_go_on.wait()
        return await super().put(manifest, **how)


async def test_requests_at_once_are_bounded_but_not_those_that_stay_open_and_health_is_always_told() -> None:
    gated = lambda store, view: GatedRegistry(store, view, SystemClock())  # noqa: E731
    async with a_rig(limits=Limits(requests=1), registry=gated) as rig:
        registry = rig.doors.registry
        assert isinstance(registry, GatedRegistry)
        async with rig.watch() as reader, asyncio.TaskGroup() as group:
            await reader.until_type("synced")
            put = group.create_task(rig.ask("PUT", "/v1/namespaces/default/jobs/web", a_manifest()))
            await registry.begun.wait()
            crowded = await rig.get("/v1/jobs")
            as_problem(crowded, 429, "too_many")
            assert crowded.headers["Retry-After"] == "1"
            assert (await rig.get("/v1/health")).status == 200
            registry.may_go_on.set()
        assert put.result().status == 202
        assert (await rig.get("/v1/jobs")).status == 200


async def until_alone(rig: Rig) -> None:
    """Return once the server has closed all connections but those of the rig's own session."""
    async with asyncio.timeout(PATIENCE_S):
        while _connections(rig.port) > 0:
            await asyncio.sleep(0.01)


def _connections(port: int) -> int:
    """How many connections the server has, by the kernel's word."""
    count = 0
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        # Those that are open, that wait for us to close them, and that still have something to deliver.
        count += int(fields[1].rpartition(":")[2], 16) == port and fields[3] in _OPEN
    return count
