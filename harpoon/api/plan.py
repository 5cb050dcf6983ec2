"""Plans: what would come of declaring jobs, without declaring them."""

import asyncio
from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.bulk import LISTED_NOT_YET, LISTED_NOT_YET_VALUES
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import check_key
from harpoon.api.operation import Operation
from harpoon.api.revision import parse_revision
from harpoon.control.planning import plan_documents
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.plan import Plan
from harpoon.model.shown import Documents

#: Held while a plan is made: it takes a thread for up to some seconds, and two of them would only be slower.
PLANNING: Final[web.AppKey[asyncio.Lock]] = web.AppKey("planning", asyncio.Lock)


async def plan(request: web.Request) -> web.Response:
    """Show what would come of declaring jobs: how they differ from what stands, and where their tasks would run.

    Nothing is written. The documents are taken as ``/v1/apply`` takes them, and compete for room in their order. It is
    the scheduler itself, run forward on a copy in waves: each takes for granted that what was placed before is ready
    and what was withdrawn is gone. At most 200 waves are foretold; ``is_whole`` says whether that is all.
    """
    doors = request.app[DOORS]
    check_key(request)
    data = await read_json(request)
    body = await decode(request, Documents, data, not_yet=LISTED_NOT_YET, not_yet_values=LISTED_NOT_YET_VALUES)
    if not body.documents:
        detail = "declare at least one document"
        raise Invalid(detail, [Problem(pointer="/documents", detail=detail)])
    async with request.app[PLANNING]:
        told = await plan_documents(doors.view, doors.registry, body.documents, doors.bookings(), doors.clock.now())
        shown = await asyncio.to_thread(codec.dump_full, told)
    return answer(request, shown, revision=parse_revision(told.revision).number)


ROUTES = (Operation("POST", "/v1/plan", plan, tag="jobs", body=Documents, answers={200: Plan}),)
