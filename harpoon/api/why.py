"""Why a job, a task or an agent stands as it does."""

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.jobs import existing
from harpoon.api.operation import Operation
from harpoon.api.query import checked_name, path_name
from harpoon.api.revision import parse_revision
from harpoon.control.explaining import explain_agent, explain_job, explain_slot, explain_task
from harpoon.control.view import job_key
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.name import TaskId
from harpoon.model.task import parse_task_id
from harpoon.model.why import Why


async def get_job_why(request: web.Request) -> web.Response:
    """Explain how a job stands: what keeps its slots from being placed, and its tasks from being ready.

    Agents that fail the same tests with the same values are told together, nearest first; ``fix`` is the smallest
    change that would do. It is the scheduler asked again, on the present state.
    """
    doors = request.app[DOORS]
    told = await explain_job(doors.view, existing(request), doors.bookings(), doors.clock.now())
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


async def get_task_why(request: web.Request) -> web.Response:
    """Explain how a task stands, or why a slot has none, given ``<namespace>.<job>.<slot>``."""
    doors, namespace, text = request.app[DOORS], path_name(request, "ns"), request.match_info["id"]
    missing = NotFound(f"there is no task {text[:200]} in namespace {namespace}")
    parts = text.split(".")
    if len(parts) == 3 and parts[2].isascii() and parts[2].isdigit():
        key = job_key(parts[0], parts[1])
        row, pending = doors.view.jobs.rows.get(key), doors.view.pending.rows.get(key)
        if row is None or pending is None or parts[0] != namespace or int(parts[2]) not in pending.value.slots:
            raise missing
        told = await explain_slot(doors.view, row, int(parts[2]), doors.bookings(), doors.clock.now())
        return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)
    try:
        is_here = parse_task_id(text).namespace == namespace
    except ValueError as error:
        raise Invalid(str(error)) from error
    why = explain_task(doors.view, TaskId(text)) if is_here else None
    if why is None:
        raise missing
    return answer(request, codec.dump_full(why), revision=parse_revision(why.revision).number)


async def get_agent_why(request: web.Request) -> web.Response:
    """Explain how an agent stands: its link, what is reserved on it, and what it lacks for jobs that fit nowhere."""
    doors, name = request.app[DOORS], checked_name("name", request.match_info["name"])
    row = doors.view.agents.rows.get(name)
    if row is None:
        raise NotFound(f"there is no agent {name}")
    told = await explain_agent(doors.view, row.value, doors.bookings(), doors.clock.now())
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


ROUTES = (
    Operation("GET", "/v1/namespaces/{ns}/jobs/{name}/why", get_job_why, tag="jobs", answers={200: Why}),
    Operation("GET", "/v1/namespaces/{ns}/tasks/{id}/why", get_task_why, tag="tasks", answers={200: Why}),
    Operation("GET", "/v1/agents/{name}/why", get_agent_why, tag="agents", answers={200: Why}),
)
