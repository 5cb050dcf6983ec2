"""An event loop on which no time passes but that which is waited for, and on which nodes are paused, and die, at once.

A node stands for a process of the operating system. All that it does runs in contexts of its own (`NODE`), so the loop
knows whose turn each callback would be: those of a node that is paused are kept, those of a dead one dropped, in the
middle of whatever it did and without any cleaning up, as by SIGSTOP and SIGKILL. Each node has clocks of its own, which
may go wrong; timers go by them.

Nothing here waits for the operating system: work for other threads is done in the loop, after a while. Turns come in
the same order each time, also where asyncio keeps tasks in sets.
"""

import asyncio
import contextvars
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, Final, NoReturn

from harpoon.model.instant import Instant

#: The wall clock at the beginning of every run: 2026-01-01T00:00:00Z.
WALL_MS: Final = 1_767_225_600_000
#: The least that a timer waits.
TICK_S: Final = 0.000_001
#: Nobody has so much to do at one moment.
STILL_TURNS_MAX: Final = 200_000
#: Work that is handed to another thread takes so long.
THREAD_S: Final = 0.0005


class Node:
    """A process: what runs in its contexts."""

    def __init__(self, name: str, now: float = 0.0) -> None:
        self.name = name
        self.is_paused = False
        self.is_dead = False
        #: What would have had its turn while it was paused.
        self.stalled: deque[asyncio.Handle] = deque()
        #: How fast its monotonic clock goes.
        self.rate = 1.0
        #: By how much its wall clock is ahead.
        self.ahead_ms = 0
        self._base = (now, now)

    def local(self, now: float) -> float:
        """Return what its monotonic clock shows at a moment."""
        since, shown = self._base
        return shown + (now - since) * self.rate

    def when(self, shown: float, now: float) -> float:
        """Return the moment at which its monotonic clock shows something, which lies ahead."""
        return now + (shown - self.local(now)) / self.rate

    def run_at(self, rate: float, now: float) -> None:
        """Let its clock go faster or slower from a moment on."""
        self._base, self.rate = (now, self.local(now)), rate

    def context(self) -> contextvars.Context:
        """Return a new context in which things are this node's."""
        context = contextvars.Context()
        context.run(NODE.set, self)
        return context


#: Whose turn it is. Outside of all nodes there is the world, which is never wrong.
WORLD: Final = Node("world")
NODE: ContextVar[Node] = ContextVar("node", default=WORLD)


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """A task that has the same place in sets each time."""

    _numbers = itertools.count()

    def __new__(cls, *args: Any, **kwargs: Any) -> "SimTask":
        task = super().__new__(cls, *args, **kwargs)
        task._number = next(cls._numbers)
        return task

    def __hash__(self) -> int:
        return self._number


class SimFuture(asyncio.Future):  # type: ignore[type-arg]
    """A future that has the same place in sets each time."""

    _numbers = itertools.count()

    def __new__(cls, *args: Any, **kwargs: Any) -> "SimFuture":
        future = super().__new__(cls, *args, **kwargs)
        future._number = next(cls._numbers)
        return future

    def __hash__(self) -> int:
        return self._number


class Spinning(Exception):
    """So much is done at one moment that it will never pass: something waits by asking again and again."""


class SimLoop(asyncio.BaseEventLoop):
    """See the module. ``now`` is the one true time, in seconds since the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        #: Callbacks run so far.
        self.turns = 0
        #: The present moment, and the turns before it.
        self._since = (0.0, 0)
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        #: What went wrong where nobody was to hear of it.
        self.failures: list[dict[str, Any]] = []
        #: All there ever were: one of a dead node that nobody knows any more would be cleaned up, at whatever moment.
        self._tasks: list[SimTask] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda _loop, failure: self.failures.append(failure))

    def _make_task(self, _loop: object, work: Coroutine[Any, Any, Any], **given: Any) -> SimTask:
        task = SimTask(work, loop=self, **given)
        self._tasks.append(task)
        return task

    # What asyncio asks of a loop.

    def time(self) -> float:
        return NODE.get().local(self.now)

    def create_future(self) -> SimFuture:
        return SimFuture(loop=self)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        node = (context or contextvars.copy_context()).get(NODE, WORLD)
        return self.call_at(node.local(self.now) + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        context = context or contextvars.copy_context()
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        due = context.get(NODE, WORLD).when(when, self.now)
        # Clocks tell microseconds: who waits for less would be woken before the clock shows it.
        due = self.now if due <= self.now else max(due, self.now + TICK_S)
        heappush(self._timers, (due, next(self._order), timer))
        return timer

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> SimFuture:  # type: ignore[override]
        done = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001 whoever waits is to be told
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self.call_later(THREAD_S, work)
        return done

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is skipped when it would be due."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who could be woken."""

    def _process_events(self, event_list: object) -> NoReturn:
        raise AssertionError("there are no events from outside")

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        if not ready:
            while timers and timers[0][2].cancelled():
                heappop(timers)
            if not timers:
                raise RuntimeError("nothing will ever happen again")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            timer = heappop(timers)[2]
            if not timer.cancelled():
                ready.append(timer)
        if self.now > self._since[0] + 0.001:
            self._since = (self.now, self.turns)
        elif self.turns > self._since[1] + STILL_TURNS_MAX:
            raise Spinning(self.now, [repr(handle) for handle in islice(ready, 20)])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            node = handle._context.get(NODE, WORLD)
            if node.is_dead:
                continue
            if node.is_paused:
                node.stalled.append(handle)
                continue
            self.turns += 1
            handle._run()

    # What a simulation asks.

    def start(self, node: Node, work: Coroutine[Any, Any, Any], name: str = "") -> SimTask:
        """Have a node do something."""
        task = node.context().run(self.create_task, work)
        task.set_name(f"{node.name}: {name or work.__qualname__}")
        return task

    def run_at(self, node: Node, rate: float) -> None:
        """Let a node's clock go faster or slower from now on; what it waits for goes by that."""
        node.run_at(rate, self.now)
        for place, (_, order, timer) in enumerate(self._timers):
            if timer._context.get(NODE, WORLD) is node:
                self._timers[place] = max(self.now, node.when(timer.when(), self.now)), order, timer
        heapify(self._timers)

    def pause(self, node: Node) -> None:
        """Let a node stand still."""
        node.is_paused = True

    def resume(self, node: Node) -> None:
        """Let it go on: all that is overdue happens now."""
        node.is_paused = False
        self._ready.extend(node.stalled)  # type: ignore[attr-defined]
        node.stalled.clear()

    def kill(self, node: Node) -> None:
        """Let nothing of a node ever happen again."""
        node.is_dead = True
        node.stalled.clear()


class SimClock:
    """The clocks of whichever node asks."""

    def now(self) -> Instant:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        node = NODE.get()
        shown = node.local(loop.now)
        return Instant(elapsed=timedelta(seconds=shown), wall=WALL_MS + node.ahead_ms + int(shown * 1000))
