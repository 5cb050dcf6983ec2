"""Jobs: schedule, migrate, scale, unschedule; and how they stand."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from harpoon.api.answer import answer, answer_list
from harpoon.api.body import read_json
from harpoon.api.doors import DOORS
from harpoon.api.objects import job_json, joined, status_json, tasks_of_job
from harpoon.api.query import Query, path_name
from harpoon.api.revision import read_if_match, read_is_new
from harpoon.control.registry import Accepted, Outcome
from harpoon.control.status import job_status
from harpoon.control.view import View, job_key
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound, Problem
from harpoon.model.job import Job, Metadata
from harpoon.model.manifest import NOT_YET, NOT_YET_VALUES, Manifest
from harpoon.store.table import Row

#: Jobs summarised before others get their turn on the event loop.
_SLICE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The body of a scale."""

    scale: int


async def put_job(request: web.Request) -> web.Response:
    """Schedule or migrate a job."""
    doors = request.app[DOORS]
    Query(request)
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    if_match, is_new = read_if_match(request, doors.view), read_is_new(request)
    if if_match is not None and is_new:
        raise Invalid("If-Match and If-None-Match: * contradict each other; send one of them")
    manifest = codec.decode(Manifest, await read_json(request), not_yet=NOT_YET, not_yet_values=NOT_YET_VALUES)
    _check_path(manifest.metadata, {"namespace": namespace, "name": name})
    accepted = await doors.registry.put(manifest, if_match=if_match, is_new=is_new)
    return _answer_accepted(request, accepted)


async def scale_job(request: web.Request) -> web.Response:
    """Change how many slots a job has."""
    doors = request.app[DOORS]
    Query(request)
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    if_match = read_if_match(request, doors.view)
    scaling = codec.decode(Scaling, await read_json(request))
    accepted = await doors.registry.scale(namespace, name, scaling.scale, if_match=if_match)
    return _answer_accepted(request, accepted)


async def delete_job(request: web.Request) -> web.Response:
    """Unschedule a job."""
    doors = request.app[DOORS]
    Query(request)
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    accepted = await doors.registry.delete(namespace, name, if_match=read_if_match(request, doors.view))
    return answer(request, _accepted_json(doors.view, accepted), status=202, revision=accepted.revision)


async def get_job(request: web.Request) -> web.Response:
    """Show a job."""
    view = request.app[DOORS].view
    Query(request)
    row = existing(request)
    shown = job_json(view, row.value, row.mod_revision, status_json(job_status(view, row)))
    return answer(request, shown, tag=row.mod_revision)


async def get_status(request: web.Request) -> web.Response:
    """Show how a job stands, with all of its tasks."""
    view = request.app[DOORS].view
    Query(request)
    row = existing(request)
    tasks = tasks_of_job(view, job_key(row.value.namespace, row.value.name))
    return answer(request, status_json(job_status(view, row), (task.json() for task in tasks)), tag=row.mod_revision)


async def list_jobs(request: web.Request) -> web.Response:
    """Show the jobs of a namespace, or of all."""
    view = request.app[DOORS].view
    query = Query(request, many=("tag",))
    namespace = path_name(request, "ns") if "ns" in request.match_info else None
    tags = query.tags()
    # Items may be younger than the revision told, never older: whoever watches from it misses nothing.
    revision = view.revision
    wanted = [
        key
        for key, row in view.jobs.rows.items()
        if (namespace is None or row.value.namespace == namespace)
        and all(row.value.tags.get(name) == value for name, value in tags)
    ]
    items = []
    for place, key in enumerate(sorted(wanted), 1):
        row = view.jobs.rows.get(key)
        if row is not None:
            items.append(job_json(view, row.value, row.mod_revision, status_json(job_status(view, row))))
        if place % _SLICE == 0:
            await asyncio.sleep(0)
    return answer_list(request, items, revision=revision)


def existing(request: web.Request) -> Row[Job]:
    """Return the job that the path names.

    Raises:
        Invalid: The path holds no names.
        NotFound: There is no such job.
    """
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    row = request.app[DOORS].view.jobs.rows.get(job_key(namespace, name))
    if row is None:
        raise NotFound(f"there is no job {name} in namespace {namespace}")
    return row


def _check_path(metadata: Metadata, path: Mapping[str, str]) -> None:
    faults = [
        Problem(pointer=f"/metadata/{field}", detail=f"the path says {said!r}; write the same here, or change the path")
        for field, said in path.items()
        if getattr(metadata, field) != said
    ]
    if faults:
        raise Invalid(f"{' and '.join(fault.pointer for fault in faults)} must be what the path says", faults)


def _answer_accepted(request: web.Request, accepted: Accepted) -> web.Response:
    view = request.app[DOORS].view
    head = _accepted_json(view, accepted)
    body = joined(head, job=job_json(view, accepted.job, accepted.revision))
    status = 200 if accepted.outcome is Outcome.UNCHANGED else 202
    return answer(request, body, status=status, revision=accepted.revision, tag=accepted.revision)


def _accepted_json(view: View, accepted: Accepted) -> bytes:
    return orjson.dumps({"revision": view.external(accepted.revision), "change": accepted.change})


ROUTES = (
    web.get("/v1/jobs", list_jobs),
    web.get("/v1/namespaces/{ns}/jobs", list_jobs),
    web.get("/v1/namespaces/{ns}/jobs/{name}", get_job),
    web.put("/v1/namespaces/{ns}/jobs/{name}", put_job),
    web.delete("/v1/namespaces/{ns}/jobs/{name}", delete_job),
    web.get("/v1/namespaces/{ns}/jobs/{name}/status", get_status),
    web.post("/v1/namespaces/{ns}/jobs/{name}/scale", scale_job),
)
