"""Namespaces: what their jobs may reserve together, and what they do."""

from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.objects import joined
from harpoon.api.operation import AT, FLAG, Operation, Parameter
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, path_name
from harpoon.api.sight import view_of, was
from harpoon.control.quotas import shown
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound, Problem
from harpoon.model.namespace import NamespaceManifest, NamespaceObject
from harpoon.model.shown import NamespaceDeclared, NamespaceList, Revised


async def list_namespaces(request: web.Request) -> web.Response:
    """Show the namespaces that are declared, or that jobs name, with what they use."""
    view = view_of(request)

    async def gather() -> Listed:
        items = [shown(view, name) for name in view.namespaces()]
        return Listed(revision=view.revision, items=items, encode=codec.dump_full)

    return await answer_pages(request, gather)


async def get_namespace(request: web.Request) -> web.Response:
    """Show a namespace: its quota, what its jobs use of it, and what is over."""
    view = view_of(request)
    name = path_name(request, "ns")
    if name not in view.namespaces():
        raise NotFound(f"there {was()} no namespace {name}, neither a declared one nor one that a job names")
    return answer(request, codec.dump_full(shown(view, name)))


async def put_namespace(request: web.Request) -> web.Response:
    """Declare a namespace, or change its quota.

    What is used already may be more than that: nothing is stopped then, and nothing more is taken.
    """
    doors = request.app[DOORS]
    name = path_name(request, "ns")
    manifest = await decode(request, NamespaceManifest, await read_json(request))
    if manifest.metadata.name != name:
        detail = f"the path says {name!r}; write the same here, or change the path"
        fault = Problem(pointer="/metadata/name", detail=detail)
        raise Invalid(f"/metadata/name must be what the path says: {name}", [fault])
    is_dry = Query(request).flag("dry_run")
    revision, outcome = await doors.registry.quotas.declare(manifest, is_dry=is_dry)
    told = shown(doors.view, name, manifest.spec.quota)
    head = orjson.dumps({"revision": doors.view.external(revision), "outcome": outcome.value})
    return answer(request, joined(head, namespace=codec.dump_full(told)), revision=revision)


async def delete_namespace(request: web.Request) -> web.Response:
    """Take a namespace back, with its quota; refused while it has jobs."""
    doors = request.app[DOORS]
    revision = await doors.registry.quotas.delete(path_name(request, "ns"))
    return answer(request, orjson.dumps({"revision": doors.view.external(revision)}), revision=revision)


_DRY_RUN: Final = Parameter("dry_run", FLAG, "Only say what would come of it: nothing is declared.")
_NAMESPACE: Final = "/v1/namespaces/{ns}"
ROUTES = (
    Operation(
        "GET", "/v1/namespaces", list_namespaces, tag="namespaces", query=(*PAGING, AT), answers={200: NamespaceList}
    ),
    Operation("GET", _NAMESPACE, get_namespace, tag="namespaces", query=(AT,), answers={200: NamespaceObject}),
    Operation(
        "PUT",
        _NAMESPACE,
        put_namespace,
        tag="namespaces",
        query=(_DRY_RUN,),
        body=NamespaceManifest,
        answers={200: NamespaceDeclared},
    ),
    Operation("DELETE", _NAMESPACE, delete_namespace, tag="namespaces", answers={200: Revised}, refuses=(409,)),
)
