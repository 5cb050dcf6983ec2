"""Permits: what instances tell one another so that limits of concurrency hold for all of them together."""

import asyncio
from functools import partial
from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import read_large
from harpoon.api.doors import DOORS
from harpoon.api.operation import Answer, Operation
from harpoon.api.work import put_off, stay_open
from harpoon.kit import codec
from harpoon.kit.errors import Unavailable
from harpoon.model.permits import PermitAnswer, PermitReport


async def report_permits(request: web.Request) -> web.Response:
    """Take the report of another instance, and answer what it is given.

    For instances only. A report tells all permits that the instance has of this one, and all that it would have; a
    later one takes the place of those before. With nothing to tell, the answer waits for up to `wait`.
    """
    doors = request.app[DOORS]
    if doors.sharing is None:
        raise Unavailable("no runs are conducted here")
    body = await read_large(request, doors.limits.bulk_bytes)
    asked = await asyncio.to_thread(codec.load, PermitReport, body)
    put_off(request, asked.wait)
    told = await doors.sharing.answer(asked, partial(stay_open, request))
    return answer(request, codec.dump_full(told))


ROUTES: Final = (
    Operation(
        "POST",
        "/v1/permits",
        report_permits,
        tag="work",
        body=PermitReport,
        answers={200: Answer(json=PermitAnswer)},
        is_routine=True,
    ),
)
