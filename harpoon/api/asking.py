"""Asking the other instances what each knows for itself, such as whom it has heard."""

import asyncio
from collections.abc import Mapping
from typing import TypeVar

import structlog
from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.pages import PASSED_ON
from harpoon.api.problem import request_id
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Unavailable

T = TypeVar("T")

_log = structlog.get_logger(__name__)


async def others(request: web.Request, noun: type[T]) -> Mapping[str, T | None]:
    """Return what each other instance answers to the same request, by its name; None: it does not answer.

    They are told that it is passed on, and are to tell of themselves only.
    """
    doors = request.app[DOORS]
    urls = {name: row.value.url for name, row in sorted(doors.view.instances.rows.items()) if name != doors.instance}
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_ask(request, noun, name, url)) for name, url in urls.items()}
    return {name: task.result() for name, task in asked.items()}


async def _ask(request: web.Request, noun: type[T], instance: str, url: str) -> T | None:
    doors = request.app[DOORS]
    if doors.peer_client is None or not url:
        return None
    sent = {PASSED_ON: doors.instance, "X-Request-Id": request_id.get()}
    if hdrs.AUTHORIZATION in request.headers:
        sent[str(hdrs.AUTHORIZATION)] = request.headers[hdrs.AUTHORIZATION]
    try:
        told = await doors.peer_client.pass_on("GET", url, request.rel_url.raw_path, sent)
        return codec.load(noun, told.body)
    except (Unavailable, Invalid) as error:
        _log.warning("not_told", instance=instance, path=request.path, reason=str(error))
        return None
