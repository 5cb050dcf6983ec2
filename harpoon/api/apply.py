"""Many documents at once: one commit, all or nothing."""

from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import read_json
from harpoon.api.doors import DOORS
from harpoon.api.query import Query
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.manifest import NOT_YET, NOT_YET_VALUES, Manifest

_DOCUMENTS: Final = "/documents/*"
_NOT_YET: Final = frozenset(_DOCUMENTS + pointer for pointer in NOT_YET)
_NOT_YET_VALUES: Final = {_DOCUMENTS + pointer: values for pointer, values in NOT_YET_VALUES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The body of an apply."""

    documents: tuple[Manifest, ...]


async def apply(request: web.Request) -> web.Response:
    """Create or replace all jobs that the documents declare."""
    doors = request.app[DOORS]
    Query(request)
    body = codec.decode(Documents, await read_json(request), not_yet=_NOT_YET, not_yet_values=_NOT_YET_VALUES)
    if not body.documents:
        detail = "declare at least one document"
        raise Invalid(detail, [Problem(pointer="/documents", detail=detail)])
    results = await doors.registry.apply(body.documents)
    revision = max(result.revision for result in results)
    told = {
        "revision": doors.view.external(revision),
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


ROUTES = (web.post("/v1/apply", apply),)
