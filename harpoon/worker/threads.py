"""Threads for handlers that are not asynchronous: as many as there may be attempts, begun when they are needed.

They are daemons: a handler that hangs does not keep the process from ending.
"""

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

_Work = Callable[[], None]
#: What a function returned, and what it raised.
_Done = tuple[Any, BaseException | None]


class Threads:
    """A pool of threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._lock = Lock()
        self._count = 0
        self._idle = 0

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a function in a thread, and return what it does; whoever waits here can be cancelled, the thread not."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_Done] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            told: _Done
            try:
                told = context.run(function), None
            except BaseException as caught:  # noqa: BLE001 it is handed to who waits
                told = None, caught
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, done, told)

        self._put(work)
        outcome, error = await done
        if error is not None:
            raise error
        return outcome

    def close(self) -> None:
        """Let the threads end, each after what it does."""
        with self._lock:
            for _ in range(self._count):
                self._queue.put(None)

    def _put(self, work: _Work) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._count < self._most:
                self._count += 1
                Thread(target=self._serve, name=f"handler-{self._count}", daemon=True).start()
        self._queue.put(work)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            with self._lock:
                self._idle += 1


def _settle(done: "asyncio.Future[_Done]", told: _Done) -> None:
    if not done.done():
        done.set_result(told)
