"""One attempt that this worker carries out, from its claim until its closing is settled.

It belongs to the event loop; other threads may read it, have it `cease`, and tell progress.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import orjson

from harpoon.kit.clock import elapsed_s
from harpoon.worker.handler import Handler
from harpoon.worker.wire import Claim

#: Bytes of JSON that progress may be: it goes with every heartbeat.
PROGRESS_MAX: Final = 4 << 10
#: Beats in each period after which a silent worker loses its claim: one may get lost, and one be late.
BEATS: Final = 3
#: Progress is told so soon, but not more often.
PROGRESS_EVERY_S: Final = 1.0
#: Tells the present moment, in seconds on a clock that only rises; the same in all threads.
Now = Callable[[], float]


class Attempt:
    """An attempt under way."""

    def __init__(self, claim: Claim, handler: Handler, hurry: Callable[[float], None], now: Now = elapsed_s) -> None:
        self.claim = claim
        self._now = now
        self.handler = handler
        #: Has the heartbeats looked at, given when the next one is due.
        self._hurry = hurry
        began_s = now()
        #: When the server will have closed it as timed out.
        self.due_s = began_s + claim.timeout_ms / 1000
        self.heartbeat_s = claim.heartbeat_ms / 1000
        self.beaten_s = began_s
        self.beat_due_s = began_s + self.heartbeat_s / BEATS
        #: JSON of what it told last; empty: nothing.
        self.progress = b""
        #: Why it is not to go on; empty: it is.
        self.cause = ""
        #: Whether that is because it is this worker's no longer.
        self.is_lost = False
        #: Whether its handler was told to end.
        self.is_stopped = False
        #: Whether its handler has ended.
        self.is_over = False
        #: What runs the handler.
        self.task: asyncio.Task[None] | None = None

    @property
    def needs_loop(self) -> bool:
        """Whether nothing becomes of it while the event loop stands still."""
        return self.handler.is_async or self.is_over

    @property
    def remaining(self) -> timedelta:
        """How long until it times out."""
        return timedelta(seconds=max(0.0, self.due_s - self._now()))

    @property
    def is_cancelled(self) -> bool:
        """Whether its handler is to end."""
        return bool(self.cause) or self._now() >= self.due_s

    def cease(self, cause: str, *, is_lost: bool) -> None:
        """Say why it is not to go on. From any thread."""
        self.is_lost = self.is_lost or is_lost
        self.cause = self.cause or cause

    def tell(self, progress: object) -> None:
        """Have progress told with the next heartbeat, which is to be soon.

        Raises:
            ValueError: It is no JSON, or too much.
        """
        try:
            told = orjson.dumps(progress)
        except orjson.JSONEncodeError as error:
            raise ValueError(f"progress is to be JSON: {error}") from error
        if len(told) > PROGRESS_MAX:
            raise ValueError(f"progress is at most {PROGRESS_MAX >> 10} KiB of JSON; tell less of it")
        self.progress = told
        soon_s = self.beaten_s + PROGRESS_EVERY_S
        if soon_s < self.beat_due_s:
            self.beat_due_s = soon_s
            self._hurry(soon_s)

    def note_beat(self, sent_s: float) -> None:
        """Take note that a heartbeat was sent."""
        self.beaten_s, self.beat_due_s = sent_s, sent_s + self.heartbeat_s / BEATS
