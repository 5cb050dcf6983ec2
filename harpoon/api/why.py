"""Why a job, a task or an agent stands as it does."""

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.jobs import existing
from harpoon.api.operation import AT, Operation
from harpoon.api.query import checked_name, path_name
from harpoon.api.revision import parse_revision
from harpoon.api.sight import sight, was
from harpoon.control.explaining import explain_agent, explain_job, explain_member, explain_slot, explain_task_and_slot
from harpoon.control.view import View, job_key
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.job import Job, JobType
from harpoon.model.name import TaskId, is_name
from harpoon.model.task import parse_task_id
from harpoon.model.why import Why


async def get_job_why(request: web.Request) -> web.Response:
    """Explain how a job stands: what keeps its slots from being placed, and its tasks from being ready.

    Agents that fail the same tests with the same values are told together, nearest first; ``fix`` is the smallest
    change that would do. It is the scheduler asked again, on the state as it is, or as it was.
    """
    seen = sight(request)
    told = await explain_job(seen.view, existing(request), seen.bookings, seen.now)
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


async def get_task_why(request: web.Request) -> web.Response:
    """Explain how a task stands, or why a slot has none, given ``<namespace>.<job>.<slot>``."""
    seen, namespace, text = sight(request), path_name(request, "ns"), request.match_info["id"]
    missing = NotFound(f"there {was()} no task {text[:200]} in namespace {namespace}")
    parts = text.split(".")
    if len(parts) == 3 and parts[2].isascii() and parts[2].isdigit():
        key = job_key(parts[0], parts[1])
        row, pending = seen.view.jobs.rows.get(key), seen.view.pending.rows.get(key)
        slot = int(parts[2])
        is_pending = pending is not None and slot in pending.value.slots
        if row is None or parts[0] != namespace or not (is_pending or _is_idle(seen.view, row.value, slot)):
            raise missing
        told = await explain_slot(seen.view, row, int(parts[2]), seen.bookings, seen.now)
        return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)
    if len(parts) == 3 and is_name(parts[2]):
        row, agent = seen.view.jobs.rows.get(job_key(parts[0], parts[1])), seen.view.agents.rows.get(parts[2])
        is_system = row is not None and row.value.spec.type is JobType.SYSTEM
        if row is None or agent is None or parts[0] != namespace or not is_system:
            raise missing
        told = await explain_member(seen.view, row, agent.value, seen.bookings, seen.now)
        return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)
    try:
        is_here = parse_task_id(text).namespace == namespace
    except ValueError as error:
        raise Invalid(str(error)) from error
    why = await explain_task_and_slot(seen.view, TaskId(text), seen.bookings, seen.now) if is_here else None
    if why is None:
        raise missing
    return answer(request, codec.dump_full(why), revision=parse_revision(why.revision).number)


def _is_idle(view: View, job: Job, slot: int) -> bool:
    """Whether a slot of a batch job has nothing that runs: it is complete, say, or waits for its turn."""
    placed = view.placements_of(job_key(job.namespace, job.name)).values()
    return job.run is not None and slot < job.spec.scale and all(row.value.slot != slot for row in placed)


async def get_agent_why(request: web.Request) -> web.Response:
    """Explain how an agent stands: its link, what is reserved on it, and what it lacks for jobs that fit nowhere."""
    seen, name = sight(request), checked_name("name", request.match_info["name"])
    row = seen.view.agents.rows.get(name)
    if row is None:
        raise NotFound(f"there {was()} no agent {name}")
    told = await explain_agent(seen.view, row.value, seen.bookings, seen.now, request.app[DOORS].lost_after)
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


ROUTES = (
    Operation("GET", "/v1/namespaces/{ns}/jobs/{name}/why", get_job_why, tag="jobs", query=(AT,), answers={200: Why}),
    Operation("GET", "/v1/namespaces/{ns}/tasks/{id}/why", get_task_why, tag="tasks", query=(AT,), answers={200: Why}),
    Operation("GET", "/v1/agents/{name}/why", get_agent_why, tag="agents", query=(AT,), answers={200: Why}),
)
