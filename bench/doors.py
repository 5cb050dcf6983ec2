"""The doors under load: jobs put one by one and in bulk, and what watchers get.

A real server process on SQLite, asked over loopback by one other process that does as little as a client can. Jobs are
scheduled with ``scale: 0``, so that what is measured is acceptance: every request is answered once its commit is on
disk; and with ``scale: 1`` and no agent, so that the scheduler has to find, for each, that it cannot be placed, and
writes so.

What it does not show: TLS, a network, more clients than one machine can play beside the server (both share two
processors here), or a slow disk.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import orjson
import uvloop

PUTS, CONNECTIONS = 10_000, 64
DOCUMENTS, BULK_REQUESTS = 30_000, 2


def manifest(name: str, scale: int) -> dict:
    """Return a small job."""
    task = {"command": ["serve", "$PORT_HTTP"], "ports": {"http": 0}, "resources": {"cpu": "100m", "memory": "64Mi"}}
    metadata = {"name": name, "tags": {"team": "shop"}}
    return {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": metadata, "spec": {"scale": scale, "task": task}}


def processor_s(pid: int) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port(lowest: int = 21000) -> int:
    """Return a port that nobody listens at, below those that outgoing connections take."""
    for port in range(lowest, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise RuntimeError("no port is free")


@contextmanager
def server(store: str | None = None):
    """Run a server, on SQLite unless told; yield its port and its process id."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="harpoon-bench-") as name, (Path(name) / "log").open("ab") as log:
        kept = ["--store", store] if store else ["--data", f"{name}/data"]
        start = [sys.executable, "-m", "harpoon", "server", "--listen", f"127.0.0.1:{port}", *kept]
        process = subprocess.Popen(start, stdout=log, stderr=log)
        try:
            until_up(port)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


def until_up(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(500):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise RuntimeError("the server did not come up")


class Caller(asyncio.Protocol):
    """One connection that sends the next request as soon as the last one is answered."""

    def __init__(self, requests, done: asyncio.Future, latencies: list[float], status: int = 202) -> None:
        self.requests, self.done, self.latencies = requests, done, latencies
        self.expected = f"HTTP/1.1 {status}".encode()
        self.buffer = b""
        self.sent = 0.0

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.done.set_result(None)
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) >= length:
            assert head.startswith(self.expected), head
            self.buffer = rest[length:]
            self.latencies.append(time.perf_counter() - self.sent)
            self.send()


def put_request(name: str, scale: int) -> bytes:
    """Return a PUT of a job, as it goes over the wire."""
    body = orjson.dumps(manifest(name, scale))
    head = f"PUT /v1/namespaces/default/jobs/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def put_all(port: int, scale: int) -> tuple[float, list[float]]:
    """Put many jobs over several connections; return jobs a second, and how long each took."""
    requests = [put_request(f"job-{scale}-{number}", scale) for number in range(PUTS)]
    begun = time.perf_counter()
    latencies = await send_all(port, requests, CONNECTIONS, 202)
    return PUTS / (time.perf_counter() - begun), latencies


async def send_all(port: int, requests: list[bytes], connections: int, status: int) -> list[float]:
    """Send requests over several connections, all answered with one status; return how long each took."""
    loop, left = asyncio.get_running_loop(), iter(requests)
    latencies: list[float] = []
    waiting = []
    for _ in range(connections):
        done = loop.create_future()
        await loop.create_connection(lambda done=done: Caller(left, done, latencies, status), "127.0.0.1", port)
        waiting.append(done)
    await asyncio.gather(*waiting)
    return latencies


async def apply_all(port: int, count: int) -> float:
    """Apply many jobs in one request, line by line; return jobs a second, once all are answered."""
    lines = b"".join(orjson.dumps(manifest(f"bulk-{number}", 0)) + b"\n" for number in range(count))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = "POST /v1/apply?atomic=false HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    begun = time.perf_counter()

    async def send() -> None:
        writer.write(f"{head}Content-Length: {len(lines)}\r\n\r\n".encode())
        for start in range(0, len(lines), 1 << 16):
            writer.write(lines[start : start + (1 << 16)])
            await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        answered = 0
        while answered < count:
            data = await reader.read(1 << 18)
            assert data, "the server ended the answer"
            answered += data.count(b'"outcome":"created"')
    writer.close()
    return count / (time.perf_counter() - begun)


async def floor(port: int) -> float:
    """Return requests a second of a server that only echoes."""
    rate, _ = await put_all(port, 0)
    return rate


@contextmanager
def echo():
    """Run the barest server there is on the same library; yield its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", ECHO, str(port)])
    try:
        until_up(port)
        yield port
    finally:
        process.terminate()
        process.wait()


ECHO = """
import sys, uvloop
from aiohttp import web
async def put(request):
    return web.Response(status=202, body=await request.read())
app = web.Application()
app.router.add_put("/v1/namespaces/{ns}/jobs/{name}", put)
uvloop.install()
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""


def rows() -> list[tuple[str, str, str, str]]:
    """Measure; return lines of the table."""
    with echo() as port:
        bare = uvloop.run(floor(port))
    with server() as (port, pid):
        before = processor_s(pid)
        rate, latencies = uvloop.run(put_all(port, 0))
        cost = (processor_s(pid) - before) / PUTS * 1e6
        waiting, _ = uvloop.run(put_all(port, 1))
    with server() as (port, _):
        bulk = uvloop.run(apply_all(port, DOCUMENTS))
    latencies.sort()
    p50, p99 = latencies[PUTS // 2] * 1000, latencies[int(PUTS * 0.99)] * 1000
    return [
        ("PUT of jobs a second, scale 0", f"{rate:,.0f}", f"{bare:,.0f} echoed", ">= 5,000"),
        ("  their processor time, and p50 / p99 of 64 at once", f"{cost:.0f} us, {p50:.0f} / {p99:.0f} ms", "", ""),
        ("PUT of jobs a second, scale 1 and no agent", f"{waiting:,.0f}", "", ""),
        ("jobs a second in bulk", f"{bulk:,.0f}", "", ">= 30,000"),
    ]
