"""The connections of one client: a few are kept open between requests, and none outlives the client."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from harpoon.client.connection import Connection, connect
from harpoon.client.origin import Origin

#: Requests on their way at once; further ones wait. Streams do not count: each has a connection of its own.
REQUESTS_MAX: Final = 32
#: Connections kept while they are idle.
KEPT_MAX: Final = 8
#: For so long: a server closes an idle one after a minute, and one that is about to be closed is not to be used.
KEPT_FOR: Final = timedelta(seconds=15)

#: Turns of the loop before a kept connection is used: one to hear, one to heed, that the other side has closed it.
TURNS: Final = 2


class Pool:
    """Lends connections to one server."""

    def __init__(self, origin: Origin, context: ssl.SSLContext | None) -> None:
        self._origin = origin
        self._context = context
        self._kept: list[Connection] = []
        self._all: set[Connection] = set()
        self._requests = asyncio.Semaphore(REQUESTS_MAX)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until a request may begin."""
        async with self._requests:
            yield

    @asynccontextmanager
    async def lend(self, within: timedelta, *, is_new: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection; it is kept if the answer was read whole, else closed.

        Args:
            within: How long connecting may take.
            is_new: None that was used before.

        Raises:
            Unreachable: There is no connection to be had.
        """
        connection = None if is_new else await self._take()
        if connection is None:
            connection = await connect(self._origin, self._tls(), within)
            self._all.add(connection)
        try:
            yield connection
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close all connections, lent ones too."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._kept.clear()

    async def _take(self) -> Connection | None:
        """Return the connection that was used last, so that those not needed grow old."""
        if self._kept:
            for _ in range(TURNS):
                await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        while self._kept:
            connection = self._kept.pop()
            if connection.is_open and now - connection.idle_since < KEPT_FOR.total_seconds():
                return connection
            self._drop(connection)
        return None

    def _give_back(self, connection: Connection) -> None:
        if connection not in self._all or not connection.is_open or len(self._kept) >= KEPT_MAX:
            self._drop(connection)
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._kept.append(connection)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._all.discard(connection)

    def _tls(self) -> ssl.SSLContext | None:
        if self._origin.is_tls and self._context is None:
            self._context = ssl.create_default_context()
        return self._context
