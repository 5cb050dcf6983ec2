"""Connectors: what carries out an operation that no worker does, in the process of the server that conducts the run.

An attempt of such an operation goes the very way of a worker's: it is opened, claimed durably, kept by heartbeats, and
closed by its claim's token, with the same clocks, retries and limits; `harpoon.control.connecting` sees to all of that.
A connector only does what there is to be done, and says what came of it.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from harpoon.core.visit import Ref
from harpoon.model.label import DONE
from harpoon.model.operation import Operation


class Order(NamedTuple):
    """An attempt that a connector is to carry out."""

    namespace: str
    run: str
    workflow: str
    ref: Ref
    spec: Operation
    #: What the template of ``spec.carried`` came to.
    input: object
    #: The same for all attempts of a visit.
    idempotency_key: str
    #: The attempt times out then, UTC milliseconds; it is ended by then, a connector need not look at it.
    due_ms: int
    #: It was claimed before this instance conducted the run: some of it may have been done.
    is_resumed: bool


class Outcome(NamedTuple):
    """What came of an attempt."""

    #: One that the operation offers: ``done`` or ``fail``.
    label: str = DONE
    #: Up to ``spec.output_max`` bytes as JSON; more fails the attempt.
    output: object = None
    #: Of a failure: what happened.
    error: str = ""
    #: Of a failure: whether trying again may help.
    is_retryable: bool = True
    #: Of a failure: the next attempt is not to be made for so long, as far as ``retry`` lets it wait.
    after_ms: int = 0


#: Says how far an attempt is: up to 4 KiB of JSON, which is shown.
Report = Callable[[object], None]


class Connector(Protocol):
    """Carries out one kind of operation."""

    @property
    def handler(self) -> str:
        """``:`` and the kind, such as ``:http``."""

    @property
    def most(self) -> int:
        """How many attempts it carries out at once."""

    @property
    def resumes(self) -> bool:
        """Whether claims made before this instance conducted the run are carried on.

        Else they are lost after their heartbeat, and tried again as ``retry`` says.
        """

    async def carry_out(self, order: Order, report: Report) -> Outcome:
        """Carry an attempt out.

        It is cancelled when the attempt is over otherwise, and `abandon` follows; and when this instance stops or no
        longer conducts the run: then what was begun goes on, and whoever conducts the run next resumes it.

        What it raises fails the attempt, which may be tried again; the text is not shown, for it may hold anything.
        """

    async def abandon(self, order: Order, reason: str) -> None:
        """Undo what was begun of an attempt that is over otherwise: it timed out, or its run ended.

        It is not called of what a crash leaves behind: a connector that begins something finds that by what it owns.
        """
