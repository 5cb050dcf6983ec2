"""The attempts of one worker, and how each is carried out. It belongs to one event loop.

An attempt takes up a place of its lane while its handler runs. It is kept alive until its closing is settled, or until
it is known to be lost.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import structlog

from harpoon.kit.clock import elapsed_s
from harpoon.worker.attempt import Attempt, Now
from harpoon.worker.context import Context
from harpoon.worker.handler import Handler
from harpoon.worker.outbox import Outbox
from harpoon.worker.outcome import Fail, Result, failed, failure_of, result_of
from harpoon.worker.parameters import Unfit
from harpoon.worker.threads import Threads
from harpoon.worker.wire import Claim, Closing, Lost, Ref

#: Claims that are remembered after they are over, in case one is told of again.
REMEMBERED_MAX: Final = 10_000
TIMED_OUT: Final = "timeout"

_log = structlog.get_logger(__name__)
Freed = Callable[[Handler], None]


class Crew:
    """Carries out what is claimed."""

    def __init__(self, handlers: Mapping[str, Handler], threads: Threads, freed: Freed, now: Now = elapsed_s) -> None:
        """Begin with nothing.

        Args:
            handlers: By their names.
            threads: For those that are not asynchronous.
            freed: Is told when a handler has ended.
            now: Tells the moment.
        """
        self.outbox = Outbox(self._forget, now)
        self._now = now
        #: Other threads read it.
        self.attempts: dict[Ref, Attempt] = {}
        #: Has the heartbeats looked at, given when the next one is due.
        self.hurry: Callable[[float], None] = lambda _due_s: None
        self._handlers = handlers
        self._threads = threads
        self._freed = freed
        self._known: OrderedDict[tuple[Ref, str], None] = OrderedDict()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def idle(self) -> None:
        """Return once nothing is under way, and all that was is settled."""
        await self._is_idle.wait()

    def accept(self, claims: Iterable[Claim], group: asyncio.TaskGroup) -> list[Handler]:
        """Begin what was claimed, but for what is known already; return the handlers, one for each that began."""
        began: list[Handler] = []
        for claim in claims:
            handler = self._handlers.get(claim.handler)
            if handler is None:
                # It is another worker's, then; this one keeps quiet, and so loses it.
                _log.error("claim_not_understood", **claim.ref._asdict(), handler=claim.handler)
            elif self._is_new(claim):
                self._begin(claim, handler, group)
                began.append(handler)
        return began

    def lose(self, lost: Iterable[Lost]) -> None:
        """Have attempts end that are this worker's no longer."""
        for one in lost:
            if (attempt := self.attempts.get(one.ref)) is not None:
                self.cease(attempt, one.reason or "lost", is_lost=True)

    def cease(self, attempt: Attempt, cause: str, *, is_lost: bool) -> None:
        """Have an attempt end: its handler is cancelled if it can be, and once only."""
        attempt.cease(cause, is_lost=is_lost)
        if attempt.is_stopped or attempt.is_over:
            return
        attempt.is_stopped = True
        _log.info("attempt_ceased", **attempt.claim.ref._asdict(), reason=attempt.cause)
        if attempt.handler.is_async and attempt.task is not None:
            attempt.task.cancel()

    def _is_new(self, claim: Claim) -> bool:
        """Whether a claim is not one that was told before; an earlier one of the same attempt is lost by it."""
        known = (claim.ref, claim.token)
        if known in self._known:
            return False
        self._known[known] = None
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        if (earlier := self.attempts.pop(claim.ref, None)) is not None:
            self.cease(earlier, "it was claimed anew", is_lost=True)
        return True

    def _begin(self, claim: Claim, handler: Handler, group: asyncio.TaskGroup) -> None:
        attempt = Attempt(claim, handler, self.hurry, self._now)
        self.attempts[claim.ref] = attempt
        self._is_idle.clear()
        attempt.task = group.create_task(self._see_through(attempt), name=f"{claim.run}/{claim.op}")
        self.hurry(attempt.beat_due_s)

    async def _see_through(self, attempt: Attempt) -> None:
        loop = asyncio.get_running_loop()
        cease = partial(self.cease, attempt, TIMED_OUT, is_lost=True)
        timer = loop.call_later(max(0.0, attempt.due_s - self._now()), cease)
        try:
            result = await self._carry_out(attempt)
        finally:
            timer.cancel()
            attempt.is_over = True
            self._freed(attempt.handler)
        if result is None or attempt.is_lost:
            self._drop(attempt)
        else:
            self.outbox.put(Closing(attempt.claim, result, attempt.due_s))

    async def _carry_out(self, attempt: Attempt) -> Result | None:
        """Call the handler; None: it was cancelled."""
        claim, task = attempt.claim, asyncio.current_task()
        assert task is not None, "it runs in one"
        try:
            value = await self._call(attempt)
        except Unfit as error:
            return failed(str(error))
        except asyncio.CancelledError as error:
            if attempt.cause:
                return None
            if task.cancelling():  # the worker itself is torn down
                raise
            return failure_of(error)  # the handler's own
        except (Exception, SystemExit) as error:  # noqa: BLE001 whatever a handler raises is its result
            result = failure_of(error)
            # What a handler fails by on purpose, it has explained.
            trace = None if isinstance(error, Fail) else error
            told = {"handler": claim.handler, "reason": result.error, "retryable": result.retryable}
            _log.warning("handler_failed", **claim.ref._asdict(), **told, exc_info=trace)
            return result
        return result_of(value, claim.labels)

    async def _call(self, attempt: Attempt) -> Any:
        handler = attempt.handler
        positional, named = handler.parameters.read(attempt.claim.input)
        context = (Context(attempt),) if handler.parameters.takes_context else ()
        call = partial(handler.function, *context, *positional, **named)
        return await (call() if handler.is_async else self._threads.run(call))

    def _drop(self, attempt: Attempt) -> None:
        """Leave an attempt that is not to be closed."""
        _log.info("attempt_left", **attempt.claim.ref._asdict(), reason=attempt.cause)
        self._forget(attempt.claim)

    def _forget(self, claim: Claim) -> None:
        """Forget an attempt that is settled, but not one that was claimed anew meanwhile."""
        attempt = self.attempts.get(claim.ref)
        if attempt is not None and attempt.claim.token == claim.token:
            del self.attempts[claim.ref]
        if not self.attempts:
            self._is_idle.set()
