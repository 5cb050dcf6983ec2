"""Workflows: declared, shown with their bounds, and taken away."""

from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.objects import joined
from harpoon.api.operation import FLAG, IF_MATCH, IF_NEW, TAG, Answer, Operation, Parameter
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, has_tags, path_name
from harpoon.api.revision import read_if_match, read_is_new
from harpoon.api.run_starts import workflows_of
from harpoon.control.beside import compiled, has_many
from harpoon.control.elder_runs import elder_runs
from harpoon.control.workflow_told import (
    bounds_json,
    changes_json,
    check,
    large_workflow_json,
    standing,
    standing_bounds_json,
    workflow_json,
)
from harpoon.control.workflows import drafted
from harpoon.core.graph import Graph
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.job import Metadata
from harpoon.model.shown import Outcome, Revised
from harpoon.model.workflow import WorkflowManifest, WorkflowRecord
from harpoon.model.workflow_shown import ElderRuns, WorkflowBounds, WorkflowDeclared, WorkflowList, WorkflowObject


async def list_workflows(request: web.Request) -> web.Response:
    """Show the workflows of a namespace, or of all."""
    view = request.app[DOORS].view
    namespace = path_name(request, "ns") if "ns" in request.match_info else None
    tags = Query(request).tags()

    async def gather() -> Listed:
        rows = [
            row
            for _, row in sorted(view.workflows.rows.items())
            if (namespace is None or row.value.namespace == namespace) and has_tags(row.value.tags, tags)
        ]
        return Listed(
            revision=view.revision,
            items=rows,
            encode=lambda row: workflow_json(view, row.value, row.mod_revision),
            is_large=lambda row: has_many(row.value.spec),
        )

    return await answer_pages(request, gather)


async def get_workflow(request: web.Request) -> web.Response:
    """Show a workflow, and what any run of it comes to at most."""
    view, workflows = request.app[DOORS].view, workflows_of(request)
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    row = workflows.get(namespace, name)
    graph = await workflows.generations.graph(namespace, name, row.value.generation)
    bounds = await standing_bounds_json(view, namespace, name, graph)
    shown = await large_workflow_json(view, row.value, row.mod_revision, bounds)
    return answer(request, shown, tag=row.mod_revision)


async def put_workflow(request: web.Request) -> web.Response:
    """Declare a workflow, or change it. Runs that there are go on as they were started, unless they are moved.

    Of a change it is told which open runs are on other generations, and which of them could be moved. Everything that
    is wrong with it is told at once, each flaw with its place and what would be right. One without a bound is refused.
    """
    doors, workflows = request.app[DOORS], workflows_of(request)
    if_match, is_new = read_if_match(request, doors.view), read_is_new(request)
    if if_match is not None and is_new:
        raise Invalid("If-Match and If-None-Match: * contradict each other; send one of them")
    manifest = await _read(request)
    _check_path(manifest.metadata, {"namespace": path_name(request, "ns"), "name": path_name(request, "name")})
    graph = await compiled(manifest.spec)
    bounds = await _bounds(request, manifest, graph)
    row = standing(doors.view, manifest)
    changes = await changes_json(row, manifest)
    if Query(request).flag("dry_run"):
        record = await drafted(row, manifest, doors.clock.now().wall)
        outcome = Outcome.CREATED if row is None else Outcome.CHANGED if record is not row.value else Outcome.UNCHANGED
        shown = await large_workflow_json(doors.view, record, 0 if row is None else row.mod_revision, bounds)
        elder = await _elder_runs(request, record, graph) if outcome is Outcome.CHANGED else ()
        return _declared(request, outcome.value, doors.view.revision, changes, shown, elder)
    done = await workflows.put(manifest, graph, if_match=if_match, is_new=is_new)
    shown = await large_workflow_json(doors.view, done.workflow, done.revision, bounds)
    elder = await _elder_runs(request, done.workflow, graph) if done.outcome is Outcome.CHANGED else ()
    return _declared(request, done.outcome.value, done.revision, changes, shown, elder, tag=done.revision)


async def delete_workflow(request: web.Request) -> web.Response:
    """Take a workflow away: no run of it is started any more, and those that there are go on."""
    doors, namespace, name = request.app[DOORS], path_name(request, "ns"), path_name(request, "name")
    if_match = read_if_match(request, doors.view)
    revision = await workflows_of(request).delete(namespace, name, if_match=if_match)
    return answer(request, orjson.dumps({"revision": doors.view.external(revision)}), revision=revision)


async def bound_workflow(request: web.Request) -> web.Response:
    """Say what any run of a workflow would come to at most, given its manifest; nothing is declared."""
    manifest = await _read(request)
    return answer(request, await _bounds(request, manifest, await compiled(manifest.spec)))


async def _bounds(request: web.Request, manifest: WorkflowManifest, graph: Graph) -> bytes:
    metadata = manifest.metadata
    return await bounds_json(request.app[DOORS].view, metadata.namespace, metadata.name, graph)


async def _read(request: web.Request) -> WorkflowManifest:
    body = await read_json(request)
    manifest = await decode(request, WorkflowManifest, body)
    await check(manifest.spec)
    return manifest


async def _elder_runs(request: web.Request, record: WorkflowRecord, graph: Graph) -> tuple[ElderRuns, ...]:
    """Return the open runs that are on other generations of a workflow that is, or would be, declared."""
    doors, workflows = request.app[DOORS], workflows_of(request)
    if doors.runs is None:
        return ()
    present = record.generation, graph
    return await elder_runs(doors.runs.reader, workflows.generations.graph, record.namespace, record.name, present)


def _declared(  # noqa: PLR0913 what is told
    request: web.Request,
    outcome: str,
    revision: int,
    changes: bytes,
    shown: bytes,
    elder: tuple[ElderRuns, ...],
    *,
    tag: int | None = None,
) -> web.Response:
    head = orjson.dumps({"revision": request.app[DOORS].view.external(revision), "outcome": outcome})
    told = joined(head, changes=changes, workflow=shown, elder_runs=codec.dump_full(elder))
    return answer(request, told, revision=revision, tag=tag)


def _check_path(metadata: Metadata, path: Mapping[str, str]) -> None:
    faults = [
        Problem(pointer=f"/metadata/{field}", detail=f"the path says {said!r}; write the same here, or change the path")
        for field, said in path.items()
        if getattr(metadata, field) != said
    ]
    if faults:
        raise Invalid(f"{' and '.join(fault.pointer for fault in faults)} must be what the path says", faults)


_DRY_RUN: Final = Parameter("dry_run", FLAG, "Only say what would come of it: nothing is declared.")
_WORKFLOWS: Final = "/v1/namespaces/{ns}/workflows"
_WORKFLOW: Final = _WORKFLOWS + "/{name}"
_SHOWN: Final = {200: Answer(json=WorkflowObject, has_tag=True)}
ROUTES = (
    Operation(
        "GET",
        "/v1/workflows",
        list_workflows,
        tag="workflows",
        query=(TAG, *PAGING),
        answers={200: WorkflowList},
        id="list_all_workflows",
    ),
    Operation("GET", _WORKFLOWS, list_workflows, tag="workflows", query=(TAG, *PAGING), answers={200: WorkflowList}),
    Operation(
        "POST",
        "/v1/bounds",
        bound_workflow,
        tag="workflows",
        body=WorkflowManifest,
        answers={200: WorkflowBounds},
    ),
    Operation("GET", _WORKFLOW, get_workflow, tag="workflows", answers=_SHOWN),
    Operation(
        "PUT",
        _WORKFLOW,
        put_workflow,
        tag="workflows",
        query=(_DRY_RUN,),
        headers=(IF_MATCH, IF_NEW),
        body=WorkflowManifest,
        answers={200: Answer(json=WorkflowDeclared, has_tag=True)},
        refuses=(409,),
    ),
    Operation("DELETE", _WORKFLOW, delete_workflow, tag="workflows", headers=(IF_MATCH,), answers={200: Revised}),
)
