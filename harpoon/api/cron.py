"""Cron jobs: what operators decide of one. How it stands is part of the job's status."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import once
from harpoon.api.jobs import DECLARED, answer_accepted
from harpoon.api.operation import Operation
from harpoon.api.query import path_name
from harpoon.control.cron_orders import CronOrders
from harpoon.control.registry import Accepted, Extra
from harpoon.model.cron import CronOrder, CronTrigger

_Order = Callable[[CronOrders, str, str, Extra | None], Awaitable[Accepted]]


async def pause_cron(request: web.Request) -> web.Response:
    """Have no due of a cron job fired until it is resumed; children that run go on."""
    return await _order(request, lambda orders, ns, name, extra: orders.pause(ns, name, extra=extra))


async def resume_cron(request: web.Request) -> web.Response:
    """Have the dues of a cron job fired again; those that passed meanwhile are not made up for."""
    return await _order(request, lambda orders, ns, name, extra: orders.resume(ns, name, extra=extra))


async def trigger_cron(request: web.Request) -> web.Response:
    """Make a child of a cron job now, whether it is due or not, and answer with that; also while it is paused."""
    body = await read_json(request)
    arguments = (await decode(request, CronTrigger, body)).arguments
    return await _carry_out(
        request, body, lambda orders, ns, name, extra: orders.trigger(ns, name, arguments=arguments, extra=extra)
    )


async def _order(request: web.Request, order: _Order) -> web.Response:
    body = await read_json(request)
    await decode(request, CronOrder, body)
    return await _carry_out(request, body, order)


async def _carry_out(request: web.Request, body: bytes, order: _Order) -> web.Response:
    orders = request.app[DOORS].cron_orders
    namespace, name = path_name(request, "ns"), path_name(request, "name")

    async def carry_out(extra: Extra | None) -> Accepted:
        return await order(orders, namespace, name, extra)

    return await once(request, body, carry_out, lambda told: answer_accepted(request, told[0]))


_CRON: Final = "/v1/namespaces/{ns}/jobs/{name}/cron"
ROUTES = (
    Operation("POST", f"{_CRON}/pause", pause_cron, tag="jobs", body=CronOrder, answers=DECLARED, refuses=(409,)),
    Operation("POST", f"{_CRON}/resume", resume_cron, tag="jobs", body=CronOrder, answers=DECLARED, refuses=(409,)),
    Operation("POST", f"{_CRON}/trigger", trigger_cron, tag="jobs", body=CronTrigger, answers=DECLARED, refuses=(409,)),
)
