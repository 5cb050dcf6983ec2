"""How the instance stands, and the others as far as it knows: for load balancers, for people, for Prometheus.

Nobody is asked within a request: who is live and what each holds tells the view, how the others do is asked beside.
"""

from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from harpoon import __version__
from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.live import leader, live_instances
from harpoon.api.operation import Answer, Operation
from harpoon.model.agent import LinkState
from harpoon.model.instance_shown import Health, InstanceStatus
from harpoon.model.instant import Instant
from harpoon.model.task import TaskState
from harpoon.store.port import StoreHealth


async def get_health(request: web.Request) -> web.Response:
    """Say that this instance answers; open to all, so it says little."""
    doors = request.app[DOORS]
    told = {
        "status": "draining" if doors.drain.is_set() else "ok",
        "instance": doors.instance,
        "version": __version__,
        "revision": doors.view.external(doors.view.revision),
        "now_ms": doors.clock.now().wall,
    }
    return answer(request, orjson.dumps(told), status=503 if doors.drain.is_set() else 200)


async def get_status(request: web.Request) -> web.Response:
    """Say who leads and which instances are live, and count what there is."""
    doors = request.app[DOORS]
    view, health = doors.view, doors.store.health()
    links = Counter(
        view.links.rows[name].value.state if name in view.links.rows else LinkState.UNKNOWN for name in view.agents.rows
    )
    tasks = Counter(row.value.state for agent in view.actual.groups() for row in view.tasks_on(agent).values())
    tasks[TaskState.PLACED] = sum(
        len(view.placements_on(agent).keys() - view.tasks_on(agent).keys()) for agent in view.placements.groups()
    )
    tasks[TaskState.PENDING] = sum(len(row.value.slots) for row in view.pending.rows.values())
    told = {
        "instance": doors.instance,
        "version": __version__,
        "store": health.kind,
        "store_health": _store(health, doors.clock.now()),
        "leader": leader(view),
        "instances": [asdict(one) for one in live_instances(doors)],
        "cluster": view.cluster,
        "revision": view.external(view.revision),
        "jobs": len(view.jobs.rows),
        "agents": {state.value: links[state] for state in LinkState},
        "tasks": {state.value: tasks[state] for state in TaskState},
    }
    return answer(request, orjson.dumps(told))


def _store(health: StoreHealth, now: Instant) -> dict[str, Any]:
    """Return how a store does, as it is shown."""
    ago = None if health.since is None else now.elapsed - health.since
    return {
        "at": health.at,
        "version": health.version,
        "trouble": health.trouble,
        "reason": health.reason,
        "since_ms": None if ago is None else now.wall - ago // timedelta(milliseconds=1),
        "gauges": dict(health.gauges),
    }


async def get_metrics(request: web.Request) -> web.Response:
    """Show all counters, in Prometheus' text form."""
    body = generate_latest(request.app[DOORS].metrics)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = (
    Operation(
        "GET",
        "/v1/health",
        get_health,
        tag="instance",
        answers={200: Health, 503: Answer(json=Health, description="It is told to stop.")},
        is_open=True,
    ),
    Operation("GET", "/v1/status", get_status, tag="instance", answers={200: InstanceStatus}),
    Operation("GET", "/metrics", get_metrics, tag="instance", answers={200: Answer(text="text/plain")}),
)
