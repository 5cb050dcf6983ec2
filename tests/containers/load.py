"""A client under whose eyes servers and agents are replaced: it knows a service by ``/endpoints`` of any server there is."""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress

import aiohttp

from examples import demo

#: Fewer than in the demonstration: here all of a fleet shares the processors.
_REQUESTS_PER_S = 50
#: A server that says nothing for so long is left for the next one; a bookmark comes more often.
_SILENCE_S = 20.0
_PATH = "/v1/namespaces/default/jobs/web/endpoints"


class Visitor(demo.Visitor):
    """Asks its service as the demonstration's does: a connection for every request, and none tried again."""

    #: Beside other tests a whole fleet may have to wait for the processors; what is refused, cut off or lost fails still.
    slow_s = 10.0

    def __init__(self, servers: Sequence[str], token: str) -> None:
        super().__init__(servers[0])
        self.urls = [server + _PATH for server in servers]
        self.headers = {"Accept": "application/x-ndjson", "Authorization": f"Bearer {token}"}

    async def follow(self, session: aiohttp.ClientSession) -> None:
        """Keep the list of addresses as one server or another tells it, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, connect=2, sock_read=_SILENCE_S)
        while True:
            for url in self.urls:
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with session.get(url, headers=self.headers, timeout=timeout) as response:
                        async for line in response.content:
                            self._hear(line)
                await asyncio.sleep(0.05)

    async def browse(self) -> None:
        """Make requests at a steady rate until cancelled; it is a failure, too, when there is nobody to be asked."""
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                if self.addresses:
                    group.create_task(self.visit(number))
                else:
                    self.failures.append("no endpoint to ask")
                await asyncio.sleep(1 / _REQUESTS_PER_S)

    async def visit(self, number: int) -> None:
        """Make one request and judge it."""
        if self.addresses:  # they may have gone in this turn
            await super().visit(number)
        else:
            self.failures.append("no endpoint to ask")

    def _hear(self, line: bytes) -> None:
        if line.strip() and "endpoints" in (told := json.loads(line)):
            self.addresses = [(one["address"], one["ports"]["http"]) for one in told["endpoints"]]


async def visited(servers: Sequence[str], token: str, work: Callable[[], object]) -> Visitor:
    """Do something, in a thread, while the service is visited; return the visitor, which has seen it all."""
    visitor = Visitor(servers, token)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        following = group.create_task(visitor.follow(session))
        async with asyncio.timeout(10):
            while len(visitor.addresses) < 2:
                await asyncio.sleep(0.01)
        browsing = group.create_task(visitor.browse())
        await asyncio.to_thread(work)
        await asyncio.sleep(0.5)
        browsing.cancel()
        following.cancel()
    return visitor
