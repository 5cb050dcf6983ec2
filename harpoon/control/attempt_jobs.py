"""What attempts of operations order of jobs: how their jobs are called, and that each order is carried out once.

What an order came to is written in the very commit of the mutation, under a key that is the attempt's own, and kept as
long as that is open (`control.sweeping`). So whoever carries the attempt on, after a crash or a take-over, finds out
whether it was done, also when the answer was lost, or the job was changed since, or taken away. Another attempt of the
visit is another order.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog

from harpoon.control.connector_port import Order, Outcome
from harpoon.control.ledger_records import run_key
from harpoon.control.registry import Accepted, Extra, Outcomes, Registry
from harpoon.control.runs import Runs
from harpoon.control.status import change_id
from harpoon.control.view import ORDERS, View
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, Exceeded, HarpoonError, Invalid, NotFound, Unavailable
from harpoon.model.label import FAIL
from harpoon.model.owner import OrderRecord, RunOwner
from harpoon.store.port import Compare, Put, Store, StoreUnavailable, Write

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
    stem = owner.op.partition("[")[0].replace("_", "-")[:_STEM].rstrip("-")
    return f"{stem}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def order_key(order: Order) -> str:
    """Return the key of what an order came to."""
    ref = order.ref
    return f"{order.namespace}/{order.run}/{ref.op}/{ref.visit}/{ref.attempt}"


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
        store: Where it is written down.
        runs: Who conducts what: an order is carried out only while its run is conducted here.
    """

    def __init__(self, registry: Registry, view: View, store: Store, runs: Runs) -> None:
        self._registry = registry
        self._view = view
        self._store = store
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
        key, owner = order_key(order), owner_of(order)
        row = self._view.orders.rows.get(key)
        if row is not None:
            return self._read(row.value, row.mod_revision)

        def extra(outcomes: Outcomes) -> tuple[tuple[Compare, ...], tuple[Write, ...]]:
            # No job was ever written at that revision: it stands for that of the commit.
            [accepted] = outcomes(0)
            made = accepted.job
            record = OrderRecord(
                namespace=order.namespace,
                owner=owner,
                job=job,
                version=made.version,
                generation=made.generation,
                written=accepted.written,
            )
            return (Compare(ORDERS + key, mod=0), self._held(order)), (Put(ORDERS + key, codec.dump(record)),)

        try:
            accepted = await mutate(extra)
        except HarpoonError:
            # It may have been done by another instance, or by a try whose answer was lost.
            entry = await self._store.get(ORDERS + key)
            if entry is None:
                raise
            return self._read(codec.load(OrderRecord, entry.value), entry.mod_revision)
        if accepted is None:
            return None
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

    def _read(self, record: OrderRecord, revision: int) -> Done:
        change = change_id(self._view, record.namespace, record.job, record.written or revision)
        return Done(record.job, record.version, record.generation, change)
