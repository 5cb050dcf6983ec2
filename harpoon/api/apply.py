"""Many documents at once: one commit, all or nothing."""

from collections.abc import Sequence
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.bulk import apply_bulk
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import check_key, once
from harpoon.api.operation import IDEMPOTENCY_KEY, Answer, Operation, Parameter
from harpoon.api.query import Query
from harpoon.api.revision import bad_header
from harpoon.control.registry import Accepted, Extra
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.manifest import Manifest
from harpoon.model.shown import Applied, AppliedLine, Documents

_ATOMIC: Final = Parameter(
    "atomic",
    {"type": "boolean", "default": True},
    "Whether it is all or nothing, one commit of up to 40 documents. With false, each document is for itself: any "
    "number of them, and the answer is 200 with a line for each, in order, as they are done.",
)


async def apply(request: web.Request) -> web.StreamResponse:
    """Create or replace all jobs that the documents declare.

    With ``atomic=false`` documents may also be sent as lines of JSON, up to 64 MiB, and are answered while more are
    read: read the answer while you send.
    """
    doors = request.app[DOORS]
    if not Query(request).flag("atomic", default=True):
        if check_key(request) is not None:
            raise bad_header(IDEMPOTENCY_KEY.name, "not with atomic=false: a document applied again is unchanged")
        return await apply_bulk(request)
    data = await read_json(request)
    body = await decode(request, Documents, data)
    if not body.documents:
        detail = "declare at least one document"
        raise Invalid(detail, [Problem(pointer="/documents", detail=detail)])

    async def mutate(extra: Extra | None) -> tuple[Accepted, ...]:
        return await doors.registry.apply(body.documents, extra=extra)

    return await once(request, data, mutate, lambda results: answer_applied(request, results))


def answer_applied(request: web.Request, results: Sequence[Accepted]) -> web.Response:
    """Tell what became of the documents that were declared together."""
    view = request.app[DOORS].view
    revision = max(result.revision for result in results)
    told = {
        "revision": view.external(revision),
        "results": [
            {
                "namespace": result.job.namespace,
                "job": result.job.name,
                "change": result.change,
                "outcome": result.outcome.value,
            }
            for result in results
        ],
    }
    return answer(request, orjson.dumps(told), status=202, revision=revision)


ROUTES = (
    Operation(
        "POST",
        "/v1/apply",
        apply,
        tag="jobs",
        query=(_ATOMIC,),
        body=Documents,
        body_lines=Manifest,
        answers={200: Answer(lines=AppliedLine, description="With atomic=false."), 202: Applied},
    ),
)
