"""What operators decide of agents: cordon, uncordon, drain, declare dead."""

from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import once
from harpoon.api.operation import Answer, Operation
from harpoon.api.query import path_name
from harpoon.control.cordons import Cordons, Extra
from harpoon.model.shown import Revised
from harpoon.model.upkeep import Cordoning, DeathNotice, Draining, Uncordoning


async def cordon_agent(request: web.Request) -> web.Response:
    """Have an agent take no new tasks; those that it has stay, also if it is being drained."""
    cordons, name, body = await _asked(request)
    order = await decode(request, Cordoning, body)

    async def cordon(extra: Extra | None) -> int:
        return await cordons.cordon(name, reason=order.reason, extra=extra)

    return await once(request, body, cordon, lambda told: _revised(request, told[0]))


async def uncordon_agent(request: web.Request) -> web.Response:
    """Let an agent take new tasks again; a drain ends, and what it has moved stays where it is."""
    cordons, name, body = await _asked(request)
    await decode(request, Uncordoning, body)

    async def uncordon(extra: Extra | None) -> int:
        return await cordons.uncordon(name, extra=extra)

    return await once(request, body, uncordon, lambda told: _revised(request, told[0]))


async def drain_agent(request: web.Request) -> web.Response:
    """Have an agent take no new tasks, and its tasks moved elsewhere: each is replaced before it is stopped.

    How far it is, and what it waits for, the agent shows as `drain`.
    """
    cordons, name, body = await _asked(request)
    order = await decode(request, Draining, body)

    async def drain(extra: Extra | None) -> int:
        return await cordons.drain(name, deadline=order.deadline, reason=order.reason, extra=extra)

    return await once(request, body, drain, lambda told: _revised(request, told[0], status=202))


async def declare_agent_dead(request: web.Request) -> web.Response:
    """Record that an agent will never come back, and forget it: its tasks count as gone, and may run elsewhere."""
    cordons, name, body = await _asked(request)
    order = await decode(request, DeathNotice, body)

    async def declare_dead(extra: Extra | None) -> int:
        return await cordons.declare_dead(name, reason=order.reason, extra=extra)

    return await once(request, body, declare_dead, lambda told: _revised(request, told[0]))


async def _asked(request: web.Request) -> tuple[Cordons, str, bytes]:
    return request.app[DOORS].cordons, path_name(request, "name"), await read_json(request)


def _revised(request: web.Request, revision: int, *, status: int = 200) -> web.Response:
    body = orjson.dumps({"revision": request.app[DOORS].view.external(revision)})
    return answer(request, body, status=status, revision=revision)


_AGENT: Final = "/v1/agents/{name}"
ROUTES = (
    Operation("POST", f"{_AGENT}/cordon", cordon_agent, tag="agents", body=Cordoning, answers={200: Revised}),
    Operation("POST", f"{_AGENT}/uncordon", uncordon_agent, tag="agents", body=Uncordoning, answers={200: Revised}),
    Operation(
        "POST",
        f"{_AGENT}/drain",
        drain_agent,
        tag="agents",
        body=Draining,
        answers={202: Answer(json=Revised, description="It is being drained.")},
    ),
    Operation(
        "POST", f"{_AGENT}/declare-dead", declare_agent_dead, tag="agents", body=DeathNotice, answers={200: Revised}
    ),
)
