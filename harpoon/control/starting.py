"""Starts of runs as users ask for them: named, checked against what the workflow is given, ready for a conductor."""

import asyncio
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import orjson

from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.control.orders import Begun, Form, Start
from harpoon.control.workflows import Workflows
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, Problem
from harpoon.kit.strict import pointer
from harpoon.model.inputs import WrongInputs, check_inputs
from harpoon.model.name import workflow_said
from harpoon.model.run_orders import RunStart
from harpoon.model.tombstone import check_run_id
from harpoon.model.units import format_duration
from harpoon.model.workflow import WorkflowSpec

#: Ids that mean something else in a URL.
RESERVED: Final = frozenset({"export"})
#: What is given more is checked beside the loop: it would be held for too long.
_LARGE_BYTES: Final = 64 << 10
#: A start that meets another form of its workflow than it was checked against is checked anew so often.
TRIES: Final = 5


class Named(NamedTuple):
    """A start under the id that its run will have."""

    order: RunStart
    id: str
    #: Of what was asked for, without the id.
    body_hash: str
    #: The id was made here just now.
    is_fresh: bool
    #: Bytes of what was sent, about.
    size: int = 0

    def key(self, namespace: str) -> str:
        """Return what the run is called in all keys."""
        return run_key(namespace, self.id)

    def sent(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return what was sent, with the id: whoever is sent it names the run alike."""
        return {**raw, "id": self.id}


def checked_id(id_: str) -> str:
    """Return an id that a user has made for a run.

    Raises:
        Invalid: No run can be called so.
    """
    detail = f"no run is called {id_}; make another id" if id_ in RESERVED else ""
    try:
        check_run_id(id_)
    except ValueError as error:
        detail = str(error)
    if detail:
        raise Invalid(detail, [Problem(pointer="/id", detail=detail)])
    return id_


def checked_inputs(workflow: str, spec: WorkflowSpec, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a run is given, with defaults.

    Raises:
        Invalid: It is not what its workflow takes; all is told, by pointers into ``/inputs``.
    """
    try:
        return check_inputs(spec.inputs, given)
    except WrongInputs as error:
        problems = [Problem(pointer=pointer(("inputs", *one.path)), detail=one.message) for one in error.problems]
        raise Invalid(f"the inputs are not those of {workflow_said(workflow)}: {error}", problems) from error


def named(order: RunStart, namespace: str, key: str | None, number: int = 0) -> Named:
    """Return a start with the id of its run: its own, or one that is made.

    Args:
        order: What is asked for.
        namespace: Of the run.
        key: The idempotency key of the request: the same request again has the same id.
        number: Of the start among those of its request.

    Raises:
        Invalid: No run can be called so.
    """
    body_hash, size = _hash_of(order)
    if order.id is not None:
        return Named(order, checked_id(order.id), body_hash, is_fresh=False, size=size)
    if key is None:
        return Named(order, uuid.uuid4().hex, body_hash, is_fresh=True, size=size)
    made = hashlib.sha256(f"{namespace}\0{number}\0{key}".encode()).hexdigest()[:32]
    return Named(order, made, body_hash, is_fresh=False, size=size)


def _hash_of(order: RunStart) -> tuple[str, int]:
    """Return a hash of what is to be started, whatever it is called, and its bytes; however it was spelled."""
    told: dict[str, Any] = {"workflow": order.workflow, "inputs": order.inputs, "tags": order.tags}
    told |= {"generation": order.generation, "deadline": order.deadline and format_duration(order.deadline)}
    bare = {name: value for name, value in told.items() if value}
    body = orjson.dumps(bare, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(body).hexdigest()[:32], len(body)


async def start_all(
    workflows: Workflows, conductor: Conductor, namespace: str, starts: Sequence[Named]
) -> list[Begun | HarpoonError]:
    """Start runs of one shard, each for itself; return what became of each once that is durable.

    Raises:
        StoreUnavailable: The store could not answer, so nothing is known of those that were not told before.
    """
    told: dict[int, Begun | HarpoonError] = {}
    left = list(range(len(starts)))
    for _ in range(TRIES):
        ready: list[tuple[int, tuple[Start, Form]]] = []
        for place in left:
            try:
                form = await workflows.form(namespace, starts[place].order.workflow, starts[place].order.generation)
                order = partial(_order, namespace, starts[place], form)
                is_large = starts[place].size > _LARGE_BYTES
                ready.append((place, (await asyncio.to_thread(order) if is_large else order(), form)))
            except HarpoonError as error:
                told[place] = error
        answers = await conductor.start([order for _, order in ready])
        for (place, _), answer in zip(ready, answers, strict=True):
            told[place] = answer
        # The workflow was changed meanwhile, so the run is checked against what it is now.
        left = [place for place, _ in ready if type(told[place]) is Conflict]
        if not left:
            break
    return [told[place] for place in range(len(starts))]


def _order(namespace: str, start: Named, form: Form) -> Start:
    order, spec = start.order, form.graph.spec
    inputs = checked_inputs(order.workflow, spec, order.inputs)
    if order.deadline is not None and not 0 < order.deadline.total_seconds() <= spec.deadline.total_seconds():
        detail = f"a run of workflow {order.workflow} has at most its deadline; leave it out, or make it shorter"
        raise Invalid(detail, [Problem(pointer="/deadline", detail=detail)])
    return Start(
        namespace=namespace,
        id=start.id,
        workflow=order.workflow,
        body_hash=start.body_hash,
        inputs=inputs,
        tags=order.tags,
        deadline=order.deadline,
        is_fresh=start.is_fresh,
    )


def placed(error: HarpoonError, number: int) -> HarpoonError:
    """Return the error of one of several starts, with its pointers as they are in the whole request."""
    if not isinstance(error, Invalid):
        return error
    return Invalid(str(error), [replace(one, pointer=f"/runs/{number}{one.pointer}") for one in error.problems])
