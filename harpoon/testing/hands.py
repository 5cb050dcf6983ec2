"""Workers in this process: the real ones, with the users' handlers, but for the way to their server and the clock."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from harpoon.client.caller import noun_of
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Unavailable
from harpoon.model.work import WorkRequest
from harpoon.testing.driver import Driver
from harpoon.testing.loop import VirtualLoop
from harpoon.testing.server import Server
from harpoon.worker.app import Worker
from harpoon.worker.means import Means
from harpoon.worker.serving import serve
from harpoon.worker.settings import Settings
from harpoon.worker.threads import Threads
from harpoon.worker.wire import WorkAnswer

#: A request for work is kept for so long at the server: for as long as there is none.
PATIENCE: Final = timedelta(days=365)
#: Pause after the server could not take a request.
AGAIN_S: Final = 0.1


class Site:
    """Where the present server is found; there may be none for a while."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._asked: set[asyncio.Task[bytes]] = set()
        self._is_there = asyncio.Event()

    @property
    def server(self) -> Server:
        """The server that is there."""
        assert self._server is not None, "one is there unless it is just started again"
        return self._server

    def enter(self, server: Server) -> None:
        """Have requests go to a server."""
        self._server = server
        self._is_there.set()

    def leave(self) -> None:
        """Break off all requests: the server is gone."""
        self._server = None
        self._is_there.clear()
        for asked in self._asked:
            asked.cancel()

    async def ask(self, namespace: str, asked: WorkRequest) -> bytes:
        """Return what a server answers a worker, of which there may be several until one does.

        Raises:
            Conflict: As by `WorkExchange.serve`.
        """
        while True:
            await self._is_there.wait()
            request = asyncio.ensure_future(self.server.work(namespace, asked))
            self._asked.add(request)
            try:
                await asyncio.wait((request,))
            finally:
                self._asked.discard(request)
                request.cancel()
            if request.cancelled():
                continue
            if isinstance(request.exception(), Unavailable):
                await asyncio.sleep(AGAIN_S)
                continue
            return request.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patient(WorkRequest):
    """A request that waits for longer than one from outside may."""

    def __post_init__(self) -> None:
        """It was checked when it was read."""


class InProcess:
    """A way to the server of this process; `harpoon.worker.means.Way`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    async def exchange(self, namespace: str, body: bytes, within: timedelta) -> WorkAnswer:  # noqa: ARG002 it answers
        """Return what a request is answered; see `harpoon.worker.means.Way.exchange`."""
        asked = codec.decode(WorkRequest, body)
        if asked.wait:
            told_so = {one.name: getattr(asked, one.name) for one in fields(asked)}
            asked = _Patient(**{**told_so, "wait": PATIENCE})
        told: WorkAnswer = noun_of(WorkAnswer, await self._site.ask(namespace, asked), "")
        return told


class CountedThreads(Threads):
    """Threads for handlers, of which it is known whether they are at work."""

    def __init__(self, loop: VirtualLoop, most: int) -> None:
        super().__init__(most)
        self._loop = loop

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a function in a thread; see `Threads.run`."""
        call = object()
        self._loop.outside.add(call)
        try:
            return await super().run(function)
        finally:
            self._loop.outside.discard(call)


class Hand:
    """A worker, as if it were a process of its own."""

    def __init__(self, app: Worker, name: str, driver: Driver, settings: Settings, means: Means) -> None:
        #: What it calls itself; attempts bear it.
        self.name = name
        self._driver = driver
        self._stop = asyncio.Event()
        self._life = driver.spawn(serve(app, settings, stop=self._stop, means=means), name=f"worker {name}")

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._life.done()

    async def stop(self) -> None:
        """Have it stop, as by SIGTERM: it takes nothing more, and what it has may run on for 30 s, as time passes."""
        self._stop.set()
        await self._driver.settle()

    async def kill(self) -> None:
        """Have it be gone, as by SIGKILL: what it has is lost once its heartbeat is over."""
        await self._driver.end(self._life)


def means_of(site: Site, loop: VirtualLoop, clock: Clock) -> Means:
    """Return what a worker is run with in this process."""

    def now() -> float:
        return clock.now().elapsed.total_seconds()

    return Means(
        connect=lambda _is_known: InProcess(site),
        now=now,
        threads=partial(CountedThreads, loop),
        is_timeless=True,
    )
