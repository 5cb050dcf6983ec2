"""A run, as a test has it in hand."""

import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

import orjson

from harpoon.control.callback_urls import digest_of
from harpoon.control.ledger_records import run_key
from harpoon.control.reopening import Decide
from harpoon.control.run_signals import check_signal_id
from harpoon.core import repairing
from harpoon.core.callback import Reply
from harpoon.core.repairing import Audit, Value
from harpoon.core.step import Signal
from harpoon.kit.errors import Invalid
from harpoon.model.operation import check_handler
from harpoon.model.run import Status
from harpoon.model.run_shown import RunDetail
from harpoon.model.units import parse_duration
from harpoon.model.visit_shown import AttemptObject
from harpoon.model.why import Why
from harpoon.testing.server import Do, Server

T = TypeVar("T")
#: A text such as ``90s``, ``2h`` or ``7d``, or a `timedelta`.
Span = str | timedelta
AT_ONCE: Final = timedelta(0)


class NotOver(AssertionError):
    """A run was to be over, and goes on; the message says what it waits for."""

    def __init__(self, run: str, why: Why) -> None:
        lines = [f"run {run} goes on: {why.summary}", *(f"  {reason}" for reason in why.reasons)]
        super().__init__("\n".join(lines))
        #: What keeps it, as ``harpoon why`` tells it.
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a run came to."""

    run: str
    #: ``succeeded``, ``failed``, ``timed_out`` or ``cancelled``.
    status: str
    #: Why it ended so; empty: nothing is to be said.
    reason: str
    #: Of a run that succeeded.
    outputs: Any
    #: From its start to its end.
    took: timedelta
    #: All of them, in the order in which their visits were opened.
    attempts: Sequence[AttemptObject]

    @property
    def story(self) -> list[str]:
        """What closed, in that order: ``operation.label`` for each attempt."""
        closed = sorted((one for one in self.attempts if one.label is not None), key=lambda one: one.ended_ms or 0)
        return [f"{one.op}.{one.label}" for one in closed]


class Host(Protocol):
    """What a run asks of its environment."""

    namespace: str

    @property
    def server(self) -> Server:
        """The server that is there."""

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done by the server, and all that follows from it."""

    async def pass_time(self, span: timedelta, until: Callable[[], bool]) -> None:
        """Let time pass, at most so much, until something holds."""


class Run:
    """A run; made by `harpoon.testing.Environment.start`, or by its id."""

    def __init__(self, host: Host, id_: str) -> None:
        self.id = id_
        self._host = host

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or never was."""
        return not self._host.server.is_open(run_key(self._host.namespace, self.id))

    async def result(self, within: Span = AT_ONCE) -> Ended:
        """Return what it came to.

        Args:
            within: Time passes until it is over, but no more than this; no time, unless told.

        Raises:
            NotOver: It goes on; the message says what it waits for.
            NotFound: There is no such run.
        """
        host = self._host
        await host.pass_time(span_of(within), lambda: self.is_over)
        shown = await self.describe()
        if shown.status == Status.RUNNING.value:
            raise NotOver(self.id, await self.why())
        assert shown.ended_ms is not None, "it is over"
        return Ended(
            run=self.id,
            status=shown.status,
            reason=shown.reason,
            outputs=shown.outputs,
            took=timedelta(milliseconds=shown.ended_ms - shown.created_ms),
            attempts=await self.attempts(),
        )

    async def signal(self, name: str, *, label: str = "done", payload: Any = None, id: str | None = None) -> None:  # noqa: A002 as in the API
        """Send it a signal, which closes an operation that waits for it, or is kept until one does.

        Args:
            name: Of the signal.
            label: That the operation is closed with.
            payload: Its output, what JSON can hold.
            id: Of two signals of one id, the second changes nothing.

        Raises:
            Invalid: Nothing in the run ever takes it so.
            Conflict: It is not taken now, such as when the run is over.
            NotFound: There is no such run.
        """
        signal = signal_of(name, None, label, payload, id)
        await self._order(lambda conductor, key: conductor.signal(key, signal))

    async def call_back(self, op: str, *, visit: int = 1, label: str = "done", payload: Any = None) -> None:
        """Answer an operation that waits for a callback, as whoever has its URL does.

        Args:
            op: The operation.
            visit: Which of its visits; it may come before that.
            label: That the operation is closed with.
            payload: Its output, what JSON can hold.

        Raises:
            Invalid: The operation takes no such thing.
            Conflict: It is not taken now: something else was brought before, or nothing waits for it.
            NotFound: There is no such run.
        """
        told = json_of(payload)
        call = Reply(op, visit, digest_of(label, told), label, told)
        await self._order(lambda conductor, key: conductor.call_back(key, call))

    async def pause(self) -> None:
        """Have nothing of it claimed, fired or consumed until it is resumed; clocks run on. Errors as of `signal`."""
        await self._order(lambda conductor, key: conductor.pause(key, ""))

    async def resume(self) -> None:
        """Have it go on. Errors as of `signal`."""
        await self._order(lambda conductor, key: conductor.resume(key, ""))

    async def cancel(self, reason: str = "") -> None:
        """End it: what is open closes as cancelled, and so are handlers that are at it. Errors as of `signal`."""
        await self._order(lambda conductor, key: conductor.cancel(key, reason))

    async def retry(self, from_: str, *, reason: str = "") -> None:
        """Have an operation done anew, and all that it leads to, also when it is over.

        Raises:
            Invalid: The workflow has no such operation.
            Conflict: It cannot be, such as an operation that was never opened.
            NotFound: There is no such run.
        """
        await self._repair(lambda run, now_ms: repairing.retry_from(run, from_, Audit("test", reason), now_ms))

    async def set(self, op: str, *, visit: int | None = None, label: str = "done", output: Any = None) -> None:
        """Close a visit by hand: one that is open, has failed, or was cut short by the run's end.

        Args:
            op: The operation.
            visit: Which of its visits, where there are several.
            label: That it is closed with.
            output: What JSON can hold.

        Raises:
            Invalid: The operation is not closed so.
            Conflict: There is no such visit.
            NotFound: There is no such run.
        """
        value = Value(label, json_of(output))
        await self._repair(lambda run, now_ms: repairing.set_to(run, op, visit, value, Audit("test"), now_ms))

    async def why(self) -> Why:
        """Return what keeps it, as ``harpoon why`` tells it.

        Raises:
            NotFound: There is no such run.
        """
        return await self._host.ask(self._host.server.why(self._host.namespace, self.id))

    async def describe(self) -> RunDetail:
        """Return all there is to tell of it, with its visits; the error is that of `why`."""
        return await self._host.ask(self._host.server.status.detail(self._host.namespace, self.id))

    async def attempts(self) -> Sequence[AttemptObject]:
        """Return every attempt so far, with its input and output; the error is that of `why`."""
        return tuple(await self._host.ask(self._host.server.status.attempts(self._host.namespace, self.id)))

    async def _repair(self, decide: Decide) -> None:
        graph_of = self._host.server.workflows.generations.graph
        await self._order(lambda conductor, key: conductor.repair(key, graph_of, decide))

    async def _order(self, do: Do) -> None:
        await self._host.ask(self._host.server.order(self._host.namespace, self.id, do))


def span_of(span: Span) -> timedelta:
    """Return a span.

    Raises:
        Invalid: It is none.
    """
    try:
        given = parse_duration(span) if isinstance(span, str) else span
    except ValueError as error:
        raise Invalid(str(error)) from error
    if given < AT_ONCE:
        raise Invalid(f"time does not go back; got {given}")
    return given


def signal_of(name: str, key: str | None, label: str, payload: Any, id_: str | None) -> Signal:
    """Return a signal.

    Raises:
        Invalid: It cannot be called so, or its payload is no JSON.
    """
    try:
        check_handler("signal", name)
    except ValueError as error:
        raise Invalid(str(error)) from error
    return Signal(uuid.uuid4().hex if id_ is None else check_signal_id(id_), name, key, label, json_of(payload))


def json_of(payload: Any) -> Any:
    """Return a payload as JSON brings it.

    Raises:
        Invalid: It is no JSON.
    """
    try:
        return orjson.loads(orjson.dumps(payload))
    except (ValueError, TypeError) as error:
        raise Invalid(str(error)) from error
