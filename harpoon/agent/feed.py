"""What the agent tells about its tasks: a snapshot to each who begins to follow, then what changes.

Changes of one turn of the event loop are one event; it is made into bytes once, for all who follow. Nothing is told
that did not change, and a follower that does not keep up is cut off: it comes back for a snapshot.
"""

import asyncio
import uuid
from collections import deque
from typing import Final

from harpoon.agent.metrics import Metrics
from harpoon.agent.stream import encode
from harpoon.model.name import TaskId
from harpoon.model.task import Task
from harpoon.model.wire import Changed

#: What may wait for one follower.
_WAITING_EVENTS_MAX: Final = 4096
_WAITING_BYTES_MAX: Final = 32 << 20


class Follower:
    """One who follows; what waits for it is bounded."""

    def __init__(self) -> None:
        self.is_cut = False
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._has_news = asyncio.Event()

    def push(self, event: bytes) -> None:
        """Have an event wait, or cut this follower off when too much already does."""
        self._bytes += len(event)
        self._waiting.append(event)
        if len(self._waiting) > _WAITING_EVENTS_MAX or self._bytes > _WAITING_BYTES_MAX:
            self.cut()
        self._has_news.set()

    def cut(self) -> None:
        """End it: nothing more will be told."""
        self.is_cut = True
        self._waiting.clear()
        self._has_news.set()

    async def take(self, patience_s: float) -> bytes | None:
        """Wait for events and take all that wait; None when there was none for so long, or it was cut off."""
        try:
            async with asyncio.timeout(patience_s):
                await self._has_news.wait()
        except TimeoutError:
            return None
        self._has_news.clear()
        events = b"".join(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return None if self.is_cut else events


class Feed:
    """Tells changes of tasks to all who follow."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        #: What is to be told at the end of this turn of the loop.
        self._changed: dict[TaskId, Task | None] = {}
        self._followers: dict[Follower, None] = {}
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_followed = asyncio.Event()
        #: One life of this daemon.
        self.boot = uuid.uuid4().hex
        self.seq = 0

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    def tell(self, task: TaskId, now: Task | None) -> None:
        """Have a task told, as it is at the end of this turn of the event loop; None: it is gone."""
        if not self._changed:
            asyncio.get_running_loop().call_soon(self.flush)
        self._changed[task] = now

    def flush(self) -> None:
        """Tell at once what changed."""
        if not self._changed:
            return
        self.seq += 1
        gone = tuple(task for task, now in self._changed.items() if now is None)
        tasks = tuple(now for now in self._changed.values() if now is not None)
        self._changed.clear()
        event = encode("changed", Changed(boot=self.boot, seq=self.seq, tasks=tasks, gone=gone))
        self._metrics.events.inc()
        for follower in self._followers:
            if not follower.is_cut:
                follower.push(event)
                self._metrics.streams_cut.inc(follower.is_cut)

    def follow(self) -> Follower:
        """Begin to follow: all events after the present ``seq``. End with `Feed.leave`."""
        self.flush()
        follower = Follower()
        self._followers[follower] = None
        self._metrics.streams.set(len(self._followers))
        self._is_idle.clear()
        self._is_followed.set()
        return follower

    def leave(self, follower: Follower) -> None:
        """Stop following."""
        self._followers.pop(follower, None)
        self._metrics.streams.set(len(self._followers))
        if not self._followers:
            self._is_idle.set()
            self._is_followed.clear()

    def close(self) -> None:
        """End all who follow."""
        for follower in self._followers:
            follower.cut()

    async def followed(self) -> None:
        """Wait until somebody follows."""
        await self._is_followed.wait()

    async def idle(self) -> None:
        """Wait until nobody follows."""
        await self._is_idle.wait()
