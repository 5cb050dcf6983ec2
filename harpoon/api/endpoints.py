"""Endpoints: where the ready tasks of a job can be reached, now and as it changes."""

import asyncio

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS, Doors
from harpoon.api.frames import Encoding, event_json, frame, negotiate
from harpoon.api.jobs import existing
from harpoon.api.operation import AT, Answer, Operation
from harpoon.api.sight import is_past, view_of
from harpoon.api.stay import STAYS
from harpoon.api.stream import Stream
from harpoon.control.view import View, job_key
from harpoon.kit.errors import Invalid
from harpoon.model.shown import EndpointList
from harpoon.model.task import TaskState, parse_task_id
from harpoon.model.watched import EndpointsStreamEvent

_JSON = "application/json"


async def get_endpoints(request: web.Request) -> web.StreamResponse:
    """Show where the ready tasks of a job are; as a stream, the whole list again each time that it differs."""
    view = view_of(request)
    job = existing(request).value
    key = job_key(job.namespace, job.name)
    content_type = negotiate(request, among=(_JSON, Encoding.SSE, Encoding.NDJSON))
    if content_type == _JSON:
        shown = view.external(view.revision).encode()
        return answer(request, b'{"revision":"%s","endpoints":%s}' % (shown, endpoints_json(view, key)))
    if is_past():
        raise Invalid("at: the past does not change; ask for application/json instead of a stream")
    with request.app[STAYS].admit(request) as stay:
        stream = Stream(request, stay, Encoding(content_type))
        return await stream.serve(lambda: _follow(request.app[DOORS], stream, key))


def endpoints_json(view: View, key: str) -> bytes:
    """Return the endpoints of a job, given its key, sorted by slot.

    A task whose placement is gone or revoked is about to be stopped: it is left out before it stops serving.
    """
    placed = view.placements_of(key)
    listed = []
    for task_id, row in view.tasks_of(key).items():
        task = row.value
        placement = placed.get(task_id)
        is_wanted = placement is not None and not placement.value.is_revoked
        if task.ready and task.state is TaskState.RUNNING and is_wanted:
            name = parse_task_id(task_id)
            told = {
                "task": task_id,
                "slot": name.agent or name.slot,
                "agent": task.agent,
                "address": task.address,
                "ports": dict(task.ports),
            }
            listed.append((name.slot, name.agent, name.number, told))
    return orjson.dumps([told for *_, told in sorted(listed, key=lambda one: one[:3])])


async def _follow(doors: Doors, stream: Stream, key: str) -> None:
    """Write the list, and again whenever it differs; a bookmark when it has not for some time."""
    view, encoding = doors.view, stream.encoding
    told = b""
    is_quiet = False
    while True:
        revision = view.revision
        shown = view.external(revision)
        listed = endpoints_json(view, key)
        if listed != told:
            told = listed
            await stream.write(frame(encoding, "endpoints", shown, event_json("endpoints", shown, endpoints=listed)))
        elif is_quiet:
            await stream.write(frame(encoding, "bookmark", shown, event_json("bookmark", shown)))
        try:
            async with asyncio.timeout(doors.limits.bookmark_s):
                await doors.registry.changed(key, revision)
            is_quiet = False
        except TimeoutError:
            is_quiet = True


ROUTES = (
    Operation(
        "GET",
        "/v1/namespaces/{ns}/jobs/{name}/endpoints",
        get_endpoints,
        tag="jobs",
        query=(AT,),
        answers={200: Answer(json=EndpointList, events=EndpointsStreamEvent)},
    ),
)
