"""What attempts of operations order of jobs: how their jobs are called, and that each order is carried out once.

What an order came to is kept in a receipt, in the very commit of the mutation, under a name that is the attempt's own.
So whoever carries the attempt on, after a crash or a take-over, finds out whether it was done, also when the answer was
lost, the job was changed since, or taken away. Another attempt of the visit is another order.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import orjson
import structlog

from harpoon.control.connector_port import Order, Outcome
from harpoon.control.ledger_records import run_key
from harpoon.control.registry import Accepted, Extra, Outcomes, Registry
from harpoon.control.runs import Runs
from harpoon.control.status import change_id
from harpoon.control.view import View
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Exceeded, HarpoonError, Invalid, NotFound, Unavailable
from harpoon.model.label import FAIL
from harpoon.model.owner import RunOwner
from harpoon.model.receipt import Receipt
from harpoon.store.port import Compare, StoreUnavailable, Write

#: Wait before what the store could not do is tried again; the attempt's own clock ends that.
RETRY_S: Final = 0.5
#: Problems of what an expression came to that are told.
_PROBLEMS_MAX: Final = 5
#: Characters of an operation's name that the names of its jobs begin with.
_STEM: Final = 40

#: Does what is ordered, and hands what it is given down to the commit; None: there was nothing to be done.
Mutate = Callable[[Extra], Awaitable[Accepted | None]]

_log = structlog.get_logger(__name__)


class Done(NamedTuple):
    """What came of an order."""

    #: The job's name.
    job: str
    version: int
    generation: str
    #: What can be waited for.
    change: str


def owner_of(order: Order) -> RunOwner:
    """Return whose the job is that an attempt has made."""
    ref = order.ref
    return RunOwner(run=order.run, op=ref.op, visit=ref.visit, attempt=ref.attempt)


def job_name(owner: RunOwner) -> str:
    """Return the name of the job that is the task of an attempt: always the same, and no other attempt's."""
    told = f"{owner.run}/{owner.op}/{owner.visit}/{owner.attempt}"
    stem = owner.op.removesuffix("[]").replace("_", "-")[:_STEM].rstrip("-")
    return f"{stem}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def refusal_of(within: str, error: HarpoonError) -> Outcome:
    """Return the outcome of an order that is refused: for good, unless something may make room for it, or come."""
    if isinstance(error, Invalid) and error.problems:
        told = [f"{within}{one.pointer.replace('/', '.')}: {one.detail}" for one in error.problems[:_PROBLEMS_MAX]]
        return Outcome(FAIL, None, "; ".join(told), is_retryable=False)
    return Outcome(FAIL, None, str(error), is_retryable=isinstance(error, Exceeded | NotFound | Conflict))


class Once:
    """Carries out orders of attempts, each once.

    Args:
        registry: Carries them out.
        view: Shows what came of them.
        clock: What receipts are dated by.
        runs: Who conducts what: an order is carried out only while its run is conducted here.
    """

    def __init__(self, registry: Registry, view: View, clock: Clock, runs: Runs) -> None:
        self._registry = registry
        self._view = view
        self._clock = clock
        self._runs = runs

    async def __call__(self, order: Order, job: str, mutate: Mutate) -> Done | None:
        """Carry an order out, unless it was; wait for a store that is away.

        Args:
            order: Of the attempt.
            job: The job's name.
            mutate: Does it.

        Returns:
            What came of it, or None, as ``mutate`` says.

        Raises:
            HarpoonError: It is refused.
        """
        while True:
            try:
                return await self._try(order, job, mutate)
            except (StoreUnavailable, Unavailable) as error:
                _log.info("order_tried_again", run=order.run, op=order.ref.op, job=job, reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def _try(self, order: Order, job: str, mutate: Mutate) -> Done | None:
        receipts, name = self._registry.receipts, _receipt_name(order)
        found, compare = await receipts.find(name)
        if found is not None:
            return self._read(order, job, found.receipt, found.revision)
        writes: tuple[Write, ...] = ()

        def extra(outcomes: Outcomes) -> tuple[tuple[Compare, ...], tuple[Write, ...]]:
            nonlocal writes
            # No job was ever written at that revision: it stands for that of the commit.
            [accepted] = outcomes(0)
            body = orjson.dumps([accepted.job.version, accepted.job.generation, accepted.written]).decode()
            at_ms = self._clock.now().wall
            writes = tuple(receipts.writes(name, Receipt(request=name, at_ms=at_ms, status=202, body=(body,))))
            return (compare, self._held(order)), writes

        try:
            accepted = await mutate(extra)
        except HarpoonError:
            # It may have been done by another instance, or by a try whose answer was lost.
            found, _ = await receipts.find(name)
            if found is None:
                raise
            return self._read(order, job, found.receipt, found.revision)
        if accepted is None:
            return None
        receipts.note(writes)
        return Done(job, accepted.job.version, accepted.job.generation, accepted.change)

    def _held(self, order: Order) -> Compare:
        """Return the condition that this instance conducts the run of an order.

        1. An instance stands still in the middle of an order. 2. Another takes the shard, ends the attempt, and goes
        on. 3. The first comes to itself, and carries the order out. That is not to be.

        Raises:
            Unavailable: It does not, as far as is known here.
        """
        conductor = self._runs.conductor_of(run_key(order.namespace, order.run))
        if conductor is None:
            raise Unavailable("the run is not conducted here now")
        return conductor.ledger.hold.compare

    def _read(self, order: Order, job: str, receipt: Receipt, revision: int) -> Done:
        version, generation, written = orjson.loads(receipt.body[0])
        return Done(job, version, generation, change_id(self._view, order.namespace, job, written or revision))


def _receipt_name(order: Order) -> str:
    ref = order.ref
    told = f"attempt {order.namespace}/{order.run}/{ref.op}/{ref.visit}/{ref.attempt}"
    return hashlib.sha256(told.encode()).hexdigest()
