"""Rollouts: how one stands, and what operators decide of it. To undo one: a rollback, see `api.versions`."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.blocking import BLOCKING, job_changed
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import once
from harpoon.api.jobs import DECLARED, answer_accepted, existing
from harpoon.api.operation import AT, Answer, Operation
from harpoon.api.query import path_name
from harpoon.api.sight import sight
from harpoon.control.registry import Accepted, Extra
from harpoon.control.rollout_status import rollout_status
from harpoon.control.steering import Steering
from harpoon.control.view import job_key
from harpoon.kit import codec
from harpoon.model.rollout import RolloutOrder, RolloutStatus

_Order = Callable[[Steering, str, str, Extra | None], Awaitable[Accepted]]


async def get_rollout(request: web.Request) -> web.Response:
    """Show how the rollout of a job's present version stands; wait for anything of the job to change, if asked to."""
    row = existing(request)
    await job_changed(request, job_key(row.value.namespace, row.value.name))
    row = existing(request)
    seen = sight(request)
    told = rollout_status(seen.view, row, seen.now)
    return answer(request, codec.dump_full(told), tag=row.mod_revision)


async def pause_rollout(request: web.Request) -> web.Response:
    """Have nothing more replaced by the rollout of a job, this one or a later one; what it has made stays."""
    return await _steer(request, lambda steering, ns, name, extra: steering.pause(ns, name, extra=extra))


async def resume_rollout(request: web.Request) -> web.Response:
    """Let the rollout of a job go on after a pause, by whom it may be; its deadline begins anew."""
    return await _steer(request, lambda steering, ns, name, extra: steering.resume(ns, name, extra=extra))


async def promote_rollout(request: web.Request) -> web.Response:
    """Let the rollout of a job go on beyond its canaries."""
    return await _steer(request, lambda steering, ns, name, extra: steering.promote(ns, name, extra=extra))


async def _steer(request: web.Request, order: _Order) -> web.Response:
    steering = request.app[DOORS].steering
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    body = await read_json(request)
    await decode(request, RolloutOrder, body)

    async def carry_out(extra: Extra | None) -> Accepted:
        return await order(steering, namespace, name, extra)

    return await once(request, body, carry_out, lambda told: answer_accepted(request, told[0]))


_JOB: Final = "/v1/namespaces/{ns}/jobs/{name}"
ROUTES = (
    Operation(
        "GET",
        f"{_JOB}/rollout",
        get_rollout,
        tag="jobs",
        query=(*BLOCKING, AT),
        answers={200: Answer(json=RolloutStatus, has_tag=True)},
    ),
    Operation("POST", f"{_JOB}/pause", pause_rollout, tag="jobs", body=RolloutOrder, answers=DECLARED, refuses=(409,)),
    Operation(
        "POST", f"{_JOB}/resume", resume_rollout, tag="jobs", body=RolloutOrder, answers=DECLARED, refuses=(409,)
    ),
    Operation(
        "POST", f"{_JOB}/promote", promote_rollout, tag="jobs", body=RolloutOrder, answers=DECLARED, refuses=(409,)
    ),
)
