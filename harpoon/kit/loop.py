"""The level-triggered loop: wake-ups carry a key and nothing else; the loop reads whole states and acts.

What it promises of its keys: *fair* (first woken, first handled), *stingy* (a key woken many times before its
turn is handled once), *never lost* (a key woken while it is handled is handled again), and *never twice at once*.
Every key is also handled at the start and once each resync interval, in slices that wait behind fresh work.

It does not order different keys, and it does not say why a key was woken.

A failed call is no reason to end: its keys stay woken. What is expected to fail, such as a store that is away, is said
in a line once and now and then; what is not, each time and with its traceback.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Generic, Protocol, TypeVar

import structlog

from harpoon.kit.clock import Random
from harpoon.kit.news import News

K = TypeVar("K")
_log = structlog.get_logger(__name__)


class Counter(Protocol):
    """What a loop counts with."""

    def inc(self, amount: float = 1) -> None:
        """Add to the count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a loop takes its work."""

    #: Every key is handled at least so often, give or take a tenth.
    resync: timedelta = timedelta(seconds=30)
    #: Keys handed to one call.
    batch: int = 256
    #: Keys of a resync handled at a time, between those that were woken.
    slice: int = 32
    #: Wait after a failed call; the keys stay woken.
    retry: timedelta = timedelta(milliseconds=500)


class Loop(Generic[K]):
    """One loop over keys of one kind.

    Args:
        name: For logs and metrics.
        handle: Does what is to be done for some keys.
        everything: All keys there are.
        rng: Spreads the resyncs.
        failures: Counts the calls that failed.
        pace: How much at once, and how often.
        expected: What a call may fail by without anybody being at fault.
    """

    def __init__(  # noqa: PLR0913 what it does, and what it does it with
        self,
        name: str,
        handle: Callable[[Sequence[K]], Awaitable[None]],
        everything: Callable[[], Iterable[K]],
        *,
        rng: Random,
        failures: Counter,
        pace: Pace | None = None,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        self._name = name
        self._handle = handle
        self._everything = everything
        self._rng = rng
        self._failures = failures
        self._pace = pace or Pace()
        self._expected = expected
        self._news = News()
        #: Dicts for their order; the values mean nothing.
        self._woken: dict[K, None] = {}
        self._later: dict[K, None] = {}
        #: When a key is to be woken, by the event loop's clock, and the timer for it. A timer need not know its time:
        #: uvloop makes a plain handle of what is due at once.
        self._due: dict[K, tuple[float, asyncio.Handle]] = {}
        self._is_woken = asyncio.Event()

    def wake(self, key: K) -> None:
        """Have ``key`` handled soon."""
        self._woken[key] = None
        self._is_woken.set()

    def wake_later(self, key: K) -> None:
        """Have ``key`` handled behind what is woken, as a resync does."""
        self._later[key] = None
        self._is_woken.set()

    def wake_after(self, key: K, span: timedelta) -> None:
        """Have ``key`` handled after ``span``; the earliest of several spans counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + span.total_seconds()
        earlier = self._due.get(key)
        if earlier is not None:
            if earlier[0] <= due:
                return
            earlier[1].cancel()
        self._due[key] = due, loop.call_at(due, self._wake_due, key)

    def _wake_due(self, key: K) -> None:
        del self._due[key]
        self.wake(key)

    async def run(self) -> None:
        """Handle keys until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(), name=f"{self._name}-work")
                group.create_task(self._resync(), name=f"{self._name}-resync")
        finally:
            for _, timer in self._due.values():
                timer.cancel()
            self._due.clear()

    async def _work(self) -> None:
        while True:
            if not (self._woken or self._later):
                self._is_woken.clear()
                await self._is_woken.wait()
            # What is woken goes first, but does not keep the rest waiting for ever.
            for keys in (_take(self._woken, self._pace.batch), _take(self._later, self._pace.slice)):
                if keys:
                    await self._try(keys)
                    # Handling them may never have waited for anything.
                    await asyncio.sleep(0)

    async def _try(self, keys: Sequence[K]) -> None:
        try:
            await self._handle(keys)
        except Exception as error:  # noqa: BLE001
            # A loop must survive a bad key or a store that is away; what it could not do stays to be done.
            self._failures.inc()
            self._say(error, len(keys))
            for key in keys:
                self.wake(key)
            await asyncio.sleep(self._pace.retry.total_seconds())
        else:
            if self._news.forget():
                _log.info("passes_succeed_again", loop=self._name)

    def _say(self, error: Exception, keys: int) -> None:
        if not isinstance(error, self._expected):
            _log.error("pass_failed", loop=self._name, keys=keys, exc_info=error)
        elif self._news.is_news(str(error), asyncio.get_running_loop().time()):
            _log.warning("pass_failed", loop=self._name, keys=keys, reason=str(error))

    async def _resync(self) -> None:
        while True:
            for key in self._everything():
                self.wake_later(key)
            spread = self._rng.uniform(0.9, 1.1)
            await asyncio.sleep(self._pace.resync.total_seconds() * spread)


def _take(woken: dict[K, None], count: int) -> list[K]:
    """Return the first so many keys, which are woken no longer."""
    keys = list(islice(woken, count))
    for key in keys:
        del woken[key]
    return keys
