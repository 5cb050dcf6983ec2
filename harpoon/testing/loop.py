"""An event loop on which no time passes unless it is told so, and which another loop drives a turn at a time.

Sockets, threads and subprocesses work as ever; only timers wait for `VirtualLoop.move`. It belongs to the thread of the
loop that drives it, so what is on either of them sees the other's objects between two turns, and never during one.

Time is counted in whole microseconds, so that whoever computes a span gets the same one back.
"""

import asyncio
import contextvars
from collections.abc import Callable
from datetime import timedelta
from math import ceil
from selectors import DefaultSelector
from typing import Any, Final, TypeVarTuple, Unpack

from harpoon.model.instant import Instant

_Ts = TypeVarTuple("_Ts")
_MICRO: Final = 1_000_000
#: What computing with seconds as floats may be off by, in microseconds.
_FUZZ: Final = 0.1


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module.

    Args:
        stirred: Called when something is to be done that this loop was not told of by itself.
    """

    def __init__(self, stirred: Callable[[], None]) -> None:
        selector = DefaultSelector()
        super().__init__(selector)
        self._watched = selector
        self._stirred = stirred
        self._is_turning = False
        # Whatever is due within a part of a microsecond is due now.
        self._clock_resolution = 2 * _FUZZ / _MICRO
        #: Microseconds since the beginning.
        self.shown = 0
        #: One for each piece of work that was handed to another thread and is not done.
        self.outside: set[object] = set()

    @property
    def is_ready(self) -> bool:
        """Whether something is to be done now."""
        if self._ready:  # type: ignore[attr-defined]
            return True
        # A timer that was cancelled is swept out by a turn.
        timers = self._scheduled  # type: ignore[attr-defined]
        return bool(timers) and (timers[0].cancelled() or self._micros(timers[0].when()) <= self.shown)

    @property
    def due(self) -> int | None:
        """When the next timer is due, while nothing is ready; None: there is none."""
        timers = self._scheduled  # type: ignore[attr-defined]
        return self._micros(timers[0].when()) if timers else None

    @property
    def descriptor(self) -> int:
        """A file descriptor that is readable when something is to be done on behalf of sockets or threads."""
        return self._watched.fileno()

    @property
    def has_sockets(self) -> bool:
        """Whether anything is open that could bring something from outside, beside threads."""
        return len(self._watched.get_map() or ()) > 1  # the first one is the loop's own

    def turn(self) -> None:
        """Look at what has come from outside, and do what is ready; not within a task."""
        outer = asyncio._get_running_loop()  # noqa: SLF001 for loops, its documentation says
        asyncio._set_running_loop(None)  # noqa: SLF001
        self._is_turning = True
        try:
            self.stop()
            self.run_forever()
        finally:
            self._is_turning = False
            asyncio._set_running_loop(outer)  # noqa: SLF001

    def move(self, to: int) -> None:
        """Let time pass, up to a number of microseconds since the beginning."""
        self.shown = max(self.shown, to)

    def time(self) -> float:
        """Return the seconds since the beginning."""
        return self.shown / _MICRO

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Have something called in the next turn."""
        handle = super().call_soon(callback, *args, context=context)
        if not self._is_turning:
            self._stirred()
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Have something called when it is time; what lies ahead at all, a microsecond ahead at least."""
        now = self.time()
        # Who waits for less would be called at the same moment, and might wait for the rest again, for ever.
        when = when if when <= now else max(when, (self.shown + 1) / _MICRO)
        timer = super().call_at(when, callback, *args, context=context)
        if not self._is_turning and when <= now:
            self._stirred()
        return timer

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Have something done in another thread."""
        done = super().run_in_executor(executor, func, *args)
        self.outside.add(done)
        done.add_done_callback(self.outside.discard)
        return done

    @staticmethod
    def _micros(when: float) -> int:
        return ceil(when * _MICRO - _FUZZ)


class LoopClock:
    """The clocks of a virtual loop; `harpoon.kit.clock.Clock`.

    Args:
        loop: Tells what has passed.
        began_ms: UTC milliseconds at its beginning.
    """

    def __init__(self, loop: VirtualLoop, began_ms: int) -> None:
        self._loop = loop
        self._began_ms = began_ms

    def now(self) -> Instant:
        """Return the present moment."""
        shown = self._loop.shown
        return Instant(elapsed=timedelta(microseconds=shown), wall=self._began_ms + shown // 1_000)
