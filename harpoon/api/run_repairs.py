"""Repairing runs, open or over. Done by whoever conducts their shard."""

import hashlib
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.holders import at_holder, status_of
from harpoon.api.idempotency import check_key
from harpoon.api.operation import FLAG, Answer, Operation, Parameter
from harpoon.api.query import Query, path_name, path_run
from harpoon.api.run_starts import workflows_of
from harpoon.control.conductor import Conductor
from harpoon.control.forking import Fork, fork, fork_named
from harpoon.control.ledger_records import run_key
from harpoon.control.moves import move
from harpoon.control.reopening import Decide
from harpoon.control.run_signals import not_open, refusal
from harpoon.control.run_status import shown_header
from harpoon.core import repairing
from harpoon.core.repairing import Audit, Value
from harpoon.core.step import Refused
from harpoon.kit import codec
from harpoon.kit.errors import NotFound
from harpoon.model.run_repairs import Repair, RunFork, RunMove, RunMoved, RunRetry, RunSet, RunSkip
from harpoon.model.run_shown import RunObject


async def retry_run(request: web.Request) -> web.Response:
    """Have an operation done anew, and all that it leads to; a run that is over goes on by it.

    Of an operation with ``foreach`` some of its items may be named; it keeps what the others came to. What is open of
    that part closes as cancelled. Joins know of what lies outside the part by what it was closed with
    last. The run has its workflow's deadline anew, and may come to as much again. What its end had broken off elsewhere
    goes on, too.
    """
    body = await read_json(request)
    order = await decode(request, RunRetry, body)
    audit = _audit(request, order)
    return await _repair(
        request, body, lambda run, now_ms: repairing.retry_from(run, order.from_, audit, now_ms, order.items)
    )


async def skip_in_run(request: web.Request) -> web.Response:
    """Close a visit as done, without an output: as if it had been set so."""
    body = await read_json(request)
    order = await decode(request, RunSkip, body)
    return await _set(request, body, RunSet(op=order.op, visit=order.visit, reason=order.reason, by=order.by))


async def set_in_run(request: web.Request) -> web.Response:
    """Close a visit by hand: one that is open, has failed, or was cut short by the run's end; what follows, follows.

    A run that is over goes on by it, as by a retry.
    """
    body = await read_json(request)
    return await _set(request, body, await decode(request, RunSet, body))


async def fork_run(request: web.Request) -> web.Response:
    """Begin a run with the log of another one, and go on in it from an operation, as by a retry; both stay.

    The same fork again, under the same id, is the same run, and answered 200 instead of 201. Without an id one is made;
    with an idempotency key, the same request makes the same id. Inputs that are given go before those of the other run.
    """
    body = await read_json(request)
    order = await decode(request, RunFork, body)
    namespace, run = path_name(request, "ns"), path_run(request)
    raw = orjson.loads(body)
    named = fork_named(raw, request.path, check_key(request))
    sent, status, workflows = {**raw, "id": named.id}, status_of(request), workflows_of(request)

    async def here(conductor: Conductor) -> web.Response:
        asked = Fork(await status.existing(namespace, run), named.id, named.body_hash, order, _audit(request, order))
        now_ms = request.app[DOORS].clock.now().wall
        try:
            begun = await fork(conductor, status.reader, workflows, asked, now_ms)
        except Refused as error:
            raise refusal(error) from error
        shown = shown_header(await status.existing(namespace, begun.id))
        return answer(request, codec.dump_full(shown), status=201 if begun.is_new else 200)

    return await at_holder(request, run_key(namespace, named.id), here, body=orjson.dumps(sent))


async def move_run(request: web.Request) -> web.Response:
    """Have an open run go by another generation of its workflow: what that stands at, unless another one is named.

    It is refused, naming all that is in the way, where the run stands on something that is not there in the same way.
    With ``dry_run=true`` only that is told.
    """
    body = await read_json(request)
    order = await decode(request, RunMove, body)
    namespace, run, is_dry = path_name(request, "ns"), path_run(request), Query(request).flag("dry_run")
    audit, workflows, status = _audit(request, order), workflows_of(request), status_of(request)

    async def here(conductor: Conductor) -> web.Response:
        header = await status.existing(namespace, run)
        to = order.generation or workflows.get(namespace, header.workflow).value.generation
        try:
            told = await move(conductor, workflows, header, to, None if is_dry else audit)
        except NotFound as error:
            raise not_open(await status.existing(namespace, run)) from error
        except Refused as error:
            raise refusal(error) from error
        return answer(request, codec.dump_full(told))

    return await at_holder(request, run_key(namespace, run), here, body=orjson.dumps(orjson.loads(body)))


async def _set(request: web.Request, body: bytes, order: RunSet) -> web.Response:
    value, audit = Value(order.label, order.output), _audit(request, order)
    return await _repair(
        request, body, lambda run, now_ms: repairing.set_to(run, order.op, order.visit, value, audit, now_ms)
    )


def _audit(request: web.Request, order: Repair) -> Audit:
    key = check_key(request)
    named = "" if key is None else hashlib.sha256(f"{request.path}\0{key}".encode()).hexdigest()[:32]
    return Audit(order.by, order.reason, named)


async def _repair(request: web.Request, body: bytes, decide: Decide) -> web.Response:
    """Have something decided about a run, and answer with the run as it stands then."""
    namespace, run = path_name(request, "ns"), path_run(request)
    status = status_of(request)

    async def here(conductor: Conductor) -> web.Response:
        try:
            await conductor.repair(run_key(namespace, run), workflows_of(request).generations.graph, decide)
        except NotFound as error:
            raise not_open(await status.existing(namespace, run)) from error
        except Refused as error:
            raise refusal(error) from error
        return answer(request, codec.dump_full(shown_header(await status.existing(namespace, run))))

    return await at_holder(request, run_key(namespace, run), here, body=orjson.dumps(orjson.loads(body)))


_RUN: Final = "/v1/namespaces/{ns}/runs/{run}"
_SHOWN: Final = {200: RunObject}
_DRY_RUN: Final = Parameter("dry_run", FLAG, "Only say whether it can be moved: nothing is done.")
ROUTES = (
    Operation("POST", f"{_RUN}/retry", retry_run, tag="runs", body=RunRetry, answers=_SHOWN, refuses=(409, 410)),
    Operation(
        "POST",
        f"{_RUN}/fork",
        fork_run,
        tag="runs",
        body=RunFork,
        answers={
            200: Answer(json=RunObject, description="It was forked before."),
            201: Answer(json=RunObject, description="It is forked."),
        },
        refuses=(409, 410, 422),
    ),
    Operation(
        "POST",
        f"{_RUN}/move",
        move_run,
        tag="runs",
        query=(_DRY_RUN,),
        body=RunMove,
        answers={200: RunMoved},
        refuses=(409, 410),
    ),
    Operation("POST", f"{_RUN}/skip", skip_in_run, tag="runs", body=RunSkip, answers=_SHOWN, refuses=(409, 410)),
    Operation("POST", f"{_RUN}/set", set_in_run, tag="runs", body=RunSet, answers=_SHOWN, refuses=(409, 410)),
)
