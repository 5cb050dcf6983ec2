"""Calls over HTTP that operations make: claimed, sent, answered and closed, all by one server process.

The server has conductors of all shards, the crew with its connector and a store in memory; runs are chains of five
calls. Who is called is another process, which reads a request and answers ``{"ok":true}``. Told are operations for each
second, by the clock and of the server's own processor time. The raw floor is the client library alone, in the same
process, with a hundred calls at once.

What it does not show: a store on disk, TLS, servers that are far away, answers of any size.
"""

import asyncio
import subprocess
import sys
import time
from typing import cast

import aiohttp
import uvloop

from bench.work import House, Rate
from bench.world import quiet
from harpoon.client.outward import OutwardCaller
from harpoon.control.connecting import Connecting
from harpoon.control.http_connector import HttpConnector
from harpoon.kit.destination import Guard, parse_opening
from harpoon.model.http import Http
from harpoon.model.operation import Operation
from harpoon.model.sensitive import Sensitive

RUNS, CHAIN = 2_000, 5
AT_ONCE = 100
_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
_NO_SECRETS = "there are none here"


class There(asyncio.Protocol):
    """Answers whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        # Requests have no bodies here, so each ends with its head.
        self._transport.write(_ANSWER * data.count(b"\r\n\r\n"))


async def answer() -> None:
    """Be who is called, and print at which port."""
    server = await asyncio.get_running_loop().create_server(There, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def ours(url: str) -> Rate:
    """Return how many operations a second are carried out."""
    operations = {
        f"s{number}": Operation(http=Http(url=url), next={"done": (f"s{number + 1}",)} if number < CHAIN - 1 else {})
        for number in range(CHAIN)
    }
    house = House(operations)
    await house.open()
    caller = OutwardCaller(Guard([parse_opening("127.0.0.1")]))
    connector = HttpConnector(caller, _no_secrets, "bench")
    crew = Connecting(house.exchange, house.conductor_of, "bench", (connector,))
    working = asyncio.ensure_future(crew.run())
    by_clock, by_processor = time.perf_counter(), time.process_time()
    # Calls are made as soon as the first runs have begun, so their beginning counts, too.
    await house.start(*(f"run-{number}" for number in range(RUNS)))
    while house.ended < RUNS:
        await asyncio.sleep(0.001)
    steps = RUNS * CHAIN
    rate = Rate(steps / (time.perf_counter() - by_clock), steps / (time.process_time() - by_processor))
    working.cancel()
    await asyncio.wait((working,))
    assert set(crew.closed) == {(":http", "done")}, crew.closed
    await caller.close()
    await house.close()
    return rate


def _no_secrets(_namespace: str, _reference: str) -> Sensitive:
    raise AssertionError(_NO_SECRETS)


async def floor(url: str) -> Rate:
    """Return how many calls a second the client library makes."""
    left = RUNS * CHAIN
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def call() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            async with session.get(url) as response:
                await response.read()

    by_clock, by_processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(AT_ONCE)))
    steps = RUNS * CHAIN
    rate = Rate(steps / (time.perf_counter() - by_clock), steps / (time.process_time() - by_processor))
    await session.close()
    return rate


async def measure() -> tuple[Rate, Rate]:
    there = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.http", "answer", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert there.stdout is not None
        url = f"http://127.0.0.1:{int(await there.stdout.readline())}/"
        return await ours(url), await floor(url)
    finally:
        there.kill()
        await there.wait()


def rows() -> list[tuple[str, str, str, str]]:
    """Return lines of the table: what, ours, the raw floor of the same run, the target."""
    quiet()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate, raw = runner.run(measure())
    return [
        ("http: operations through one process", f"{rate.by_clock:,.0f} /s", f"{raw.by_clock:,.0f} /s", ">= 1,500 /s"),
        ("  for each second of its processor time", f"{rate.by_processor:,.0f} /s", f"{raw.by_processor:,.0f} /s", ""),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(answer())
    else:
        subprocess.run([sys.executable, "-m", "bench", "http"], check=True)
