"""What goes on in the engine: one stream of events, and the whole list when it begins, and now and then."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from harpoon.agent.drivers.docker_engine import Engine, Refused
from harpoon.core.blockers import moment
from harpoon.kit.clock import Clock, Random
from harpoon.kit.errors import Unavailable, leaves

#: The list is taken so often, which also shows that the engine answers.
_STOCK_S: Final = 30.0
_AGAIN_FIRST_S: Final = 0.2
_AGAIN_MAX_S: Final = 10.0

_log = structlog.get_logger(__name__)


class Listener(Protocol):
    """Who is told of it."""

    def happened(self, container: str) -> None:
        """Something happened to a container of that id."""

    def listed(self, containers: Mapping[str, str]) -> None:
        """These are all that there are now: id → state."""

    def lost(self, since: str) -> None:
        """The engine does not answer; ``since`` says in words since when, and why."""


class Watch:
    """Watches one engine."""

    def __init__(self, engine: Engine, label: str, listener: Listener, clock: Clock, rng: Random) -> None:
        self._engine = engine
        self._label = label
        self._listener = listener
        self._clock = clock
        self._rng = rng
        #: Of the engine, once it has answered; it stands when it does not any more.
        self.version: str | None = None
        #: Called when the version is another one.
        self.met: Callable[[], None] = lambda: None
        #: Set as long as it answers.
        self.answers = asyncio.Event()
        #: Set once it was tried to ask it.
        self.was_tried = asyncio.Event()
        #: Since when it does not answer, and why; empty: it does, or was not asked yet.
        self.since = ""
        self._wait = _AGAIN_FIRST_S

    async def run(self) -> None:
        """Watch until cancelled; however often the engine goes."""
        while True:
            try:
                await self._follow()
            except* (Unavailable, Refused) as group:
                self._has_lost(str(leaves(group)[0]))
            await asyncio.sleep(self._wait * self._rng.uniform(0.5, 1.0))
            self._wait = min(_AGAIN_MAX_S, self._wait * 2)

    async def _follow(self) -> None:
        """Follow for as long as the engine answers."""
        async with self._engine.events(self._label) as events, asyncio.TaskGroup() as group:
            # What happens while the list is taken comes after it.
            group.create_task(self._take_stock(), name="stock")
            async for container in events:
                self._listener.happened(container)

    async def _take_stock(self) -> None:
        while True:
            if not self.answers.is_set():
                version = await self._engine.version()
                self._listener.listed(await self._engine.listed(self._label))
                self._has_come(version)
            else:
                self._listener.listed(await self._engine.listed(self._label))
            await asyncio.sleep(_STOCK_S)

    def _has_come(self, version: str) -> None:
        self._wait = _AGAIN_FIRST_S
        self.since = ""
        self.answers.set()
        self.was_tried.set()
        _log.info("engine_answers", version=version)
        if version != self.version:
            self.version = version
            self.met()

    def _has_lost(self, reason: str) -> None:
        self.was_tried.set()
        if self.since and not self.answers.is_set():
            return
        self.answers.clear()
        self.since = f"the Docker engine does not answer since {moment(self._clock.now().wall)} ({reason})"
        if self.version is not None:
            _log.warning("engine_lost", reason=reason)
        self._listener.lost(self.since)
