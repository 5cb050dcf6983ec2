"""Calls of workflows: a sub-run is started for an attempt, waited for, and ended if the attempt is over otherwise.

A sub-run lives in the shard of the run that calls it, so both are conducted here, and neither goes on elsewhere without
the other. What ties them:

1. An attempt is claimed, durably. 2. Its sub-run is started, under an id that follows from the attempt: however often
that is begun, by whatever instance, it is one run. 3. The sub-run ends, durably, and then the attempt is closed by what
came of it. 4. If the attempt is over before, the sub-run is cancelled. An instance that dies between these leaves a
claim, which is carried on (2, 3), or a sub-run that nobody waits for: whoever conducts the shard next cancels it
(`Calls.adopted`).

A sub-run has no longer than its attempt, so whatever happens it is over by then.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import orjson
import structlog

from harpoon.control.conducted import Conducted
from harpoon.control.conductor import Conductor
from harpoon.control.connector_port import Order, Outcome, Report
from harpoon.control.draft import Draft
from harpoon.control.ledger_records import run_key
from harpoon.control.orders import Begun, Form, Start
from harpoon.control.runs import Runs
from harpoon.control.workflows import Workflows
from harpoon.core.step import Refused
from harpoon.kit.errors import Conflict, HarpoonError, NotFound, Reused, Unavailable
from harpoon.model.call import Call
from harpoon.model.inputs import WrongInputs, check_inputs
from harpoon.model.label import DONE, FAIL
from harpoon.model.run import Status
from harpoon.model.sub_run import Caller, sub_run_id

#: Sub-runs that one instance waits for at once. Those that wait for others of them hold their places meanwhile, so it
#: is no less than there may be; each is a few kilobytes beside the run itself.
MOST: Final = 1 << 20
#: Wait before what the shard had no room for is tried again.
AGAIN_S: Final = 0.2
#: Whoever conducts the shard is waited for so long at a time.
_HERE_S: Final = 5.0
_GONE: Final = "what called it is over"

_log = structlog.get_logger(__name__)


class Calls:
    """Carries out calls of the runs that are conducted here.

    Args:
        runs: Finds their conductors.
        workflows: Knows what is called.
    """

    handler = ":call"
    most = MOST
    resumes = True

    def __init__(self, runs: Runs, workflows: Workflows) -> None:
        self._runs = runs
        self._workflows = workflows
        #: Key of a sub-run → who waits for its end.
        self._waiting: dict[str, asyncio.Future[tuple[Conducted, Draft]]] = {}
        #: One is started in a turn of the event loop, however many are to be.
        self._starting = asyncio.Lock()

    # What conductors tell.

    def ended(self, conducted: Conducted, draft: Draft) -> None:
        """Take note that a run has ended, which is durable once ``draft`` is."""
        waiter = self._waiting.get(conducted.key)
        if waiter is not None and not waiter.done():
            waiter.set_result((conducted, draft))

    def adopted(self, conductor: Conductor) -> int:
        """Cancel the sub-runs of a shard that nobody waits for any more; return how many there were."""
        stray = [one for one in conductor.runs.values() if one.caller is not None and not _is_called(conductor, one)]
        for one in stray:
            with suppress(NotFound, Refused, Unavailable):
                conductor.cancel(one.key, _GONE)
        if stray:
            _log.info("sub_runs_cancelled", count=len(stray), shard=conductor.ledger.shard)
        return len(stray)

    # What the crew asks for.

    async def carry_out(self, order: Order, report: Report) -> Outcome:
        """Start the sub-run of an attempt, or find it, and wait for its end."""
        del report
        call = order.spec.call
        assert call is not None, "it is offered as a call"
        caller = _caller(order)
        conductor = await self._conductor(order)
        parent = conductor.runs.get(run_key(order.namespace, order.run))
        if parent is None:
            return _failed(f"run {order.run} is over")
        await self._end_earlier(conductor, order, caller)
        try:
            form = await self._form(parent, call.workflow)
        except (NotFound, Conflict) as error:
            return _failed(str(error))
        given = order.input if isinstance(order.input, dict) else {}
        try:
            inputs = check_inputs(form.graph.spec.inputs, given)
        except WrongInputs as error:
            return _failed(f"the inputs are not those of workflow {call.workflow}: {error}")
        start = Start(
            namespace=order.namespace,
            id=sub_run_id(caller),
            workflow=call.workflow,
            body_hash=_hash(call, given),
            inputs=inputs,
            tags=parent.run.tags,
            caller=caller,
            due_ms=min(order.due_ms, parent.run.deadline_ms),
        )
        return await self._run(conductor, start, form)

    async def abandon(self, order: Order, reason: str) -> None:
        """Cancel the sub-run of an attempt that is over otherwise."""
        key = run_key(order.namespace, sub_run_id(_caller(order)))
        conductor = self._runs.conductor_of(key)
        if conductor is not None:
            with suppress(NotFound, Refused):
                await conductor.cancel(key, f"{_GONE}: {reason}")

    async def _conductor(self, order: Order) -> Conductor:
        """Wait for who conducts the run: its shard may be being loaded."""
        key = run_key(order.namespace, order.run)
        while (conductor := await self._runs.awaited(key, _HERE_S)) is None:
            pass
        return conductor

    async def _form(self, parent: Conducted, workflow: str) -> Form:
        """Return what a sub-run is started on: as what it calls stood when the first of its family was started.

        What a run was not begun with, but has come to call since, is called as it stands now.

        Raises:
            NotFound: There is no such workflow.
            Conflict: What that calls is not there.
        """
        namespace, generation = parent.run.namespace, parent.forms.get(workflow)
        if generation is None:
            return await self._workflows.form(namespace, workflow)
        graph = await self._workflows.generations.graph(namespace, workflow, generation)
        # It is kept for as long as the family is open.
        return Form(generation, graph, (), parent.forms)

    async def _end_earlier(self, conductor: Conductor, order: Order, caller: Caller) -> None:
        """End what attempts before this one have left behind: of a visit, one sub-run goes on at a time."""
        for number in range(1, caller.attempt):
            earlier = Caller(run=caller.run, op=caller.op, visit=caller.visit, attempt=number)
            with suppress(NotFound, Refused):
                await conductor.cancel(run_key(order.namespace, sub_run_id(earlier)), _GONE)

    async def _run(self, conductor: Conductor, start: Start, form: Form) -> Outcome:
        key = run_key(start.namespace, start.id)
        ended = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            begun = await self._begun(conductor, start, form)
            if not isinstance(begun, Begun):
                return _failed(str(begun))
            if begun.status.is_over:
                return await self._past(key, start.id, begun.status)
            conducted, draft = await ended
            await draft.settled()
            if draft.error is not None:
                # It goes on elsewhere, from where it stood; so does the attempt, and this is cancelled.
                await asyncio.get_running_loop().create_future()
            run = conducted.run
            return _outcome(start.id, run.status, run.outputs, run.reason)
        finally:
            if self._waiting.get(key) is ended:
                del self._waiting[key]

    async def _begun(self, conductor: Conductor, start: Start, form: Form) -> Begun | HarpoonError:
        """Start a sub-run; as long as the shard has no room, again."""
        while True:
            async with self._starting:
                await asyncio.sleep(0)
                landing = conductor.start([(start, form)])
            [told] = await landing
            if not isinstance(told, Unavailable):
                break
            await asyncio.sleep(AGAIN_S)
        if isinstance(told, Reused):
            return Reused(f"run {start.id} was started for something else", reused=start.id)
        return told

    async def _past(self, key: str, run: str, status: Status) -> Outcome:
        """Return what came of a sub-run that has ended before."""
        header = await self._runs.reader.header(key)
        if header is None:
            return _failed(f"sub-run {run} {_HOW.get(status, status.value)}, and is not kept any more")
        return _outcome(run, header.status, header.outputs, header.reason)


def _is_called(conductor: Conductor, conducted: Conducted) -> bool:
    """Whether the attempt is open that has started a sub-run."""
    caller = conducted.caller
    assert caller is not None, "it is a sub-run"
    parent = conductor.runs.get(run_key(conducted.run.namespace, caller.run))
    attempt = None if parent is None else parent.run.open.get((caller.op, caller.visit))
    return attempt is not None and attempt.ref.attempt == caller.attempt


def _caller(order: Order) -> Caller:
    return Caller(run=order.run, op=order.ref.op, visit=order.ref.visit, attempt=order.ref.attempt)


def _hash(call: Call, given: Mapping[str, object]) -> str:
    told = orjson.dumps([call.workflow, given], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()[:32]


def _outcome(run: str, status: Status, outputs: object, reason: str) -> Outcome:
    if status is Status.SUCCEEDED:
        return Outcome(DONE, outputs)
    return Outcome(FAIL, None, f"sub-run {run} {_HOW.get(status, status.value)}{': ' if reason else ''}{reason}")


_HOW: Final = {Status.CANCELLED: "was cancelled", Status.TIMED_OUT: "timed out"}


def _failed(error: str) -> Outcome:
    """Return what came of a call that no trying again would help."""
    return Outcome(FAIL, None, error, is_retryable=False)
