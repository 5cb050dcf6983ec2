"""Agents: who registered, how to reach them, and what is reserved on them."""

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.blocking import BLOCKING, agent_changed
from harpoon.api.body import read_json
from harpoon.api.doors import DOORS
from harpoon.api.objects import UsedAgent, used_agent
from harpoon.api.operation import AT, TAG, Answer, Operation
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, has_tags, path_name
from harpoon.api.sight import view_of, was
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound, Problem
from harpoon.model.agent import Agent
from harpoon.model.shown import AgentList, AgentObject, Revised


async def list_agents(request: web.Request) -> web.Response:
    """Show all agents, or those that have these tags."""
    view = view_of(request)
    tags = Query(request).tags()

    async def gather() -> Listed:
        used = [used_agent(view, row) for _, row in sorted(view.agents.rows.items()) if has_tags(row.value.tags, tags)]
        return Listed(revision=view.revision, items=used, encode=UsedAgent.json)

    return await answer_pages(request, gather)


async def get_agent(request: web.Request) -> web.Response:
    """Show one agent; wait for anything of it to change, if asked to."""
    view = view_of(request)
    name = path_name(request, "name")
    if name in view.agents.rows:
        await agent_changed(request, name)
    row = view.agents.rows.get(name)
    if row is None:
        raise NotFound(f"there {was()} no agent {name}")
    return answer(request, used_agent(view, row).json(), tag=row.mod_revision)


async def put_agent(request: web.Request) -> web.Response:
    """Register an agent; it does so itself, so it is read as a peer's word: what is not known here is ignored."""
    doors = request.app[DOORS]
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
    revision = await doors.roster.remove(path_name(request, "name"))
    return answer(request, orjson.dumps({"revision": doors.view.external(revision)}), revision=revision)


ROUTES = (
    Operation("GET", "/v1/agents", list_agents, tag="agents", query=(TAG, *PAGING, AT), answers={200: AgentList}),
    Operation(
        "GET",
        "/v1/agents/{name}",
        get_agent,
        tag="agents",
        query=(*BLOCKING, AT),
        answers={200: Answer(json=AgentObject, has_tag=True)},
    ),
    Operation(
        "PUT",
        "/v1/agents/{name}",
        put_agent,
        tag="agents",
        body=Agent,
        is_peer=True,
        answers={200: Answer(json=Revised, has_tag=True)},
        refuses=(409,),
    ),
    Operation("DELETE", "/v1/agents/{name}", delete_agent, tag="agents", answers={200: Revised}, refuses=(409,)),
)
