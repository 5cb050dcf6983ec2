"""The application: its routes, who may use them, and the one place where errors are caught.

Every request passes two gates. `_answered` gives it an id, turns errors into problem details, counts and logs it.
`_admitted` lets in who shows the token. What neither of them expects is a fault of ours: `harpoon.api.site` answers
it, without details, and logs it with its traceback.
"""

import asyncio
import hmac
import re
from itertools import count
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from harpoon.api import (
    agents,
    apply,
    backup,
    callbacks,
    changes,
    cron,
    endpoints,
    events,
    graphs,
    jobs,
    logs,
    namespaces,
    past,
    permits,
    plan,
    rebalance,
    reference,
    reports,
    rollouts,
    run_batches,
    run_orders,
    run_repairs,
    run_starts,
    runs,
    secrets,
    signals,
    status,
    tasks,
    upkeep,
    versions,
    waiting,
    watch,
    why,
    work,
    workers,
    workflows,
)
from harpoon.api.blocking import caught_up
from harpoon.api.body import DECODING
from harpoon.api.callbacks import AT_ONCE, CALLERS, GUESSES
from harpoon.api.crowd import BULKS, REQUESTS, Crowd
from harpoon.api.doors import DEADLINE, DOORS, Doors
from harpoon.api.errors import to_problem
from harpoon.api.feed import FEED, Feed
from harpoon.api.graphs import DRAWING
from harpoon.api.guesses import Guesses
from harpoon.api.idempotency import UNDERWAY, Underway, check_key
from harpoon.api.meters import METERS, Meters
from harpoon.api.operation import Handler, operation_of
from harpoon.api.pages import SNAPSHOTS, Snapshots
from harpoon.api.plan import PLANNING
from harpoon.api.problem import Refused, logged_path, request_id
from harpoon.api.reference import REFERENCE, Reference
from harpoon.api.run_feed import RUN_FEED, RunFeed
from harpoon.api.sight import looking_back
from harpoon.api.stay import STAYS, Stays
from harpoon.control.metrics import ShareMetrics, StoreMetrics
from harpoon.control.run_metrics import RunMetrics
from harpoon.control.work_metrics import WorkMetrics
from harpoon.kit.address import is_local_name
from harpoon.kit.errors import HarpoonError, Unavailable
from harpoon.store.port import StoreUnavailable

ROUTES: Final = (
    *status.ROUTES,
    *jobs.ROUTES,
    *namespaces.ROUTES,
    *secrets.ROUTES,
    *rebalance.ROUTES,
    *endpoints.ROUTES,
    *logs.ROUTES,
    *tasks.ROUTES,
    *agents.ROUTES,
    *upkeep.ROUTES,
    *versions.ROUTES,
    *rollouts.ROUTES,
    *cron.ROUTES,
    *events.ROUTES,
    *waiting.ROUTES,
    *why.ROUTES,
    *changes.ROUTES,
    *apply.ROUTES,
    *plan.ROUTES,
    *workflows.ROUTES,
    *graphs.ROUTES,
    *runs.ROUTES,
    *reports.ROUTES,
    *run_starts.ROUTES,
    *run_orders.ROUTES,
    *run_repairs.ROUTES,
    *run_batches.ROUTES,
    *signals.ROUTES,
    *callbacks.ROUTES,
    *work.ROUTES,
    *permits.ROUTES,
    *workers.ROUTES,
    *watch.ROUTES,
    *backup.ROUTES,
    *past.ROUTES,
    *reference.ROUTES,
)
_READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
#: Parameters in which people try to send a token. Queries end up in logs and histories, so none is taken there.
_TOKEN_PARAMETERS: Final = frozenset({"token", "access_token", "auth", "authorization", "bearer", "api_key", "apikey"})

_log = structlog.get_logger(__name__)


def make_app(doors: Doors) -> web.Application:
    """Make the HTTP API of an instance, to be served by `harpoon.api.site.run_site`."""
    app = web.Application(middlewares=[_numbered(doors), _admitted], client_max_size=doors.limits.body_bytes)
    stays = Stays(doors.limits)
    meters = Meters(doors.metrics, stays=stays.__len__)
    doors.metrics.register(StoreMetrics(doors.store.health))
    doors.metrics.register(ShareMetrics(doors.view, doors.instance))
    if doors.work is not None:
        doors.metrics.register(WorkMetrics(doors.work))
    if doors.runs is not None:
        doors.metrics.register(RunMetrics(doors.runs))
    app[DOORS], app[STAYS], app[METERS] = doors, stays, meters
    app[DECODING] = asyncio.Lock()
    app[FEED] = Feed(doors.view, doors.limits, meters.encoded)
    app[RUN_FEED] = RunFeed(doors.store, doors.view, meters.encoded)
    app[UNDERWAY] = Underway()
    app[PLANNING] = asyncio.Lock()
    app[DRAWING] = asyncio.Semaphore(1)
    app[REQUESTS] = Crowd(doors.limits.requests, "requests")
    app[BULKS] = Crowd(doors.limits.bulks, "requests with many documents")
    app[CALLERS] = Crowd(AT_ONCE, "callbacks")
    app[GUESSES] = Guesses(doors.clock)
    app[SNAPSHOTS] = Snapshots(doors.limits)
    app[REFERENCE] = Reference(ROUTES)
    app.add_routes([operation.route() for operation in ROUTES])
    app.on_response_prepare.append(_stamp)
    app.on_shutdown.append(_drain)
    return app


def _numbered(doors: Doors) -> Any:
    """Return the outer gate, which numbers the requests of this process."""
    prefix, number = f"{doors.instance}-{doors.clock.now().wall:x}", count(1)

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id.set(given if _REQUEST_ID.fullmatch(given) else f"{prefix}-{next(number)}")
        return await _answered(request, handler)

    return answered


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    response: web.StreamResponse
    try:
        response = await handler(request)
    except (HarpoonError, StoreUnavailable, Refused, web.HTTPException) as error:
        response = to_problem(request, error)
    seconds = loop.time() - begun
    request.app[METERS].count(request, response, seconds)
    if response.status >= 400 or not _is_routine(request):
        _log.info(
            "request_answered",
            request_id=request_id.get(),
            method=request.method,
            # Never the query: it may hold what does not belong into a log.
            path=logged_path(request.rel_url.raw_path),
            status=response.status,
            remote=request.remote,
            duration_ms=round(seconds * 1000, 2),
        )
    return response


def _is_routine(request: web.Request) -> bool:
    if request.method in _READS:
        return True
    operation = operation_of(request)
    return operation is not None and operation.is_routine


@web.middleware
async def _admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    doors = request.app[DOORS]
    for name in request.query if request.query_string else ():
        if name.lower() in _TOKEN_PARAMETERS:
            raise Refused(400, "a token never goes into the URL; send it as the header Authorization: Bearer <token>")
    operation = operation_of(request)
    if operation is None or not operation.is_open:
        if doors.token is None:
            _check_host(request)
        else:
            _check_token(request, doors.token)
    if operation is not None:
        check_key(request)
    if operation is not None and operation.is_open:
        return await _handled(request, handler)
    with request.app[REQUESTS].admit(apart=len(request.app[STAYS])):
        return await _handled(request, handler)


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    doors = request.app[DOORS]
    if request.method in _READS:
        async with looking_back(request):
            await caught_up(request)
            return await handler(request)
    try:
        async with asyncio.timeout(doors.limits.mutation_s) as scope:
            DEADLINE.set(scope)
            return await handler(request)
    except TimeoutError as error:
        raise Unavailable(
            "the store did not answer in time; it may have been done: look before trying again"
        ) from error


def _check_token(request: web.Request, token: str) -> None:
    values = request.headers.getall(hdrs.AUTHORIZATION, ())
    scheme, _, shown = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    is_right = hmac.compare_digest(shown.strip().encode(errors="surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not is_right:
        what = "the token is not the one of this server" if values else "a token is needed"
        challenge = 'Bearer realm="harpoon"' + (', error="invalid_token"' if values else "")
        raise Refused(
            401,
            f"{what}; send it as the header Authorization: Bearer <token>",
            headers={hdrs.WWW_AUTHENTICATE: challenge},
        )


def _check_host(request: web.Request) -> None:
    """Refuse requests that came by a name of someone else."""
    if not is_local_name(request.host):
        raise Refused(403, "without a token this server answers to localhost only; start it with --token-file")


async def _stamp(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(stamp())


def stamp() -> dict[str, str]:
    """Return the headers that every answer carries."""
    number = request_id.get()
    # What cannot be read as a request has no id.
    return ({"X-Request-Id": number} if number else {}) | {
        hdrs.CACHE_CONTROL: "no-store",
        "X-Content-Type-Options": "nosniff",
        hdrs.SERVER: "harpoon",
    }


async def _drain(app: web.Application) -> None:
    app[STAYS].drain()
