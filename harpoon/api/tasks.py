"""Tasks: what agents report, and the slots that wait for one."""

import asyncio
from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.blocking import BLOCKING, task_changed
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import once
from harpoon.api.objects import ShownTask, jobs_with_tasks, shown_tasks, tasks_of_job
from harpoon.api.operation import AT, TAG, Answer, Operation
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, checked_name, has_tags, path_name
from harpoon.api.sight import view_of
from harpoon.control.unclaimed import Claimed
from harpoon.control.view import View, job_key
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.shown import Empty, Ruled, TaskList
from harpoon.model.status import TaskObject
from harpoon.model.task import parse_task_id

#: Jobs whose tasks are gathered before others get their turn on the event loop.
_SLICE = 50


async def list_tasks(request: web.Request) -> web.Response:
    """Show the tasks of a namespace, or of all; with tags, those of jobs that have them."""
    view = view_of(request)
    namespace = path_name(request, "ns") if "ns" in request.match_info else None
    tags = Query(request).tags()

    async def gather() -> Listed:
        revision = view.revision
        # All of one revision first, then the rest in slices.
        stood = [
            (dict(view.tasks_of(key)), dict(view.placements_of(key)), view.pending.rows.get(key))
            for key in jobs_with_tasks(view, namespace)
            if not tags or ((row := view.jobs.rows.get(key)) is not None and has_tags(row.value.tags, tags))
        ]
        items: list[ShownTask] = []
        for place, (tasks, placements, pending) in enumerate(stood, 1):
            items += shown_tasks(tasks, placements, pending)
            if place % _SLICE == 0:
                await asyncio.sleep(0)
        return Listed(revision=revision, items=items, encode=ShownTask.json)

    return await answer_pages(request, gather)


async def get_task(request: web.Request) -> web.Response:
    """Show one task, or one slot that waits for one; wait for it to change, if asked to."""
    namespace = path_name(request, "ns")
    view, asked = view_of(request), request.match_info["id"]
    task = existing(view, asked).task.id
    await task_changed(request, "/".join(task.split(".")[:2]), task)
    shown = existing(view, asked)
    if shown.task.id.partition(".")[0] != namespace:
        raise NotFound(f"there is no task {shown.task.id} in namespace {namespace}")
    return answer(request, shown.json(), tag=shown.revision)


def existing(view: View, task_id: str) -> ShownTask:
    """Return a task, given its id, or a slot without one, given ``<namespace>.<job>.<slot>``.

    Raises:
        Invalid: It is no such id.
        NotFound: There is no such task.
    """
    parts = task_id.split(".")
    if len(parts) == 3 and parts[2].isascii() and parts[2].isdigit():
        namespace, job = parts[:2]
    else:
        try:
            namespace, job = parse_task_id(task_id)[:2]
        except ValueError as error:
            raise Invalid(str(error)) from error
    key = job_key(checked_name("namespace", namespace), checked_name("job", job))
    for shown in tasks_of_job(view, key):
        if shown.task.id == task_id:
            return shown
    raise NotFound(f"there is no task {task_id}")


async def adopt_task(request: web.Request) -> web.Response:
    """Make an unclaimed task the one of its slot; what was placed there meanwhile is stopped."""
    unclaimed, namespace = request.app[DOORS].registry.unclaimed, path_name(request, "ns")
    body = await read_json(request)
    await decode(request, Empty, body)
    return await once(
        request,
        body,
        lambda extra: unclaimed.adopt(namespace, request.match_info["id"], extra=extra),
        lambda told: _ruled(request, told[0]),
    )


async def stop_task(request: web.Request) -> web.Response:
    """Stop and forget an unclaimed task. Others belong to their job: scale or unschedule that."""
    unclaimed, namespace = request.app[DOORS].registry.unclaimed, path_name(request, "ns")
    body = await read_json(request)
    await decode(request, Empty, body)
    return await once(
        request,
        body,
        lambda extra: unclaimed.stop(namespace, request.match_info["id"], extra=extra),
        lambda told: _ruled(request, told[0]),
    )


def _ruled(request: web.Request, claimed: Claimed) -> web.Response:
    view = request.app[DOORS].view
    told = Ruled(revision=view.external(claimed.revision), task=claimed.task, change=claimed.change)
    return answer(request, codec.dump(told), status=202, revision=claimed.revision)


_TASK: Final = "/v1/namespaces/{ns}/tasks/{id}"
ROUTES = (
    Operation(
        "GET",
        "/v1/tasks",
        list_tasks,
        tag="tasks",
        query=(TAG, *PAGING, AT),
        answers={200: TaskList},
        id="list_all_tasks",
    ),
    Operation(
        "GET", "/v1/namespaces/{ns}/tasks", list_tasks, tag="tasks", query=(TAG, *PAGING, AT), answers={200: TaskList}
    ),
    Operation(
        "GET",
        _TASK,
        get_task,
        tag="tasks",
        query=(*BLOCKING, AT),
        answers={200: Answer(json=TaskObject, has_tag=True)},
    ),
    Operation("POST", f"{_TASK}/adopt", adopt_task, tag="tasks", body=Empty, answers={202: Ruled}),
    Operation("POST", f"{_TASK}/stop", stop_task, tag="tasks", body=Empty, answers={202: Ruled}),
)
