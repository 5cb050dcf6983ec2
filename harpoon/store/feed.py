"""Live revisions, handed to every watcher through a bounded queue of its own.

It keeps no history: whoever resumes registers here *first* and reads history *then*, so that no revision falls
between the two. All of it belongs to one event loop; there are no locks.
"""

import asyncio
from collections import deque
from typing import Final

from harpoon.store.commit import size_of
from harpoon.store.port import Change, SlowWatcher

#: A watcher that has so many revisions, or bytes, before it is cut off.
QUEUED_REVISIONS_MAX: Final = 20_000
QUEUED_BYTES_MAX: Final = 32 << 20

Revision = tuple[int, tuple[Change, ...]]


class Subscription:
    """One watcher's queue of live revisions under its prefix."""

    def __init__(self, prefix: str, start: int) -> None:
        self.prefix = prefix
        #: Every revision above this one passes through the queue.
        self.start = start
        self._queue: deque[tuple[int, tuple[Change, ...], int]] = deque()
        self._bytes = 0
        self._ended: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def offer(self, revision: int, changes: tuple[Change, ...]) -> None:
        """Queue a revision, or cut this watcher off when the queue is full.

        A revision without effect under the prefix is told too, without changes, so that a resume point of a quiet
        prefix does not fall behind the kept history; of several in a row only the last.
        """
        if self._ended is not None:
            return
        prefix = self.prefix
        own = tuple([change for change in changes if change[0].startswith(prefix)])
        queue = self._queue
        if not own and queue and not queue[-1][1]:
            queue.pop()
        size = size_of(own)
        self._bytes += size
        queue.append((revision, own, size))
        if len(queue) > QUEUED_REVISIONS_MAX or self._bytes > QUEUED_BYTES_MAX:
            self.end(SlowWatcher(f"the watcher of {prefix!r} is {len(queue)} revisions behind"))
        self._wake()

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be told."""
        return self._ended is not None

    def end(self, reason: Exception) -> None:
        """Have the watcher get ``reason`` next; what is queued is dropped. The first reason stays."""
        if self._ended is None:
            self._ended = reason
            self._queue.clear()
            self._wake()

    @property
    def is_half_full(self) -> bool:
        """Whether what tells had better wait for the watcher, if it can."""
        return 2 * len(self._queue) > QUEUED_REVISIONS_MAX or 2 * self._bytes > QUEUED_BYTES_MAX

    async def room(self) -> None:
        """Wait until the queue is less than half full, or over."""
        while self._ended is None and self.is_half_full:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    async def next(self) -> Revision:
        """Wait for the next revision, in order.

        Raises:
            SlowWatcher: The queue was full.
            StoreUnavailable: The store was closed.
        """
        while not self._queue:
            if self._ended is not None:
                raise self._ended
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        revision, changes, size = self._queue.popleft()
        self._bytes -= size
        if self._room is not None and not self.is_half_full:
            _release(self._room)
        return revision, changes

    def _wake(self) -> None:
        _release(self._waiter)
        if self._ended is not None:
            _release(self._room)


class Feed:
    """All watchers of a store, and the last revision they were told."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        #: They are told in the order in which they came.
        self._subscriptions: dict[Subscription, None] = {}
        self._ended: Exception | None = None

    def subscribe(self, prefix: str) -> Subscription:
        """Register a watcher from now on."""
        subscription = Subscription(prefix, self.revision)
        if self._ended is not None:
            subscription.end(self._ended)
        self._subscriptions[subscription] = None
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a watcher."""
        self._subscriptions.pop(subscription, None)

    def publish(self, revision: int, changes: tuple[Change, ...]) -> None:
        """Tell every watcher of a revision; in order, each once."""
        assert revision > self.revision, "revisions rise"
        self.revision = revision
        for subscription in self._subscriptions:
            subscription.offer(revision, changes)

    def end(self, reason: Exception) -> None:
        """Have every watcher, and every later one, get ``reason``."""
        self._ended = reason
        for subscription in self._subscriptions:
            subscription.end(reason)


def _release(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
