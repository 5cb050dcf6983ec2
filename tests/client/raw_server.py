"""A server that speaks what it is told, well-formed or not, byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Hangs:
    """In place of bytes: nothing more comes, and the connection stays open."""


@dataclass(slots=True)
class RawServer:
    """Answers each request on a connection with the next of that connection's answers, then closes it."""

    url: str = ""
    #: For each connection in turn, what it answers; the last one again and again.
    connections: list[list[bytes | type[Hangs]]] = field(default_factory=list)
    #: The heads of the requests, and on which connection they came.
    asked: list[tuple[int, bytes]] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, *connections: list[bytes | type[Hangs]]) -> None:
        """Set what is answered."""
        self.connections = list(connections)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        number, self.opened = self.opened, self.opened + 1
        try:
            for answer in self.connections[min(number, len(self.connections) - 1)]:
                await self._hear(number, reader)
                if not isinstance(answer, bytes):
                    await self.over.wait()
                    return
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _hear(self, number: int, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append((number, head))
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))


@asynccontextmanager
async def a_raw_server() -> AsyncIterator[RawServer]:
    """Run one."""
    raw = RawServer()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        raw.over.set()
        server.close()
        await until(lambda: raw.closed == raw.opened)


async def until(is_so: Callable[[], bool]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.005)
