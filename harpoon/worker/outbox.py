"""Finished attempts on their way back: whoever makes the next request takes them along.

Each stays on its way until a server has said what became of it. What comes back refused is closed with a failure that
says so, for an attempt that nobody closes is an attempt that is lost for nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from harpoon.kit.clock import elapsed_s
from harpoon.kit.errors import HarpoonError
from harpoon.worker.attempt import Now
from harpoon.worker.outcome import failed
from harpoon.worker.wire import Claim, Closing, Told

#: Closings of one request, and bytes of them; one that is larger goes alone.
COUNT_MAX: Final = 200
BYTES_MAX: Final = 512 << 10
#: A closing that a server could not take now is sent again after so long.
AGAIN_S: Final = 1.0

_log = structlog.get_logger(__name__)
#: Is told what is settled: its place is free, and it need not be kept alive.
Settled = Callable[[Claim], None]


class Outbox:
    """The closings that nobody has taken along yet. It belongs to one event loop."""

    def __init__(self, settled: Settled, now: Now = elapsed_s) -> None:
        self._settled = settled
        self._now = now
        self._kept: deque[Closing] = deque()
        #: So many of the first are sent one by one: among them is one that spoils a request.
        self._suspects = 0
        self._is_there = asyncio.Event()

    def __len__(self) -> int:
        return len(self._kept)

    async def wait(self) -> None:
        """Return once there is something to be taken."""
        await self._is_there.wait()

    def put(self, closing: Closing) -> None:
        """Have a closing sent."""
        self._kept.append(closing)
        self._is_there.set()

    def take(self) -> list[Closing]:
        """Return as many as one request may have, which are the caller's from now on."""
        taken: list[Closing] = []
        size, most = 0, 1 if self._suspects else COUNT_MAX
        while self._kept and len(taken) < most:
            size += self._kept[0].size
            if taken and size > BYTES_MAX:
                break
            taken.append(self._kept.popleft())
        self._suspects -= 1 if self._suspects and taken else 0
        if not self._kept:
            self._is_there.clear()
        return taken

    def give_back(self, taken: Sequence[Closing]) -> None:
        """Have closings sent by someone else."""
        self._kept.extendleft(reversed(taken))
        self._is_there.set()

    def answered(self, taken: Sequence[Closing], results: Sequence[Told]) -> None:
        """Settle what a request had taken along, by what is told of it."""
        told = {one.ref: one for one in results}
        for closing in taken:
            self._settle(closing, told.get(closing.claim.ref))

    def refused(self, taken: Sequence[Closing], error: HarpoonError) -> None:
        """Settle what a request had taken along that was refused as a whole."""
        if len(taken) > 1:
            self._suspects += len(taken)
            self.give_back(taken)
        elif taken:
            self._replace(taken[0], str(error))

    def _settle(self, closing: Closing, told: Told | None) -> None:
        if told is None or told.status >= 500 or told.status == 429:
            self._try_again(closing, "it was not answered" if told is None else told.detail or told.title)
        elif told.status < 300:
            self._settled(closing.claim)
        elif told.status in (404, 409, 410):
            self._drop(closing, "closing_came_late", told.detail or told.title)
        else:
            self._replace(closing, told.detail or told.title)

    def _try_again(self, closing: Closing, reason: str) -> None:
        """Send it once more in a while, for as long as its attempt may last."""
        claim = closing.claim
        if self._now() > closing.until_s:
            self._drop(closing, "closing_given_up", reason)
            return
        _log.warning("closing_put_off", **claim.ref._asdict(), reason=reason)
        asyncio.get_running_loop().call_later(AGAIN_S, self.put, closing)

    def _replace(self, closing: Closing, reason: str) -> None:
        """Close an attempt as failed, for how it was closed is refused; it is open still."""
        if closing.is_substitute:
            self._drop(closing, "closing_refused", reason)
            return
        _log.warning("closing_refused", **closing.claim.ref._asdict(), label=closing.result.label, reason=reason)
        result = failed(f"its closing with {closing.result.label!r} was refused: {reason}")
        self.put(closing._replace(result=result, is_substitute=True))

    def _drop(self, closing: Closing, event: str, reason: str) -> None:
        _log.warning(event, **closing.claim.ref._asdict(), label=closing.result.label, reason=reason)
        self._settled(closing.claim)
