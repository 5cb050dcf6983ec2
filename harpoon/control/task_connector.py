"""Tasks that operations of workflows have run: each is a batch job of one task, made by the attempt and named after it.

Rules of this file:

1. An attempt makes its job once (`control.attempt_jobs`). Whoever carries it on waits for that job, and makes no other.
2. The job is kept as long as its attempt may be open, and ``keep`` longer: what came of it is not lost to a crash.
3. When the attempt is over otherwise, the job is unscheduled. What a crash leaves is swept (`control.sweeping`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final, cast

import structlog

from harpoon.control.attempt_jobs import Once, job_name, order_key, owner_of, refusal_of
from harpoon.control.connector_port import Order, Outcome, Report
from harpoon.control.means import Means
from harpoon.control.registry import Registry
from harpoon.control.runs import Runs
from harpoon.control.sweeping import Sweeper
from harpoon.control.view import View, job_key
from harpoon.kit.errors import HarpoonError, NotFound, Unavailable
from harpoon.kit.ordered import task_spec
from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.job import Metadata, Spec
from harpoon.model.label import DONE, FAIL
from harpoon.model.manifest import Manifest
from harpoon.model.orders import KEEP_MAX
from harpoon.model.owner import RunOwner
from harpoon.store.port import StoreUnavailable

#: An agent has so long to tell what a task wrote last.
_ASK_S: Final = 3.0
_MILLISECOND: Final = timedelta(milliseconds=1)

_log = structlog.get_logger(__name__)


class TaskConnector:
    """Runs tasks to their end; `control.connector_port.Connector`."""

    handler = ":task"
    #: Each is a record that waits: agents do the work.
    most = 10_000
    resumes = True

    def __init__(self, means: Means, view: View, registry: Registry, runs: Runs, sweeper: Sweeper) -> None:
        self._view = view
        self._registry = registry
        self._sweeper = sweeper
        self._once = Once(registry, view, means.store, runs)
        self._last_lines = means.last_lines

    async def carry_out(self, order: Order, report: Report) -> Outcome:
        """Have the task run, and wait for its end."""
        try:
            return await self._carry_out(order, report)
        finally:
            self._sweeper.soon(order_key(order))

    async def _carry_out(self, order: Order, report: Report) -> Outcome:
        owner = owner_of(order)
        name = job_name(owner)
        try:
            manifest = _manifest(order, name)
            made = await self._once(order, name, lambda extra: self._registry.make(manifest, owner, extra=extra))
        except HarpoonError as error:
            return refusal_of("task", error)
        assert made is not None, "it is made, or was"
        report({"job": name})
        record = await self._ended(job_key(order.namespace, name), owner)
        if record is None:
            return Outcome(FAIL, None, f"job {name} was unscheduled before its task had ended")
        return await self._told(name, record)

    async def abandon(self, order: Order, reason: str) -> None:
        """Have the task stopped, and its job taken away."""
        name = job_name(owner_of(order))
        row = self._view.jobs.rows.get(job_key(order.namespace, name))
        if row is None or row.value.run_owner != owner_of(order):
            return
        _log.info("task_abandoned", run=order.run, op=order.ref.op, job=name, reason=reason)
        try:
            await self._registry.delete(order.namespace, name)
        except (NotFound, Unavailable, StoreUnavailable) as error:
            # The sweep finds what is left.
            _log.info("task_not_abandoned", job=name, reason=str(error))

    async def _ended(self, key: str, owner: RunOwner) -> BatchRecord | None:
        """Return what came of a job once it has ended; None: somebody took it away before."""
        view = self._view
        while True:
            row, kept = view.jobs.rows.get(key), view.batches.rows.get(key)
            if row is None or row.value.is_terminating or row.value.run_owner != owner:
                return None
            if kept is not None and kept.value.outcome is not None:
                return kept.value
            await self._registry.changed(key, view.revision)

    async def _told(self, name: str, record: BatchRecord) -> Outcome:
        """Return what is told of a job that has ended: what its task came to, with the last lines that it wrote."""
        last = record.results[0] if record.results else None
        witness = record.witness
        lines = tuple(witness.log) if witness is not None and witness.log else await self._lines(last)
        output = {
            "job": name,
            "task": None if last is None else last.task,
            "agent": None if last is None else last.agent,
            "exit_code": None if last is None else last.exit_code,
            "lines": list(lines),
        }
        if record.outcome is Ending.SUCCEEDED:
            return Outcome(DONE, output)
        return Outcome(FAIL, output, record.reason)

    async def _lines(self, last: SlotResult | None) -> tuple[str, ...]:
        """Return the last lines that a task wrote; none, where its agent cannot be asked."""
        agent = None if last is None else self._view.agents.rows.get(last.agent)
        if last is None or agent is None or self._last_lines is None:
            return ()
        try:
            async with asyncio.timeout(_ASK_S):
                return tuple(await self._last_lines(agent.value.endpoint, last.task))
        except (Unavailable, NotFound, TimeoutError):
            return ()


def _manifest(order: Order, name: str) -> Manifest:
    """Return the job that runs the task of an attempt.

    Raises:
        Invalid: What its expressions came to cannot be meant.
    """
    task = order.spec.task
    assert task is not None, "it is an operation of that kind"
    spec: Spec = task_spec(task, cast("Mapping[str, object]", order.input))
    keep = min(KEEP_MAX, task.keep + order.spec.timeout_ms * _MILLISECOND)
    tags = {"run": order.run, "operation": order.ref.op}
    metadata = Metadata(name=name, namespace=order.namespace, tags=tags)
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=metadata, spec=replace(spec, keep=keep))
