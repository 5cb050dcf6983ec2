"""Agents: who registered, how to reach them, and what is reserved on them."""

import orjson
from aiohttp import web

from harpoon.api.answer import answer, answer_list
from harpoon.api.body import read_json
from harpoon.api.doors import DOORS
from harpoon.api.objects import agent_with_use
from harpoon.api.query import Query, path_name
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound, Problem
from harpoon.model.agent import Agent


async def list_agents(request: web.Request) -> web.Response:
    """Show all agents."""
    view = request.app[DOORS].view
    Query(request)
    items = [agent_with_use(view, row.value) for _, row in sorted(view.agents.rows.items())]
    return answer_list(request, items, revision=view.revision)


async def get_agent(request: web.Request) -> web.Response:
    """Show one agent."""
    view = request.app[DOORS].view
    Query(request)
    name = path_name(request, "name")
    row = view.agents.rows.get(name)
    if row is None:
        raise NotFound(f"there is no agent {name}")
    return answer(request, agent_with_use(view, row.value), tag=row.mod_revision)


async def put_agent(request: web.Request) -> web.Response:
    """Register an agent; it does so itself, so it is read as a peer's word: what is not known here is ignored."""
    doors = request.app[DOORS]
    Query(request)
    name = path_name(request, "name")
    agent = codec.load(Agent, await read_json(request))
    if agent.name != name:
        detail = f"the path says {name!r}; write the same here, or change the path"
        raise Invalid(f"/name must be what the path says: {name}", [Problem(pointer="/name", detail=detail)])
    revision = await doors.roster.register(agent)
    body = orjson.dumps({"revision": doors.view.external(revision)})
    return answer(request, body, revision=revision, tag=revision)


async def delete_agent(request: web.Request) -> web.Response:
    """Drop an agent that cannot be reached, and what it reported."""
    doors = request.app[DOORS]
    Query(request)
    revision = await doors.roster.remove(path_name(request, "name"))
    return answer(request, orjson.dumps({"revision": doors.view.external(revision)}), revision=revision)


ROUTES = (
    web.get("/v1/agents", list_agents),
    web.get("/v1/agents/{name}", get_agent),
    web.put("/v1/agents/{name}", put_agent),
    web.delete("/v1/agents/{name}", delete_agent),
)
