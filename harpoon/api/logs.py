"""Logs: passed on from the agent that runs the task, as they are. Nothing of them is kept here."""

from typing import Final, cast

from aiohttp import ClientError, web

from harpoon.agent.client import LogStream
from harpoon.api.doors import DOORS
from harpoon.api.jobs import existing as existing_job
from harpoon.api.objects import ShownTask, tasks_of_job
from harpoon.api.operation import FLAG, TEXT, Answer, Operation, Parameter, choice, whole
from harpoon.api.query import Query, bad_parameter
from harpoon.api.stay import STAYS
from harpoon.api.stream import Stream
from harpoon.api.tasks import existing as existing_task
from harpoon.control.view import job_key
from harpoon.kit.errors import Conflict, NotFound, Unavailable
from harpoon.model.job import SCALE_MAX
from harpoon.model.task import TaskState

#: More lines than an agent keeps.
_TAIL_MAX: Final = 1_000_000
_STREAMS: Final = ("stdout", "stderr")
#: States in which an agent knows the task.
_UNKNOWN_TO_AGENT: Final = (TaskState.PENDING, TaskState.PLACED)


async def get_task_logs(request: web.Request) -> web.StreamResponse:
    """Pass on the log of a task."""
    query = Query(request)
    return await _pass_on(request, query, existing_task(request.app[DOORS].view, request.match_info["id"]))


async def get_job_logs(request: web.Request) -> web.StreamResponse:
    """Pass on the log of a task of a job: of the one named, of the latest in a slot, or of the only slot there is."""
    view = request.app[DOORS].view
    query = Query(request)
    job = existing_job(request).value
    tasks = tasks_of_job(view, job_key(job.namespace, job.name))
    slot, task_id = query.count("slot"), query.one("task")
    if slot is not None and task_id is not None:
        raise bad_parameter("slot", "name either a slot or a task")
    if task_id is not None:
        found = [task for task in tasks if task.task.id == task_id]
    else:
        slots = sorted({_slot(task) for task in tasks}, key=str)
        if slot is None and len(slots) > 1 and not isinstance(slots[0], int):
            raise bad_parameter("task", "name one of the job's tasks: it is a system job, with one on each agent")
        if slot is None and len(slots) > 1:
            raise bad_parameter("slot", f"name one of the slots {', '.join(map(str, slots[:20]))}")
        found = [task for task in tasks if slot is None or _slot(task) == slot]
    if not found:
        what = f"task {task_id[:200]!r}" if task_id else "task" if slot is None else f"slot {slot}"
        raise NotFound(
            f"job {job.name} has no such {what}" if task_id or slot is not None else f"job {job.name} has no task"
        )
    # The latest that an agent knows: the newest placement may not have started yet.
    known = [task for task in found if task.task.state not in _UNKNOWN_TO_AGENT]
    return await _pass_on(request, query, (known or found)[-1])


def _slot(shown: ShownTask) -> int | str:
    place = shown.task.id.split(".")[2]
    return int(place) if place.isdigit() else place


async def _pass_on(request: web.Request, query: Query, shown: ShownTask) -> web.StreamResponse:
    stream = query.one("stream") or "stdout"
    if stream not in _STREAMS:
        raise bad_parameter("stream", f"write one of {', '.join(_STREAMS)}")
    tail, is_following = query.count("tail"), query.flag("follow")
    task = shown.task
    if task.state in _UNKNOWN_TO_AGENT:
        raise Conflict(f"{task.id} has no log yet: it is {task.state}, {task.reason}")
    client = request.app[DOORS].logs(task.agent)
    log = await client.logs(task.id, cast("LogStream", stream), tail, follow=is_following)
    try:
        with request.app[STAYS].admit(request) as stay:
            answer = Stream(request, stay, None)

            async def copy() -> None:
                try:
                    async for chunk in log.content.iter_any():
                        await answer.write(chunk)
                except ClientError as error:
                    raise Unavailable(f"agent {task.agent} broke off: {error}") from error

            return await answer.serve(copy)
    finally:
        log.close()


_QUERY: Final = (
    Parameter("stream", choice(*_STREAMS), "Which of the two."),
    Parameter("tail", whole(0, _TAIL_MAX), "Only so many of the last lines."),
    Parameter("follow", FLAG, "Go on until the task is forgotten."),
)
_LOG: Final = {200: Answer(text="text/plain", description="As the task wrote it.")}
ROUTES = (
    Operation(
        "GET", "/v1/tasks/{id}/logs", get_task_logs, tag="tasks", query=_QUERY, answers=_LOG, refuses=(409, 502, 504)
    ),
    Operation(
        "GET",
        "/v1/namespaces/{ns}/jobs/{name}/logs",
        get_job_logs,
        tag="jobs",
        query=(
            Parameter("slot", whole(0, SCALE_MAX), "Of the latest task in this slot; needed when there are several."),
            Parameter("task", TEXT, "Of this task."),
            *_QUERY,
        ),
        answers=_LOG,
        refuses=(409, 502, 504),
    ),
)
