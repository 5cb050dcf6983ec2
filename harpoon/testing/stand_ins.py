"""What stands in, in a test, for the world outside: for HTTP, and for agents and their jobs.

Nothing of a test leaves its process. An operation that calls an URL, runs a task or changes a job is carried out by a
function of the test's instead, which is told what the real one would be.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from harpoon.control.connector_port import Order, Outcome, Report
from harpoon.worker.outcome import Fail, failure_of, result_of

#: Attempts at once.
MOST: Final = 10_000
#: Kind of operation → whether what was begun goes on when the server is another.
KINDS: Final[Mapping[str, bool]] = {"http": False, "task": True, "job": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An attempt that a stand-in is to carry out."""

    run: str
    op: str
    visit: int
    attempt: int
    #: What the operation says, with the values of its expressions: of ``http`` its ``url``, ``method`` and so on.
    input: Any
    #: The same for all attempts of a visit.
    idempotency_key: str
    #: It was begun before the server was restarted.
    is_resumed: bool


#: Returns the output of an attempt, or a `harpoon.worker.Label`; what it raises fails the attempt, as a handler's does.
StandIn = Callable[[Call], Awaitable[Any] | Any]


class StandInConnector:
    """A connector that asks a function of a test's; `harpoon.control.connector_port.Connector`.

    Args:
        kind: Of `KINDS`.
        ask: The function; None: what is asked for fails, and says how to give one.
    """

    def __init__(self, kind: str, ask: StandIn | None) -> None:
        self.handler = f":{kind}"
        self.most = MOST
        self.resumes = KINDS[kind]
        self._kind = kind
        self._ask = ask

    async def carry_out(self, order: Order, _report: Report) -> Outcome:
        """Ask the function."""
        try:
            result = result_of(await self._told(order), order.spec.labels)
        except Exception as error:  # noqa: BLE001 whatever it raises fails the attempt, as a handler's does
            result = failure_of(error)
        output = orjson.loads(result.output) if result.output else None
        return Outcome(result.label, output, result.error, result.retryable)

    async def abandon(self, order: Order, reason: str) -> None:
        """Do nothing: the function was cancelled."""

    async def _told(self, order: Order) -> Any:
        if self._ask is None:
            raise Fail(
                f"nothing stands in for {self._kind} in this test; say Environment(stand_ins={{{self._kind!r}: …}})"
            )
        call = Call(
            run=order.run,
            op=order.ref.op,
            visit=order.ref.visit,
            attempt=order.ref.attempt,
            input=order.input,
            idempotency_key=order.idempotency_key,
            is_resumed=order.is_resumed,
        )
        told = self._ask(call)
        return await told if inspect.isawaitable(told) else told
