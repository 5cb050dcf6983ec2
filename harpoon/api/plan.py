"""Plans: what would come of declaring jobs, without declaring them; and declaring them just so."""

import asyncio
from dataclasses import replace
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.apply import answer_applied
from harpoon.api.body import decode, read_json, read_large
from harpoon.api.crowd import BULKS
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import check_key, once
from harpoon.api.operation import Operation
from harpoon.api.revision import parse_revision
from harpoon.control.planning import plan_documents
from harpoon.control.promising import apply_document, promise_documents
from harpoon.control.registry import Accepted, Extra
from harpoon.kit import codec
from harpoon.kit.digest import digest_of
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.manifest import Manifest
from harpoon.model.plan import Plan
from harpoon.model.promise import SCHEMA, PlanDocument
from harpoon.model.shown import Applied, Documents

#: Held while a plan is made: it takes a thread for up to some seconds, and two of them would only be slower.
PLANNING: Final[web.AppKey[asyncio.Lock]] = web.AppKey("planning", asyncio.Lock)


async def plan(request: web.Request) -> web.Response:
    """Show what would come of declaring jobs: how they differ from what stands, and where their tasks would run.

    Nothing is written. The documents are taken as ``/v1/apply`` takes them; of the same priority, they compete for room
    in their order. It is the scheduler itself, run forward on a copy in waves: each takes for granted that what was
    placed before is ready and what was withdrawn is gone. At most 200 waves are foretold; ``is_whole`` says whether
    that is all.
    """
    doors = request.app[DOORS]
    check_key(request)
    documents = await _documents(request)
    async with request.app[PLANNING]:
        told = await plan_documents(doors.view, doors.registry, documents, doors.bookings(), doors.clock.now())
        shown = await asyncio.to_thread(codec.dump_full, told)
    return answer(request, shown, revision=parse_revision(told.revision).number)


async def _documents(request: web.Request) -> tuple[Manifest, ...]:
    """Return the documents of a request, at least one."""
    data = await read_json(request)
    body = await decode(request, Documents, data)
    if not body.documents:
        detail = "declare at least one document"
        raise Invalid(detail, [Problem(pointer="/documents", detail=detail)])
    return body.documents


async def promise(request: web.Request) -> web.Response:
    """Plan as ``/v1/plan`` does, and answer a document that can be checked by itself, and applied as it is.

    It holds the jobs as accepted, how each stands now, what would come of them, and all agents and tasks that this was
    decided on. ``/v1/plan/apply`` takes it as it is; ``harpoon verify-plan`` checks it.
    """
    doors = request.app[DOORS]
    check_key(request)
    documents = await _documents(request)
    async with request.app[PLANNING]:
        made = promise_documents(doors.view, doors.registry, documents, doors.bookings(), doors.clock.now())
        revision, shown = await made
    return answer(request, shown, revision=parse_revision(revision).number)


async def apply_plan(request: web.Request) -> web.Response:
    """Apply a plan: declare its jobs in one commit, if just that would come of it which it says.

    The server plans the same documents anew. When a job does not stand as it did, or its difference, a placement (slot,
    agent, wave, what it replaces), a stop, or the slots without a place are not those of the plan, nothing is written,
    and 409 tells in ``changed`` what is otherwise. Else each new slot first goes to the agent that the plan names, and
    elsewhere only if that agent cannot take it any more; the change then tells so in ``unkept``. Jobs that all stand as
    the plan would have them are ``unchanged``. A body is at most 64 MiB.
    """
    doors = request.app[DOORS]
    with request.app[BULKS].admit():
        data = await read_large(request, doors.limits.plan_bytes)
        async with request.app[PLANNING]:
            document = await asyncio.to_thread(_read, data)

            async def mutate(extra: Extra | None) -> tuple[Accepted, ...]:
                return await apply_document(
                    doors.view, doors.registry, document, doors.bookings, doors.clock, extra=extra
                )

            return await once(request, data, mutate, lambda results: answer_applied(request, results))


def _read(data: bytes) -> PlanDocument:
    """Read a plan; its manifests as strictly as they are read elsewhere.

    Raises:
        Invalid: It is none, is of another schema, or was changed after it was made.
    """
    document = codec.load(PlanDocument, data)
    if document.v != SCHEMA:
        detail = f"a plan of schema {document.v} cannot be applied by this release; plan anew"
        raise Invalid(detail, [Problem(pointer="/v", detail=detail)])
    raw = orjson.loads(data)
    if raw["digest"] != digest_of(raw):
        detail = "this plan was changed after it was made: its digest is another; plan anew"
        raise Invalid(detail, [Problem(pointer="/digest", detail=detail)])
    documents = orjson.dumps({"documents": raw["documents"]})
    read = codec.decode(Documents, documents)
    if not read.documents or len(read.documents) != len(document.jobs):
        detail = "a plan has at least one document, and a job for each"
        raise Invalid(detail, [Problem(pointer="/documents", detail=detail)])
    return replace(document, documents=read.documents)


ROUTES = (
    Operation("POST", "/v1/plan", plan, tag="jobs", body=Documents, answers={200: Plan}),
    Operation("POST", "/v1/plan/promise", promise, tag="jobs", body=Documents, answers={200: PlanDocument}),
    Operation(
        "POST", "/v1/plan/apply", apply_plan, tag="jobs", body=PlanDocument, is_peer=True, answers={202: Applied}
    ),
)
