"""Tasks: what agents report, and the slots that wait for one."""

import asyncio

from aiohttp import web

from harpoon.api.answer import answer, answer_list
from harpoon.api.doors import DOORS
from harpoon.api.objects import ShownTask, jobs_with_tasks, tasks_of_job
from harpoon.api.query import Query, checked_name, path_name
from harpoon.control.view import View, job_key
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.task import parse_task_id

#: Tasks shown before others get their turn on the event loop.
_SLICE = 200


async def list_tasks(request: web.Request) -> web.Response:
    """Show the tasks of a namespace, or of all."""
    view = request.app[DOORS].view
    Query(request)
    namespace = path_name(request, "ns") if "ns" in request.match_info else None
    # Items may be younger than the revision told, never older: whoever watches from it misses nothing.
    revision = view.revision
    items: list[bytes] = []
    for key in jobs_with_tasks(view, namespace):
        for task in tasks_of_job(view, key):
            items.append(task.json())
            if len(items) % _SLICE == 0:
                await asyncio.sleep(0)
    return answer_list(request, items, revision=revision)


async def get_task(request: web.Request) -> web.Response:
    """Show one task, or one slot that waits for one."""
    Query(request)
    namespace = path_name(request, "ns")
    shown = existing(request.app[DOORS].view, request.match_info["id"])
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


ROUTES = (
    web.get("/v1/tasks", list_tasks),
    web.get("/v1/namespaces/{ns}/tasks", list_tasks),
    web.get("/v1/namespaces/{ns}/tasks/{id}", get_task),
)
