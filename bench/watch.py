"""What watchers get: one and a thousand of them, events alone and in bursts, beside a reader who takes nothing.

A real server process on SQLite; the watchers are raw connections of one other process that count lines of JSON. Each
event is a job that was written, about 900 bytes.

1. *One watcher* resumes from a revision long past, so that what is measured is telling, not writing.
2. *One event a write*: jobs are put at a steady pace, so that each event goes to all watchers by itself.
3. *In bursts*: jobs are put as fast as they are taken; what happens within a turn of the loop is told together.
4. *Beside a slow reader*: as 2, with one more watcher who never reads.

What it does not show: a network, TLS, or more watchers than one machine can play beside the server (both share two
processors here, so half the time goes to the watchers' own reading).
"""

import asyncio
import gc
import time

import uvloop

from bench.doors import Caller, processor_s, put_request, server

WATCHERS = 1_000
CHANGE, SYNCED = b'"type":"change"', b'"type":"synced"'
BACKLOG = 6_000
PACE, ALONE, BURSTS, BURST_CONNECTIONS = 101, 404, 3_000, 32


class Watcher(asyncio.Protocol):
    """One watch; counts the events it is told of."""

    def __init__(self, query: str, heard) -> None:
        self.query, self.heard = query, heard
        self.events = 0
        self.is_synced = "after=" in query
        self.tail = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        head = (
            f"GET /v1/watch?kinds=jobs{self.query} HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n"
        )
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        if self.tail:
            data = self.tail + data
        # A read may end anywhere; unless it is between two events, what may be the beginning of the mark is kept.
        self.tail = b"" if data.endswith(b"}\n\r\n") else data[1 - len(CHANGE) :]
        if not self.is_synced:
            self.is_synced = SYNCED in data
            return
        before = self.events
        self.events = after = before + data.count(CHANGE)
        self.heard(before, after)


class Sleeper(asyncio.Protocol):
    """A watch that is never read."""

    def connection_made(self, transport) -> None:
        transport.pause_reading()
        transport.write(b"GET /v1/watch?kinds=jobs HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n")


class Crowd:
    """Watchers, and when the last of them heard of each event."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.watchers: list[Watcher] = []
        self.reset(0)

    def reset(self, events: int) -> None:
        """Forget what was heard; so many events are to come."""
        self.wanted = events
        self.heard = [0] * events
        self.heard_at = [0.0] * events
        self.is_heard = asyncio.Event()
        for watcher in self.watchers:
            watcher.events = 0

    async def grow(self, count: int) -> None:
        """Let so many come in, and wait until they are in step."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, watcher = await loop.create_connection(lambda: Watcher("", self.hear), "127.0.0.1", self.port)
            self.watchers.append(watcher)
        while not all(watcher.is_synced for watcher in self.watchers):
            await asyncio.sleep(0.01)

    def hear(self, before: int, after: int) -> None:
        """Count what one watcher was told of."""
        for event in range(before, after):
            self.heard[event] += 1
            if self.heard[event] == max(1, len(self.watchers)):
                self.heard_at[event] = time.perf_counter()
                if event == self.wanted - 1:
                    self.is_heard.set()


async def burst(port: int, name: str, count: int) -> None:
    """Put so many jobs as fast as they are taken."""
    loop = asyncio.get_running_loop()
    requests = iter([put_request(f"{name}-{at}", 0) for at in range(count)])
    waiting = []
    for _ in range(BURST_CONNECTIONS):
        done = loop.create_future()
        await loop.create_connection(lambda done=done: Caller(requests, done, []), "127.0.0.1", port)
        waiting.append(done)
    await asyncio.gather(*waiting)


async def paced(crowd: Crowd, name: str) -> tuple[float, list[float]]:
    """Put jobs at a steady pace; return deliveries a second, and how long each took to be heard by all."""
    crowd.reset(ALONE)
    _, writer = await asyncio.open_connection("127.0.0.1", crowd.port)
    begun, sent = time.perf_counter(), []
    for at in range(ALONE):
        await asyncio.sleep(max(0.0, begun + at / PACE - time.perf_counter()))
        sent.append(time.perf_counter())
        # Not waiting for the answer: it comes when it comes, as the events do.
        writer.write(put_request(f"{name}-{at}", 0))
    async with asyncio.timeout(60):
        await crowd.is_heard.wait()
    writer.close()
    lags = [heard - asked for heard, asked in zip(crowd.heard_at, sent, strict=True)]
    return ALONE * len(crowd.watchers) / (crowd.heard_at[-1] - sent[0]), sorted(lags)


async def one(port: int) -> float:
    """Return how many events a second a single watcher is told that resumes from the past."""
    await burst(port, "past", BACKLOG)
    crowd = Crowd(port)
    crowd.reset(BACKLOG)
    begun = time.perf_counter()
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: Watcher("&after=1.2", crowd.hear), "127.0.0.1", port)
    async with asyncio.timeout(60):
        await crowd.is_heard.wait()
    return BACKLOG / (time.perf_counter() - begun)


async def many(port: int, pid: int) -> dict[str, float]:
    """Return deliveries a second to all watchers, and lags, alone and in bursts."""
    crowd = Crowd(port)
    await crowd.grow(WATCHERS)
    # A pause of this process is not one of the server's.
    gc.collect()
    gc.disable()
    told = {}
    for name in ("warm", "warmer"):
        await paced(crowd, name)
    before = processor_s(pid)
    told["alone"], lags = await paced(crowd, "alone")
    told["alone us"] = (processor_s(pid) - before) / (ALONE * WATCHERS) * 1e6
    told["lag p50"], told["lag p99"] = lags[len(lags) // 2] * 1000, lags[int(len(lags) * 0.99)] * 1000
    crowd.reset(BURSTS)
    begun = time.perf_counter()
    await burst(port, "burst", BURSTS)
    async with asyncio.timeout(60):
        await crowd.is_heard.wait()
    told["bursts"] = BURSTS * WATCHERS / (time.perf_counter() - begun)
    await asyncio.get_running_loop().create_connection(Sleeper, "127.0.0.1", port)
    before = processor_s(pid)
    await paced(crowd, "beside")
    told["beside us"] = (processor_s(pid) - before) / (ALONE * WATCHERS) * 1e6
    return told


def rows() -> list[tuple[str, str, str, str]]:
    """Measure; return lines of the table."""
    with server() as (port, _):
        single = uvloop.run(one(port))
    with server() as (port, pid):
        told = uvloop.run(many(port, pid))
    cost = told["beside us"] / told["alone us"] - 1
    return [
        ("watch: events/s to one client, resumed", f"{single:,.0f}", "", ">= 30,000"),
        (f"watch: deliveries/s to {WATCHERS:,}, one event a write", f"{told['alone']:,.0f}", "", ">= 100,000"),
        (f"watch: deliveries/s to {WATCHERS:,}, in bursts", f"{told['bursts']:,.0f}", "", ">= 500,000"),
        (
            "watch: from request to the last of them, p50 / p99",
            f"{told['lag p50']:.1f} / {told['lag p99']:.1f} ms",
            "",
            "p99 <= 50 ms",
        ),
        ("watch: the server's processor time a delivery, one event a write", f"{told['alone us']:.2f} us", "", ""),
        ("  beside a slow reader", f"{told['beside us']:.2f} us", "", f"< +5%; is {cost:+.1%}"),
    ]
