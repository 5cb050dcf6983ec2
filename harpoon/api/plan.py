"""Plans: what would come of declaring documents, without declaring them; and declaring jobs just so."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.apply import answer_applied
from harpoon.api.body import decode, read_json, read_large
from harpoon.api.crowd import BULKS
from harpoon.api.doors import DOORS
from harpoon.api.holders import runs_of
from harpoon.api.idempotency import check_key, once
from harpoon.api.operation import Operation
from harpoon.api.revision import parse_revision
from harpoon.api.workflows import elders_of
from harpoon.control.planning import plan_documents
from harpoon.control.promising import apply_document, promise_documents
from harpoon.control.registry import Accepted, Extra
from harpoon.control.run_planning import drafts_of, plan_batches, plan_workflows, renumbered
from harpoon.kit import codec
from harpoon.kit.digest import digest_of
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.batch_manifest import BatchManifest
from harpoon.model.manifest import Manifest
from harpoon.model.plan import Plan
from harpoon.model.promise import SCHEMA, PlanDocument
from harpoon.model.run_plan import BatchAction, Planned
from harpoon.model.shown import Applied, Documents, Outcome
from harpoon.model.workflow import WorkflowManifest

T = TypeVar("T")

#: Held while a plan is made: it takes a thread for up to some seconds, and two of them would only be slower.
PLANNING: Final[web.AppKey[asyncio.Lock]] = web.AppKey("planning", asyncio.Lock)


async def plan(request: web.Request) -> web.Response:
    """Show what would come of declaring documents: how they differ from what stands, and where tasks would run.

    Nothing is written. Jobs are taken as ``/v1/apply`` takes them; of the same priority, they compete for room
    in their order. It is the scheduler itself, run forward on a copy in waves: each takes for granted that what was
    placed before is ready and what was withdrawn is gone. At most 200 waves are foretold; ``is_whole`` says whether
    that is all. Workflows are taken each after those that it calls, and batches after them: so whoever calls is judged
    by what it would then call. A body is at most 4 MiB.
    """
    doors = request.app[DOORS]
    check_key(request)
    data = await read_large(request, doors.limits.documents_bytes)
    documents = dict(enumerate(_some((await decode(request, Planned, data)).documents)))
    jobs = {number: one for number, one in documents.items() if isinstance(one, Manifest)}
    flows = {number: one for number, one in documents.items() if isinstance(one, WorkflowManifest)}
    batches = {number: one for number, one in documents.items() if isinstance(one, BatchManifest)}
    async with request.app[PLANNING]:
        drafts = drafts_of(flows)
        defined = await plan_workflows(doors.view, flows, drafts, partial(elders_of, request), doors.clock.now().wall)
        begun = await plan_batches(doors.view, runs_of(request).reader, batches, drafts) if batches else ()
        told = await _plan_jobs(request, jobs)
        has_changes = told.has_changes or any(one.outcome is not Outcome.UNCHANGED for one in defined)
        has_changes = has_changes or any(one.action is BatchAction.START for one in begun)
        told = replace(told, has_changes=has_changes, workflows=defined, batches=begun)
        shown = await asyncio.to_thread(codec.dump_full, told)
    return answer(request, shown, revision=parse_revision(told.revision).number)


async def _plan_jobs(request: web.Request, jobs: Mapping[int, Manifest]) -> Plan:
    """Return what would come of jobs, given by the numbers of their documents."""
    doors, numbers = request.app[DOORS], [*jobs]
    try:
        return await plan_documents(
            doors.view, doors.registry, tuple(jobs.values()), doors.bookings(), doors.clock.now()
        )
    except Invalid as error:
        raise renumbered(error, numbers) from error


def _some(documents: tuple[T, ...]) -> tuple[T, ...]:
    """Return the documents of a request, at least one."""
    if not documents:
        detail = "declare at least one document"
        raise Invalid(detail, [Problem(pointer="/documents", detail=detail)])
    return documents


async def _documents(request: web.Request) -> tuple[Manifest, ...]:
    """Return the documents of a request about jobs, at least one."""
    return _some((await decode(request, Documents, await read_json(request))).documents)


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
    Operation("POST", "/v1/plan", plan, tag="jobs", body=Planned, answers={200: Plan}),
    Operation("POST", "/v1/plan/promise", promise, tag="jobs", body=Documents, answers={200: PlanDocument}),
    Operation(
        "POST", "/v1/plan/apply", apply_plan, tag="jobs", body=PlanDocument, is_peer=True, answers={202: Applied}
    ),
)
