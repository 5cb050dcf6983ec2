"""Drives a virtual loop from the loop that a test runs on: each turn of the one is a callback of the other.

It drives whenever there is something to do, so that what needs no time to pass happens by itself. `advance` lets time
pass from one due to the next, and all that is due at a moment, and all that follows from it, is over before the next
moment comes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from harpoon.testing.loop import VirtualLoop

T = TypeVar("T")
#: Turns of the virtual loop in one of the test's.
TURNS: Final = 1_000
#: Turns at one moment after which it is taken that it will never pass.
TURNS_MAX: Final = 1_000_000
#: What does not end however often it is cancelled is left.
_ENDINGS: Final = 20


class Driver:
    """Drives one virtual loop; made on the loop that drives it.

    Args:
        patience: Other threads, and sockets, are waited for so long, in real time.
    """

    def __init__(self, patience: timedelta) -> None:
        self.loop = VirtualLoop(self._stir)
        #: Whether something waits for what comes from outside.
        self.is_busy: Callable[[], bool] = lambda: False
        self._host = asyncio.get_running_loop()
        self._patience_s = patience.total_seconds()
        self._is_called = False
        #: Turns since time has passed.
        self._turns = 0
        #: Those who wait until nothing is ready.
        self._idle: list[asyncio.Future[None]] = []
        self._has_stirred = asyncio.Event()
        #: Work of other threads for which patience has run out.
        self._given_up: frozenset[object] = frozenset()
        #: It has run out, and nothing has come from outside since.
        self._is_tired = False
        self._asked: set[asyncio.Future[Any]] = set()
        self._failure: BaseException | None = None
        self._host.add_reader(self.loop.descriptor, self._hear)

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done on the virtual loop, and return what it returns."""
        answer: asyncio.Future[T] = self._host.create_future()
        task = self.loop.create_task(work)

        def tell(task: asyncio.Task[T]) -> None:
            error = None if task.cancelled() else task.exception()
            if answer.done():
                return
            if task.cancelled():
                answer.cancel()
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

        task.add_done_callback(tell)
        self._asked.add(answer)
        try:
            self._check()
            return await answer
        finally:
            self._asked.discard(answer)
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Have something go on there; if it fails, whoever asks for anything is told."""
        task = self.loop.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    async def end(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel what was spawned, and return once it has ended.

        Raises:
            RuntimeError: It does not end.
        """
        for _ in range(_ENDINGS):
            left = [task for task in tasks if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            await self.settle()
        left = [task for task in tasks if not task.done()]
        if left:
            raise RuntimeError(f"{', '.join(task.get_name() for task in left)} did not end when it was cancelled")

    async def settle(self) -> None:
        """Return once all has happened that needs no time to pass; other threads are waited for, with patience."""
        while True:
            await self._until_idle()
            self._check()
            if self.loop.outside <= self._given_up and (self._is_tired or not self.is_busy()):
                return
            self._has_stirred.clear()
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._has_stirred.wait()
            except TimeoutError:
                self._is_tired, self._given_up = True, frozenset(self.loop.outside)

    async def advance(self, span: timedelta, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass.

        Args:
            span: How much, at most.
            until: It passes no further once this holds.
        """
        loop = self.loop
        target = loop.shown + span // timedelta(microseconds=1)
        await self.settle()
        while not until():
            due = loop.due
            loop.move(target if due is None else min(due, target))
            self._turns = 0
            if loop.is_ready:
                await self.settle()
            elif loop.shown >= target:
                return

    async def close(self) -> None:
        """Close the virtual loop; all that was spawned must have ended."""
        loop = self.loop
        self._failure = None
        for task in asyncio.all_tasks(loop):
            task.cancel()
        await self._until_idle()
        await self.call(loop.shutdown_asyncgens())
        await self.call(loop.shutdown_default_executor())
        self._host.remove_reader(loop.descriptor)
        loop.close()

    def _check(self) -> None:
        if self._failure is not None:
            raise RuntimeError("the test environment has failed") from self._failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._failure = self._failure or error
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(error)

    async def _until_idle(self) -> None:
        idle = self._host.create_future()
        self._idle.append(idle)
        self._stir()
        await idle

    def _stir(self) -> None:
        """Have the loop driven soon."""
        self._has_stirred.set()
        if not self._is_called and not self.loop.is_closed():
            self._is_called = True
            self._host.call_soon(self._drive)

    def _hear(self) -> None:
        """Take note that something has come from outside."""
        self._is_tired = False
        self._stir()

    def _drive(self) -> None:
        self._is_called = False
        loop = self.loop
        if loop.is_closed():
            return
        for _ in range(TURNS):
            loop.turn()
            if not loop.is_ready:
                break
        else:
            self._turns += TURNS
            if self._turns > TURNS_MAX:
                self._fail(RuntimeError("something goes on for ever while no time passes: it asks again and again"))
                return
            self._stir()
            return
        idle, self._idle = self._idle, []
        for one in idle:
            if not one.done():
                one.set_result(None)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        for one in (*self._asked, *self._idle):
            if not one.done():
                one.set_exception(error)
        self._idle.clear()
