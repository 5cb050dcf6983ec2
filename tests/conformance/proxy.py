"""A TCP proxy that does to connections what networks do to them; what it does is decided by a seed."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

FAULTS = ("delay", "drip", "cut", "reset", "half_close", "blackhole", "any")
#: Bytes that pass before a connection is broken: from within the headers to some events further on.
_LEAST, _MOST = 150, 6_000
#: Connections that suffer; the others pass untouched, so that everything ends.
_SUFFER = 8
_LINGER_NOT = struct.pack("ii", 1, 0)


class Proxy:
    """Stands between a client and a server."""

    def __init__(self, host: str, port: int, fault: str, seed: int) -> None:
        self._target = (host, port)
        self._fault = fault
        self._rng = random.Random(seed)
        #: Connections that were done harm to.
        self.faults = 0
        self._accepted = 0
        self._open: dict[asyncio.Future[None], asyncio.StreamWriter] = {}
        self.port = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator["Proxy"]:
        """Pass connections on while the block runs."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            tasks = list(self._open)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # What was aborted is closed in the next turn of the loop.
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Future[None]") -> None:
        self._open.pop(task).transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        fault = self._fault if self._accepted <= _SUFFER else "none"
        if fault == "any":
            fault = self._rng.choice(FAULTS[:-1])
        passage = _Passage(fault, random.Random(self._rng.random()))
        try:
            with suppress(OSError):
                await passage.run(reader, writer, self._target)
        finally:
            self.faults += passage.is_harmed


class _Passage:
    """One connection, both ways."""

    def __init__(self, fault: str, rng: random.Random) -> None:
        self._fault = fault
        self._rng = rng
        self._left = rng.randrange(_LEAST, _MOST)
        self._withheld = b""
        self.is_harmed = False

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]) -> None:
        up_reader, up_writer = await asyncio.open_connection(*target)
        upward = asyncio.ensure_future(self._upward(reader, up_writer))
        try:
            await self._downward(up_reader, writer)
            if self._left <= 0:
                await self._break(up_reader, up_writer, writer, upward)
        finally:
            for end in (up_writer, writer):
                end.transport.abort()
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)

    async def _upward(self, reader: asyncio.StreamReader, up_writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            up_writer.write(data)
            await up_writer.drain()
        # The client has left, or has said all; either way the server is not to talk to nobody.
        up_writer.transport.abort()

    async def _downward(self, up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await up_reader.read(1 << 12):
            if self._fault in ("none", "delay", "drip"):
                await self._pass_slowly(writer, data)
                continue
            passed, self._withheld = data[: self._left], data[self._left :]
            self._left -= len(data)
            writer.write(passed)
            await writer.drain()
            if self._left <= 0:
                return
        writer.close()
        await writer.wait_closed()

    async def _pass_slowly(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self.is_harmed |= self._fault != "none"
        if self._fault == "delay":
            await asyncio.sleep(self._rng.uniform(0, 0.02))
        if self._fault != "drip":
            writer.write(data)
            await writer.drain()
            return
        while data:
            size = self._rng.randint(1, 40)
            writer.write(data[:size])
            data = data[size:]
            await writer.drain()
            await asyncio.sleep(0)

    async def _break(
        self,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
        upward: "asyncio.Future[None]",
    ) -> None:
        self.is_harmed = True
        if self._fault == "reset":
            plain = writer.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            writer.transport.abort()
        elif self._fault == "blackhole":
            # Nothing passes, nothing is closed, until the client gives up.
            await upward
        elif self._fault == "half_close" and self._rng.random() < 0.5:
            # The server hears that the client has said all, and the client hears what the server makes of it.
            up_writer.write_eof()
            writer.write(self._withheld)
            while data := await up_reader.read(1 << 12):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        elif self._fault == "half_close":
            # The client hears an end, the server none before the client has left.
            writer.write_eof()
            await upward
        else:
            writer.close()
            await writer.wait_closed()
