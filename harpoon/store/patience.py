"""How long a store that is away is waited for: to begin with for a span, once it was there for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from harpoon.kit.errors import Unavailable
from harpoon.kit.news import News
from harpoon.store.port import StoreUnavailable, Trouble

#: Pause before a store is tried again, growing from the first to the second.
PAUSE_S: Final = (0.1, 2.0)
#: What no waiting mends.
_FOR_A_PERSON: Final = frozenset({Trouble.DENIED, Trouble.UNFIT})

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Patience:
    """How long a store that is away is waited for: to begin with for a span, once it was there for ever."""

    def __init__(self, span: timedelta, stop: asyncio.Event) -> None:
        self.stop = stop
        self._span = span
        self._until: float | None = asyncio.get_running_loop().time() + span.total_seconds()
        self._news = News()

    async def insist(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do what needs the store, again and again until it succeeds; None: the process is told to stop.

        Raises:
            Unavailable: The store was away for too long.
            StoreUnavailable: Waiting does not help.
        """
        pause_s = PAUSE_S[0]
        while not self.stop.is_set():
            try:
                return await work()
            except StoreUnavailable as error:
                self._consider(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.stop.wait()
            pause_s = min(2 * pause_s, PAUSE_S[1])
        return None

    def rely(self) -> None:
        """Wait for ever from now on: the store was there."""
        self._until = None
        self._news.forget()

    def _consider(self, error: StoreUnavailable) -> None:
        now = asyncio.get_running_loop().time()
        if self._until is not None and (error.trouble in _FOR_A_PERSON or not self._span):
            raise error
        if self._until is not None and now >= self._until:
            raise Unavailable(f"the store could not be used for {self._span.seconds} s: {error}") from error
        if self._news.is_news(str(error), now):
            _log.warning("waiting_for_store", reason=str(error))
