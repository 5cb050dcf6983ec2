"""Many watchers: encoded once, written together, each bounded for itself; and one that does not read."""

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from harpoon.api.limits import Limits
from tests.api.rig import PATIENCE_S, Rig, a_rig
from tests.builders import a_job

BIG = {"padding": "x" * 250}


async def counted(rig: Rig, name: str) -> float:
    """What a counter without labels stands at."""
    text = (await rig.get("/metrics")).body.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


class Mute:
    """A client that asks for a watch and reads nothing until it is told to."""

    def __init__(self, rig: Rig, query: str = "", *, accept: str = "application/x-ndjson") -> None:
        self.socket = socket.socket()
        # So small that the kernel takes little for it.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.port = rig.port
        self.request = f"GET /v1/watch?{query} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()

    async def __aenter__(self) -> "Mute":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    async def ask(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", self.port))
        await loop.sock_sendall(self.socket, self.request)

    async def read_all(self) -> bytes:
        """Read to the end; chunk headers are left in."""
        loop, read = asyncio.get_running_loop(), bytearray()
        async with asyncio.timeout(PATIENCE_S):
            while data := await loop.sock_recv(self.socket, 1 << 20):
                read += data
        return bytes(read)


async def joined(rig: Rig, count: int) -> None:
    """Wait until so many watches are open."""
    async with asyncio.timeout(PATIENCE_S):
        while await counted(rig, "harpoon_http_stays") < count:
            await asyncio.sleep(0.005)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def given_up(rig: Rig, files: int) -> None:
    """Wait until a reader was cut off, and its connection with it: so many files are open."""
    async with asyncio.timeout(PATIENCE_S):
        while not await counted(rig, "harpoon_watch_slow_readers_total") or open_files() > files:
            await asyncio.sleep(0.005)
    assert await counted(rig, "harpoon_http_stays") == 0


async def test_an_event_is_encoded_once_for_all_who_select_alike() -> None:
    async with a_rig() as rig, asyncio.TaskGroup() as group:

        async def follow(accept: str) -> list[str]:
            async with rig.watch("kinds=jobs", accept) as reader:
                await reader.until_type("synced")
                ready.release()
                return [event["revision"] for event in await reader.changes(50)]

        ready = asyncio.Semaphore(0)
        told = [group.create_task(follow(kind)) for kind in ["text/event-stream", "application/x-ndjson"] * 15]
        for _ in told:
            await ready.acquire()
        for number in range(50):
            await rig.write(a_job(version=number + 1))
        lists = [await one for one in told]
        assert all(one == lists[0] for one in lists)
        assert await counted(rig, "harpoon_watch_events_encoded_total") == 50


async def test_watchers_who_come_back_together_share_the_encoding_too() -> None:
    async with a_rig() as rig:
        await rig.write(a_job())
        for number in range(30):
            await rig.write(a_job(version=number + 2))

        async def follow() -> None:
            async with rig.watch("after=1.1") as reader:
                await reader.changes(30)

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(follow())
        assert await counted(rig, "harpoon_watch_events_encoded_total") == 30


async def test_what_is_kept_encoded_is_bounded() -> None:
    async with a_rig(limits=Limits(cache_bytes=4000)) as rig:
        await rig.write(a_job())
        for number in range(30):
            await rig.write(a_job(version=number + 2))
        for _ in range(2):
            async with rig.watch("after=1.1") as reader:
                assert [event["revision"] for event in await reader.changes(30)] == [f"1.{n + 2}" for n in range(30)]


async def test_revisions_that_come_within_one_turn_of_the_loop_are_written_as_one_piece() -> None:
    async with a_rig() as rig, rig.watch("kinds=jobs") as reader:
        await reader.until_type("synced")
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(rig.write(a_job(name=f"job-{number}")))
        pieces = 0
        async with asyncio.timeout(PATIENCE_S):
            data = b""
            while data.count(b"\n") < 20:
                data += await reader.response.content.readany()
                pieces += 1
        assert pieces < 10
        assert [json.loads(line)["revision"] for line in data.splitlines()] == [f"1.{n + 1}" for n in range(20)]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
async def test_a_reader_who_is_too_slow_is_cut_off_with_a_word_and_slows_nobody(accept: str) -> None:
    limits = Limits(queue_events=50, queue_bytes=50_000)
    async with a_rig(limits=limits) as rig, Mute(rig, "kinds=jobs", accept=accept) as mute:
        await mute.ask()
        async with rig.watch("kinds=jobs") as reader:
            await reader.until_type("synced")
            await joined(rig, 2)
            told, written = [], 0
            async with asyncio.timeout(PATIENCE_S):
                while await counted(rig, "harpoon_watch_slow_readers_total") == 0:
                    for _ in range(25):
                        written += 1
                        await rig.write(replace(a_job(version=written), tags=BIG))
                    told += await reader.changes(25)
            assert [event["revision"] for event in told] == [f"1.{n + 1}" for n in range(written)]
            last = (await mute.read_all()).rstrip(b"\r\n0").rpartition(b"\n")[2]
            word = json.loads(last.removeprefix(b"data: "))
            assert (word["type"], word["code"]) == ("error", "slow_reader")
            await rig.write(a_job(version=written + 1))
            assert [event["revision"] for event in await reader.changes(1)] == [f"1.{written + 1}"]


async def test_who_is_cut_off_may_resume_from_the_last_event_it_read() -> None:
    limits = Limits(queue_events=50, queue_bytes=50_000)
    async with a_rig(limits=limits) as rig:
        await rig.write(a_job())
        written = 1
        async with Mute(rig, "kinds=jobs&after=1.1") as mute:
            await mute.ask()
            await joined(rig, 1)
            while await counted(rig, "harpoon_watch_slow_readers_total") == 0:
                for _ in range(25):
                    written += 1
                    await rig.write(replace(a_job(version=written), tags=BIG))
            lines = [line for line in (await mute.read_all()).split(b"\n") if line.startswith(b'{"type":"change"')]
        read = [json.loads(line)["revision"] for line in lines]
        assert read == [f"1.{n + 2}" for n in range(len(read))]
        async with rig.watch(f"kinds=jobs&after={read[-1]}") as reader:
            rest = [event["revision"] for event in await reader.changes(written - len(read) - 1)]
        assert read + rest == [f"1.{n + 2}" for n in range(written - 1)]


async def test_a_reader_who_takes_nothing_of_what_it_missed_is_cut_off_too() -> None:
    limits = Limits(stall_s=0.05, bookmark_s=0.05, farewell_s=0.05)
    async with a_rig(limits=limits) as rig:
        for number in range(100):
            await rig.write(a_job(version=number + 1, env={"V": "x" * 100_000}))
        async with Mute(rig, "after=1.1") as mute:
            assert await counted(rig, "harpoon_http_stays") == 0
            files = open_files()
            await mute.ask()
            await given_up(rig, files)
            assert not (await mute.read_all()).endswith(b"\r\n0\r\n\r\n"), (
                "a truncated answer, not one that seems whole"
            )


async def test_a_reader_who_takes_nothing_of_its_snapshot_is_cut_off_without_an_end() -> None:
    limits = Limits(stall_s=0.05, bookmark_s=0.05, farewell_s=0.05)
    async with a_rig(limits=limits) as rig:
        for number in range(100):
            await rig.write(a_job(name=f"job-{number}", env={"V": "x" * 100_000}))
        async with Mute(rig) as mute:
            assert await counted(rig, "harpoon_http_stays") == 0
            files = open_files()
            await mute.ask()
            await given_up(rig, files)
            assert not (await mute.read_all()).endswith(b"\r\n0\r\n\r\n"), (
                "a truncated answer, not one that seems whole"
            )


async def test_more_watches_than_allowed_are_told_to_come_later() -> None:
    async with a_rig(limits=Limits(stays=2)) as rig, rig.watch() as one:
        await one.until_type("synced")
        async with rig.watch() as two:
            await two.until_type("synced")
            answer = await rig.get("/v1/watch")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        async with asyncio.timeout(PATIENCE_S):
            while (await rig.ask("HEAD", "/v1/watch")).status != 200:
                await asyncio.sleep(0.005)


async def test_watchers_who_leave_are_forgotten_at_once() -> None:
    async with a_rig() as rig:
        for _ in range(5):
            async with rig.watch() as reader:
                await reader.until_type("synced")
                reader.response.close()
        async with asyncio.timeout(PATIENCE_S):
            while await counted(rig, "harpoon_http_stays"):
                await asyncio.sleep(0.005)


async def test_a_client_of_the_old_protocol_gets_plain_lines() -> None:
    async with a_rig() as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET /v1/watch?kinds=jobs HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"chunked" not in head
            told = [json.loads(await reader.readline())["type"] for _ in range(2)]
            await rig.write(a_job())
            told.append(json.loads(await reader.readline())["type"])
            rig.doors.drain.set()
            told += [json.loads(line)["type"] for line in (await reader.read()).splitlines()]
        writer.close()
        assert told == ["snapshot", "synced", "change", "bye"]
