"""What a worker is run with: its ways to servers, its clock and its threads; those of the process unless told."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from harpoon.kit.clock import elapsed_s
from harpoon.worker.attempt import Now
from harpoon.worker.threads import Threads
from harpoon.worker.wire import WorkAnswer


class Way(Protocol):
    """A way to servers, of one part of a worker; it belongs to one event loop."""

    async def __aenter__(self) -> Self:
        """Open it."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""

    async def exchange(self, namespace: str, body: bytes, within: timedelta) -> WorkAnswer:
        """Return what a request is answered; sent until it is.

        Raises:
            Invalid: What is sent is refused, and would be anywhere.
            Conflict: It contradicts what was sent before.
            HarpoonError: The worker is refused.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The ways out of a worker."""

    #: Makes a way to its servers, given whether it is known that they take this worker.
    connect: Callable[[bool], Way]
    #: Tells the moment.
    now: Now = elapsed_s
    #: Makes threads for handlers that are not asynchronous, at most so many.
    threads: Callable[[int], Threads] = Threads
    #: Heartbeats come from the event loop itself: for one that nothing can block, since no time passes in a turn of it.
    is_timeless: bool = False
