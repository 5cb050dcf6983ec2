"""TCP gates before agents: each knows which server a connection is from, and lets it pass, cuts it off or holds it up.

The one who connects is found by the kernel's tables, so servers are not told of anything, and all use the same address.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.ports import free_port


class Gates:
    """One gate an agent; who is who, is asked of ``servers``: name → process id."""

    def __init__(self, servers: Callable[[], dict[str, int]]) -> None:
        self._servers = servers
        #: Agent → the port at which it is reached through its gate.
        self.ports: dict[str, int] = {}
        self._cut: set[tuple[str, str]] = set()
        self._held: set[tuple[str, str]] = set()
        self._open: dict[asyncio.Task[None], tuple[str, str, asyncio.StreamWriter]] = {}
        self._listeners: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        #: (server, agent) → bytes that wait for `let_go`.
        self.waiting: dict[tuple[str, str], int] = {}

    @contextmanager
    def running(self) -> Iterator["Gates"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._do(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def add(self, agent: str, port: int) -> int:
        """Make a gate before an agent's port; return the gate's own."""
        self.ports[agent] = free_port()
        self._do(self._listen(agent, port))
        return self.ports[agent]

    def cut(self, server: str, *agents: str) -> None:
        """Cut a server off from agents: what is open is reset, and nothing new comes about."""
        self._do(self._change(lambda: self._cut.update((server, agent) for agent in agents)))

    def hold_up(self, server: str, *agents: str) -> None:
        """Let nothing pass from a server to agents until `let_go`; nothing is closed."""
        self._do(self._change(lambda: self._held.update((server, agent) for agent in agents)))

    def let_go(self) -> None:
        self._do(self._change(self._held.clear))

    def heal(self) -> None:
        self._do(self._change(self._cut.clear))

    # Within the loop.

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _change(self, change: Callable[[], object]) -> None:
        change()
        for server, agent, writer in self._open.values():
            if (server, agent) in self._cut:
                writer.transport.abort()

    async def _listen(self, agent: str, port: int) -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server = self._who(writer.get_extra_info("peername")[1], self.ports[agent])
            task = self._loop.create_task(self._serve(server, agent, port, reader, writer))
            self._open[task] = (server, agent, writer)
            task.add_done_callback(self._forget)

        self._listeners.append(await asyncio.start_server(accept, "127.0.0.1", self.ports[agent]))

    def _forget(self, task: "asyncio.Task[None]") -> None:
        # Also of one that was cancelled before it began.
        self._open.pop(task)[2].transport.abort()

    async def _serve(
        self, server: str, agent: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if (server, agent) in self._cut:
            return
        with suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            ways = [
                asyncio.ensure_future(self._pass((server, agent), reader, up_writer)),
                asyncio.ensure_future(self._pass(None, up_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                up_writer.transport.abort()

    async def _pass(
        self, whose: tuple[str, str] | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1 << 16):
            while whose in self._held:
                self.waiting[whose] = len(data)
                await asyncio.sleep(0.01)
            writer.write(data)
            await writer.drain()

    async def _close(self) -> None:
        for listener in self._listeners:
            listener.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # What was aborted is closed in the next turns of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    def _who(self, theirs: int, ours: int) -> str:
        """Return the server whose connection comes from port ``theirs``; nobody's is from elsewhere."""
        inode = _inode(theirs, ours)
        for name, pid in self._servers().items():
            with suppress(OSError):
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        if str(descriptor.readlink()) == f"socket:[{inode}]":
                            return name
        return ""


def _inode(local: int, remote: int) -> str:
    ends = (f"0100007F:{local:04X}", f"0100007F:{remote:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == ends:
            return fields[9]
    return "none"
