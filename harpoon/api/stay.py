"""Requests that stay open, streams and waits: bounded in number, and endable from outside at any moment.

Whatever ends one (the instance drains, the client left, the reader is too slow) ends it at once, wherever it waits:
`Stay.end` makes the work under `Stay.run` stop at its next await, as a timeout would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Protocol, runtime_checkable

from aiohttp import web

from harpoon.api.limits import Limits
from harpoon.kit.errors import Unavailable


class Ending(Enum):
    """Why a request that stayed open was ended."""

    #: The instance drains.
    BYE = auto()
    #: Its reader did not keep up.
    SLOW = auto()
    #: The client has left.
    GONE = auto()


@runtime_checkable
class Telling(Protocol):
    """A connection that tells when it is lost."""

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Call back when the client has left; None: no more."""


class Stay:
    """One request that stays open."""

    def __init__(self) -> None:
        #: Set once, by the first that ends it.
        self.ending: Ending | None = None
        #: Loop time since which a write waits for the reader; None while none does.
        self.writing_since: float | None = None
        #: Called every ``bookmark_s``; None: nothing to do then.
        self.on_tick: Callable[[], None] | None = None
        self._scope: asyncio.Timeout | None = None

    def end(self, ending: Ending) -> None:
        """Make the work under `run` stop; the first reason counts."""
        if self.ending is None:
            self.ending = ending
            if self._scope is not None:
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` until it is through, or until `end` is called, which then leaves without an error."""
        if self.ending is not None:
            return
        try:
            async with asyncio.timeout(None) as self._scope:
                await work()
        except TimeoutError:
            if self.ending is None:
                raise
        finally:
            self._scope = None


class Stays:
    """All requests of an application that stay open."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: In the order in which they came; the values mean nothing.
        self._open: dict[Stay, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def admit(self, request: web.Request) -> Iterator[Stay]:
        """Count a request among the open ones while the block runs.

        Raises:
            Unavailable: There are too many already, or the instance drains.
        """
        if self._is_draining:
            raise Unavailable("this instance is about to stop; ask another, or again later")
        if len(self._open) >= self._limits.stays:
            raise Unavailable(f"{self._limits.stays} watches and waits are open already; try again later")
        stay = Stay()
        connection = request.protocol
        if isinstance(connection, Telling):
            connection.when_lost(lambda: stay.end(Ending.GONE))
        self._open[stay] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.bookmark_s, self._tick)
        try:
            yield stay
        finally:
            self._open.pop(stay, None)
            if isinstance(connection, Telling):
                connection.when_lost(None)
            if not self._open and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def drain(self) -> None:
        """End all of them with a last word, and admit no more."""
        self._is_draining = True
        for stay in list(self._open):
            stay.end(Ending.BYE)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.bookmark_s, self._tick)
        for stay in list(self._open):
            since = stay.writing_since
            if since is not None and loop.time() - since > self._limits.stall_s:
                stay.end(Ending.SLOW)
            elif stay.on_tick is not None:
                stay.on_tick()


STAYS: web.AppKey[Stays] = web.AppKey("stays", Stays)
