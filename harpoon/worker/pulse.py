"""Heartbeats, from a thread of their own over a connection of its own.

So a handler that blocks the event loop for a while costs no other attempt its claim. A loop that stands still for good
must not keep its claims, though: nothing becomes of them. So it is asked, too, and once it has not answered for longer
than an attempt's heartbeat, that attempt is kept alive no more if it needs the loop. One in a thread goes on.

On a loop that nothing can block (`Means.is_timeless`) there is no thread, and nobody is asked.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from typing import Final

import orjson
import structlog

from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.worker.attempt import BEATS, Attempt
from harpoon.worker.means import Means
from harpoon.worker.session import ANSWER_WITHIN, Caller, Session
from harpoon.worker.wire import Lost, Ref, named

#: The loop is asked so often, at least.
PROBE_S: Final = 0.5
#: Heartbeats of one request.
COUNT_MAX: Final = 1000
#: A server has so long at least to answer a heartbeat.
PATIENCE_MIN: Final = timedelta(seconds=1)
#: Nothing to do until told.
_NEVER_S: Final = float("inf")
#: The thread has so long to end.
_END_WITHIN_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Pulse:
    """The thread that keeps attempts alive.

    Args:
        means: Its ways to servers, which are made in the thread, and its clock.
        caller: How it calls itself.
        attempts: Those of the event loop, which changes them meanwhile.
        lose: Is told, on the event loop, what is lost.
    """

    def __init__(
        self,
        means: Means,
        caller: Caller,
        attempts: Mapping[Ref, Attempt],
        lose: Callable[[Sequence[Lost]], None],
    ) -> None:
        self._means = means
        self._now = means.now
        self._caller = caller
        self._attempts = attempts
        self._lose = lose
        self._watched = asyncio.get_running_loop()
        self._own = self._watched if means.is_timeless else asyncio.new_event_loop()
        self._is_woken = asyncio.Event()
        self._is_ending = False
        self._is_sending = False
        self._tells_progress = True
        #: When it looks next. Whoever adds an attempt reads this afterwards; here it is set before those are read.
        self._next_s = 0.0
        #: Since when the loop has owed an answer; None: it does not.
        self._asked_s: float | None = None
        self._is_blocked = False
        #: What the thread ended by, if by anything.
        self._ended: asyncio.Future[BaseException | None] = self._watched.create_future()

    async def run(self) -> None:
        """Keep attempts alive until cancelled."""
        if self._means.is_timeless:
            await self._keep()
            return
        Thread(target=self._run, name="heartbeats", daemon=True).start()
        try:
            error = await asyncio.shield(self._ended)
        finally:
            self._is_ending = True
            self._wake()
            await asyncio.wait((self._ended,), timeout=_END_WITHIN_S)
        if error is not None:  # without heartbeats, a worker does more harm than good
            raise error

    def hurry(self, due_s: float) -> None:
        """Have the heartbeats looked at if the next one is due before what was known. From any thread."""
        if due_s < self._next_s:
            self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # it has ended
            self._own.call_soon_threadsafe(self._is_woken.set)

    def _run(self) -> None:
        ended: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._own) as runner:
                runner.run(self._keep())
        except BaseException as error:  # noqa: BLE001 it is handed to who waits
            ended = error
        with suppress(RuntimeError):  # the loop has ended
            self._watched.call_soon_threadsafe(self._ended.set_result, ended)

    async def _keep(self) -> None:
        async with self._means.connect(True) as servers, asyncio.TaskGroup() as group:
            session = Session(servers, self._caller)
            sending: asyncio.Task[None] | None = None
            while not self._is_ending:
                self._is_woken.clear()
                self._next_s = _NEVER_S
                present = list(self._attempts.values())
                now = self._now()
                alive = self._alive(present, now)
                due = () if self._is_sending else _due(alive, now)
                if due:
                    self._is_sending = True
                    sending = group.create_task(self._send(session, due))
                self._next_s = self._next(present, alive, now)
                await self._wait()
            if sending is not None:
                sending.cancel()

    async def _wait(self) -> None:
        """Wait until it is to look again, or is woken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._next_s == _NEVER_S else max(0.0, self._next_s - self._now())):
                await self._is_woken.wait()

    def _next(self, present: Sequence[Attempt], alive: Sequence[Attempt], now: float) -> float:
        """Return when to look next."""
        if not present:
            return _NEVER_S
        if self._means.is_timeless:
            return _NEVER_S if self._is_sending else min([_NEVER_S, *(one.beat_due_s for one in alive)])
        probe_s = now + min([PROBE_S, *(one.heartbeat_s / (2 * BEATS) for one in present)])
        return probe_s if self._is_sending else min([probe_s, *(one.beat_due_s for one in alive)])

    def _alive(self, present: Sequence[Attempt], now: float) -> list[Attempt]:
        """Ask the loop, and return the attempts that are to be kept alive."""
        silent_s = 0.0 if self._asked_s is None else now - self._asked_s
        mine = [one for one in present if not one.is_lost]
        alive = [one for one in mine if not (one.needs_loop and silent_s > one.heartbeat_s)]
        is_blocked = len(alive) < len(mine)
        if is_blocked and not self._is_blocked:
            left = len(mine) - len(alive)
            _log.error("loop_is_blocked", silent_s=round(silent_s, 3), attempts_left=left, attempts_kept=len(alive))
        elif self._is_blocked and self._asked_s is None:
            _log.info("loop_answers_again")
        # What is left stays left, with nothing more to say of it, until the loop answers.
        self._is_blocked = is_blocked or (self._is_blocked and self._asked_s is not None)
        if present and self._asked_s is None and not self._means.is_timeless:
            self._asked_s = now
            with suppress(RuntimeError):  # the loop has ended
                self._watched.call_soon_threadsafe(self._answer)
        return alive

    def _answer(self) -> None:
        """Say that the loop goes on; it is the loop that calls this."""
        self._asked_s = None

    async def _send(self, session: Session, due: Sequence[Attempt]) -> None:
        sent_s = self._now()
        try:
            beats = [self._beat_of(one) for one in due]
            answer = await session.exchange({"heartbeats": beats}, within=_patience(due))
        except Invalid as error:
            # A server that knows of no progress is to know at least that they live.
            _log.error("heartbeats_refused", reason=str(error))
            self._tells_progress = False
            await asyncio.sleep(PROBE_S)
        except HarpoonError as error:
            _log.error("heartbeats_refused", reason=str(error))
            await asyncio.sleep(PROBE_S)
        else:
            for attempt in due:
                attempt.note_beat(sent_s)
            self._tell(answer.lost)
        finally:
            self._is_sending = False
            self._is_woken.set()

    def _beat_of(self, attempt: Attempt) -> Mapping[str, object]:
        beat = named(attempt.claim)
        if attempt.progress and self._tells_progress:
            beat["progress"] = orjson.Fragment(attempt.progress)
        return beat

    def _tell(self, lost: Sequence[Lost]) -> None:
        """Let handlers in threads know at once, the loop when it has time."""
        for one in lost:
            if (attempt := self._attempts.get(one.ref)) is not None:
                attempt.cease(one.reason or "lost", is_lost=True)
        if lost:
            with suppress(RuntimeError):  # the loop has ended
                self._watched.call_soon_threadsafe(self._lose, lost)


def _patience(due: Sequence[Attempt]) -> timedelta:
    """Return how long a server has to answer: with another one there is to be time enough still."""
    return min(ANSWER_WITHIN, max(PATIENCE_MIN, timedelta(seconds=min(one.heartbeat_s for one in due) / BEATS)))


def _due(alive: Sequence[Attempt], now: float) -> list[Attempt]:
    """Return whose heartbeat is due, and with them whose will be soon."""
    if not any(one.beat_due_s <= now for one in alive):
        return []
    return [one for one in alive if one.beat_due_s <= now + one.heartbeat_s / (2 * BEATS)][:COUNT_MAX]
