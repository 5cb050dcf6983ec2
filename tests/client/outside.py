"""The world outside, as one server on this machine: it answers as each path says, and notes what it was sent."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple


class Got(NamedTuple):
    """One request, as it came."""

    method: str
    path: str
    #: Names in lower case.
    headers: dict[str, str]
    body: bytes


Reply = Callable[[Got, asyncio.StreamWriter], Awaitable[None]]


class Outside:
    """What was asked of it, and how it answers."""

    def __init__(self) -> None:
        self.port = 0
        self.got: list[Got] = []
        #: Connections that were ever taken, and those that are open.
        self.taken = 0
        self.open = 0
        self.replies: dict[str, Reply] = {}

    def at(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def reply(self, path: str, status: int = 200, body: object = b"", **headers: str) -> None:
        """Answer a path always alike; what is not bytes is sent as JSON."""
        if not isinstance(body, bytes):
            headers = {"Content-Type": "application/json", **headers}
            body = json.dumps(body).encode()
        told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\n{told}Content-Length: {len(body)}\r\n\r\n".encode()

        async def send(got: Got, writer: asyncio.StreamWriter) -> None:
            writer.write(head + (b"" if got.method == "HEAD" else body))

        self.replies[path] = send

    def raw(self, path: str, text: bytes) -> None:
        """Answer a path by these bytes, and close."""

        async def send(_got: Got, writer: asyncio.StreamWriter) -> None:
            writer.write(text)
            writer.close()

        self.replies[path] = send

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.open += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length") or 0))
                got = Got(method, path, headers, body)
                self.got.append(got)
                await self.replies[path.partition("?")[0]](got, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def outside(tls: ssl.SSLContext | None = None) -> AsyncIterator[Outside]:
    found = Outside()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


def bomb(size: int) -> bytes:
    """So many bytes, small."""
    return gzip.compress(bytes(size))


async def closed(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)
