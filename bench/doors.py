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


def free_port() -> int:
    """Return a port that nobody listens at, below those that outgoing connections take."""
    for port in range(21000, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise RuntimeError("no port is free")


@contextmanager
def server():
    """Run a server; yield its port and its process id."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="harpoon-bench-") as name, (Path(name) / "log").open("ab") as log:
        start = [sys.executable, "-m", "harpoon", "server", "--listen", f"127.0.0.1:{port}", "--data", f"{name}/data"]
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

    def __init__(self, requests, done: asyncio.Future, latencies: list[float]) -> None:
        self.requests, self.done, self.latencies = requests, done, latencies
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
            assert head.startswith(b"HTTP/1.1 202"), head
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
    loop = asyncio.get_running_loop()
    requests = iter([put_request(f"job-{scale}-{number}", scale) for number in range(PUTS)])
    latencies: list[float] = []
    begun = time.perf_counter()
    waiting = []
    for _ in range(CONNECTIONS):
        done = loop.create_future()
        await loop.create_connection(lambda done=done: Caller(requests, done, latencies), "127.0.0.1", port)
        waiting.append(done)
    await asyncio.gather(*waiting)
    return PUTS / (time.perf_counter() - begun), latencies
