"""Workers: which there are, what they offer and have, and when they were heard."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from aiohttp import hdrs, web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.operation import Operation
from harpoon.api.pages import PASSED_ON
from harpoon.api.problem import request_id
from harpoon.api.query import path_name
from harpoon.core.roll import roll, united
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.work import WorkerList, WorkerObject

_log = structlog.get_logger(__name__)


async def list_workers(request: web.Request) -> web.Response:
    """Show the workers of a namespace that were heard in the last ten minutes, by name.

    Each instance knows whom it has heard; all are asked, and those that do not answer at once are named in
    `unanswered`.
    """
    doors = request.app[DOORS]
    namespace = path_name(request, "ns")
    exchange = doors.work
    own = [] if exchange is None else roll(exchange.core, exchange.sessions, namespace, exchange.now_ms())
    if PASSED_ON in request.headers:
        return answer(request, codec.dump_full(WorkerList(items=tuple(own))))
    others = {name: row.value.url for name, row in sorted(doors.view.instances.rows.items()) if name != doors.instance}
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_ask(request, name, url)) for name, url in others.items()}
    told: Mapping[str, tuple[WorkerObject, ...] | None] = {name: task.result() for name, task in asked.items()}
    shown = WorkerList(
        items=tuple(united([own, *(one for one in told.values() if one is not None)])),
        unanswered=tuple(name for name, one in told.items() if one is None),
    )
    return answer(request, codec.dump_full(shown))


async def _ask(request: web.Request, instance: str, url: str) -> tuple[WorkerObject, ...] | None:
    """Return whom another instance has heard; None: it does not say."""
    doors = request.app[DOORS]
    if doors.peer_client is None or not url:
        return None
    sent = {PASSED_ON: doors.instance, "X-Request-Id": request_id.get()}
    if hdrs.AUTHORIZATION in request.headers:
        sent[str(hdrs.AUTHORIZATION)] = request.headers[hdrs.AUTHORIZATION]
    try:
        told = await doors.peer_client.pass_on("GET", url, request.rel_url.raw_path, sent)
        return codec.load(WorkerList, told.body).items
    except (Unavailable, Invalid) as error:
        _log.warning("workers_not_told", instance=instance, reason=str(error))
        return None


ROUTES: Final = (Operation("GET", "/v1/namespaces/{ns}/workers", list_workers, tag="work", answers={200: WorkerList}),)
