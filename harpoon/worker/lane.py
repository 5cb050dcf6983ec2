"""Asking for work: one long-polled request after another, for as many attempts as there is room for.

Each request takes along what is finished. One that does is answered at once; only one that brings nothing waits at the
server until there is work. While it waits, what is finished goes another way (`returning`). With no room left, a
request waits all the same, for word of attempts that are lost, until there is room again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from harpoon.kit.errors import Invalid
from harpoon.worker.crew import Crew
from harpoon.worker.handler import Handler
from harpoon.worker.session import AT_ONCE, Session
from harpoon.worker.wire import Closing, WorkAnswer, closing_of

#: A server keeps a request for so long when there is no work.
WAIT: Final = timedelta(seconds=20)
#: Without room for so long, it asks for nothing but word of what is lost: while work is short, there is room before.
FULL_S: Final = 0.5
#: Pause after a request that was refused whole, for what is not in it but in the worker.
REFUSED_S: Final = 5.0
#: Claims that one request may ask for.
WANT_MAX: Final = 1000
#: So many closings waiting to be returned, and no more work is asked for.
BACKLOG_MAX: Final = 2000

_log = structlog.get_logger(__name__)


class Lane:
    """Claims for some handlers that share a number of places."""

    def __init__(self, session: Session, handlers: Sequence[Handler], places: int) -> None:
        self.handlers = tuple(handlers)
        self._session = session
        self._places = places
        self._taken = 0
        self._is_draining = False
        self._is_superseded = False
        self._has_room = asyncio.Event()
        #: While a request waits at the server: its end, which can be brought forward; and whether it asks for work.
        self._waiting: asyncio.Timeout | None = None
        self._is_wanting = False

    def free(self) -> None:
        """Take note that a handler has ended."""
        self._taken -= 1
        self._has_room.set()
        if not self._is_wanting:
            self._break_off()

    def drain(self) -> None:
        """Ask for no more, and say so at the server."""
        self._is_draining = True
        self._has_room.set()
        self._break_off()

    async def run(self, crew: Crew, group: asyncio.TaskGroup) -> None:
        """Claim until drained; ``group`` is for the attempts.

        Raises:
            HarpoonError: No server takes this worker.
        """
        has_begun = False
        while not self._is_draining:
            await self._room(crew)
            # Handlers that do not wait have ended after a turn, so that what they made goes along with this request.
            await asyncio.sleep(0)
            want = 0 if self._is_draining else self._want(crew)
            closings = crew.outbox.take()
            try:
                answer = await self._ask(closings, want)
            except Invalid as error:
                if not closings and not has_begun:
                    raise
                await self._refused(crew, closings, error)
                continue
            if answer is not None:
                has_begun = True
                self._take(answer, closings, crew, group)
        # A request that was broken off may have been answered with claims: this one is answered with them again.
        answer = await self._session.exchange({"draining": True})
        self._take(answer, (), crew, group)

    async def _room(self, crew: Crew) -> None:
        """Wait for room, for a while."""
        self._has_room.clear()
        if self._want(crew) or self._is_draining:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(FULL_S):
                await self._has_room.wait()

    def _break_off(self) -> None:
        """Have a request that waits wait no longer."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.reschedule(asyncio.get_running_loop().time())

    def _want(self, crew: Crew) -> int:
        return max(0, min(self._places - self._taken, WANT_MAX)) if len(crew.outbox) < BACKLOG_MAX else 0

    async def _ask(self, closings: Sequence[Closing], want: int) -> WorkAnswer | None:
        """Make a request; None: it waited, and was broken off."""
        asked: Mapping[str, object] = {"want": want}
        if closings:
            return await self._session.exchange({**asked, "closings": [closing_of(one) for one in closings]})
        self._is_wanting = want > 0
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await self._session.exchange(asked, wait=AT_ONCE if self._is_draining else WAIT)
        except TimeoutError:
            return None
        finally:
            self._waiting = None

    async def _refused(self, crew: Crew, closings: Sequence[Closing], error: Invalid) -> None:
        if closings:
            crew.outbox.refused(closings, error)
            return
        _log.error("worker_refused", reason=str(error))
        await asyncio.sleep(REFUSED_S)

    def _take(self, answer: WorkAnswer, closings: Sequence[Closing], crew: Crew, group: asyncio.TaskGroup) -> None:
        crew.outbox.answered(closings, answer.results)
        crew.lose(answer.lost)
        self._taken += len(crew.accept(answer.claims, group))
        if answer.superseded and not self._is_superseded:
            _log.error("worker_superseded", reason="another process goes by the same name: give each its own")
        self._is_superseded = answer.superseded
