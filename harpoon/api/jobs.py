"""Jobs: schedule, migrate, scale, unschedule; and how they stand."""

from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.blocking import BLOCKING, job_changed
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import once
from harpoon.api.objects import job_json, joined, status_json, tasks_of_job
from harpoon.api.operation import AT, IF_MATCH, IF_NEW, TAG, Answer, Operation
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, path_name
from harpoon.api.revision import read_if_match, read_is_new
from harpoon.api.sight import view_of, was
from harpoon.control.registry import Accepted, Extra
from harpoon.control.status import Scene, job_scene, job_status, scene_status, whole_status
from harpoon.control.view import View, job_key
from harpoon.kit.errors import Invalid, NotFound, Problem
from harpoon.model.job import Job, Metadata
from harpoon.model.manifest import Manifest
from harpoon.model.shown import Declared, JobList, JobObject, Outcome, Scaling, Unscheduled
from harpoon.model.status import JobStatus
from harpoon.store.table import Row


async def put_job(request: web.Request) -> web.Response:
    """Schedule or migrate a job."""
    doors = request.app[DOORS]
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    if_match, is_new = read_if_match(request, doors.view), read_is_new(request)
    if if_match is not None and is_new:
        raise Invalid("If-Match and If-None-Match: * contradict each other; send one of them")
    data = await read_json(request)
    manifest = await decode(request, Manifest, data)
    _check_path(manifest.metadata, {"namespace": namespace, "name": name})
    accepted = await doors.registry.put(manifest, if_match=if_match, is_new=is_new)
    return answer_accepted(request, accepted)


async def scale_job(request: web.Request) -> web.Response:
    """Change how many slots a job has."""
    doors = request.app[DOORS]
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    if_match = read_if_match(request, doors.view)
    body = await read_json(request)
    scaling = await decode(request, Scaling, body)

    async def scale(extra: Extra | None) -> Accepted:
        return await doors.registry.scale(namespace, name, scaling.scale, if_match=if_match, extra=extra)

    return await once(request, body, scale, lambda told: answer_accepted(request, told[0]))


async def delete_job(request: web.Request) -> web.Response:
    """Unschedule a job."""
    doors = request.app[DOORS]
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    accepted = await doors.registry.delete(namespace, name, if_match=read_if_match(request, doors.view))
    return answer(request, _accepted_json(doors.view, accepted), status=202, revision=accepted.revision)


async def get_job(request: web.Request) -> web.Response:
    """Show a job; wait for anything of it to change, if asked to."""
    view = view_of(request)
    row = existing(request)
    await job_changed(request, job_key(row.value.namespace, row.value.name))
    row = existing(request)
    shown = job_json(view, row.value, row.mod_revision, status_json(job_status(view, row)))
    return answer(request, shown, tag=row.mod_revision)


async def get_status(request: web.Request) -> web.Response:
    """Show how a job stands, with all of its tasks; wait for any of it to change, if asked to."""
    view = view_of(request)
    row = existing(request)
    await job_changed(request, job_key(row.value.namespace, row.value.name))
    row = existing(request)
    tasks = tasks_of_job(view, job_key(row.value.namespace, row.value.name))
    return answer(request, status_json(whole_status(view, row), (task.json() for task in tasks)), tag=row.mod_revision)


async def list_jobs(request: web.Request) -> web.Response:
    """Show the jobs of a namespace, or of all."""
    view = view_of(request)
    query = Query(request)
    namespace = path_name(request, "ns") if "ns" in request.match_info else None
    tags = query.tags()

    async def gather() -> Listed:
        wanted = [
            key
            for key, row in view.jobs.rows.items()
            if (namespace is None or row.value.namespace == namespace)
            and all(row.value.tags.get(name) == value for name, value in tags)
        ]
        scenes = [job_scene(view, view.jobs.rows[key]) for key in sorted(wanted)]
        return Listed(revision=view.revision, items=scenes, encode=lambda scene: _scene_json(view, scene))

    return await answer_pages(request, gather)


def _scene_json(view: View, scene: Scene) -> bytes:
    row = scene.row
    return job_json(view, row.value, row.mod_revision, status_json(scene_status(view, scene)))


def existing(request: web.Request) -> Row[Job]:
    """Return the job that the path names.

    Raises:
        Invalid: The path holds no names.
        NotFound: There is no such job.
    """
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    row = view_of(request).jobs.rows.get(job_key(namespace, name))
    if row is None:
        raise NotFound(f"there {was()} no job {name} in namespace {namespace}")
    return row


def _check_path(metadata: Metadata, path: Mapping[str, str]) -> None:
    faults = [
        Problem(pointer=f"/metadata/{field}", detail=f"the path says {said!r}; write the same here, or change the path")
        for field, said in path.items()
        if getattr(metadata, field) != said
    ]
    if faults:
        raise Invalid(f"{' and '.join(fault.pointer for fault in faults)} must be what the path says", faults)


def answer_accepted(request: web.Request, accepted: Accepted) -> web.Response:
    """Answer a mutation of one job."""
    view = request.app[DOORS].view
    head = _accepted_json(view, accepted)
    body = joined(head, job=job_json(view, accepted.job, accepted.written))
    status = 200 if accepted.outcome is Outcome.UNCHANGED else 202
    return answer(request, body, status=status, revision=accepted.revision, tag=accepted.written)


def _accepted_json(view: View, accepted: Accepted) -> bytes:
    return orjson.dumps({"revision": view.external(accepted.revision), "change": accepted.change})


_JOB: Final = "/v1/namespaces/{ns}/jobs/{name}"
#: Answers to what declares a job.
DECLARED: Final = {
    200: Answer(json=Declared, description="It stands like that already; nothing was written.", has_tag=True),
    202: Answer(json=Declared, has_tag=True),
}
ROUTES = (
    Operation(
        "GET", "/v1/jobs", list_jobs, tag="jobs", query=(TAG, *PAGING, AT), answers={200: JobList}, id="list_all_jobs"
    ),
    Operation(
        "GET", "/v1/namespaces/{ns}/jobs", list_jobs, tag="jobs", query=(TAG, *PAGING, AT), answers={200: JobList}
    ),
    Operation(
        "GET", _JOB, get_job, tag="jobs", query=(*BLOCKING, AT), answers={200: Answer(json=JobObject, has_tag=True)}
    ),
    Operation(
        "PUT", _JOB, put_job, tag="jobs", headers=(IF_MATCH, IF_NEW), body=Manifest, answers=DECLARED, refuses=(409,)
    ),
    Operation("DELETE", _JOB, delete_job, tag="jobs", headers=(IF_MATCH,), answers={202: Unscheduled}),
    Operation(
        "GET",
        f"{_JOB}/status",
        get_status,
        tag="jobs",
        query=(*BLOCKING, AT),
        answers={200: Answer(json=JobStatus, has_tag=True)},
        id="get_job_status",
    ),
    Operation(
        "POST",
        f"{_JOB}/scale",
        scale_job,
        tag="jobs",
        headers=(IF_MATCH,),
        body=Scaling,
        answers=DECLARED,
        refuses=(409,),
    ),
)
