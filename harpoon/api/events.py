"""What happened lately to a job, a task or an agent."""

from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.operation import Operation, Parameter, whole
from harpoon.api.query import Query, checked_name, path_name
from harpoon.api.revision import parse_revision
from harpoon.control.events import Subject, events_of
from harpoon.control.view import job_key
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.name import TaskId
from harpoon.model.story import EventList
from harpoon.model.task import parse_task_id

_LIMIT: Final = 100
_LIMIT_MAX: Final = 1000


async def get_job_events(request: web.Request) -> web.Response:
    """Show what happened lately to a job and to its tasks, oldest first; also while it is known of one that is gone."""
    view = request.app[DOORS].view
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    key = job_key(namespace, name)
    told = await events_of(view, Subject(job=key), _limit(request))
    if not told.items and key not in view.jobs.rows:
        raise NotFound(f"there is no job {name} in namespace {namespace}")
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


async def get_task_events(request: web.Request) -> web.Response:
    """Show what happened lately to a task, oldest first; also while it is known of one that is gone."""
    view, text = request.app[DOORS].view, request.match_info["id"]
    try:
        namespace = parse_task_id(text).namespace
    except ValueError as error:
        raise Invalid(str(error)) from error
    task = TaskId(text)
    told = await events_of(view, Subject(task=task), _limit(request))
    is_known = told.items or view.task(task) is not None or view.placement(task) is not None
    if not is_known or namespace != path_name(request, "ns"):
        raise NotFound(f"there is no task {text[:200]} in namespace {request.match_info['ns']}")
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


async def get_agent_events(request: web.Request) -> web.Response:
    """Show what happened lately to an agent and to the tasks on it, oldest first."""
    view = request.app[DOORS].view
    name = checked_name("name", request.match_info["name"])
    told = await events_of(view, Subject(agent=name), _limit(request))
    if not told.items and name not in view.agents.rows:
        raise NotFound(f"there is no agent {name}")
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


def _limit(request: web.Request) -> int:
    limit = Query(request).count("limit")
    return _LIMIT if limit is None else limit


_QUERY: Final = (
    Parameter("limit", {**whole(1, _LIMIT_MAX), "default": _LIMIT}, "How many at most; the latest ones are told."),
)
ROUTES = (
    Operation(
        "GET",
        "/v1/namespaces/{ns}/jobs/{name}/events",
        get_job_events,
        tag="jobs",
        query=_QUERY,
        answers={200: EventList},
    ),
    Operation(
        "GET",
        "/v1/namespaces/{ns}/tasks/{id}/events",
        get_task_events,
        tag="tasks",
        query=_QUERY,
        answers={200: EventList},
    ),
    Operation(
        "GET", "/v1/agents/{name}/events", get_agent_events, tag="agents", query=_QUERY, answers={200: EventList}
    ),
)
