"""Requests about runs that another instance conducts: passed on to that one, and answered as it does.

A run is conducted by the holder of its shard, which is its only writer. Any instance may be asked: what it does not
conduct itself goes on once, with the time that is left for it and its idempotency key; a header says that it comes from
an instance, which is not passed on again. A shard that is being taken over has no conductor for a moment: it is waited
for, and not for long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import hdrs, web

from harpoon.api.doors import DEADLINE, DOORS
from harpoon.api.pages import PASSED_ON
from harpoon.api.problem import Refused, request_id
from harpoon.client.peer import PASSED_WITHIN_S
from harpoon.control.conductor import Conductor
from harpoon.control.run_status import RunStatus
from harpoon.control.runs import Runs
from harpoon.kit.errors import Unavailable
from harpoon.store.table import RowChange

#: A shard is without a conductor for so long, or a client is told to come again.
HOLDER_WITHIN_S: Final = 2.0
#: Says how many seconds are left for what is passed on.
LEFT: Final = "Harpoon-Time-Left"
#: Of the time that is left, so much is for the way back.
_MARGIN_S: Final = 0.5
#: What of a request goes with it, and what of the answer comes back.
_SENT: Final = (hdrs.AUTHORIZATION, hdrs.ACCEPT, "Idempotency-Key")
_TOLD: Final = ("Harpoon-Revision", hdrs.CONTENT_TYPE, hdrs.RETRY_AFTER, "ETag")
_READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_SOON: Final[dict[str, str]] = {hdrs.RETRY_AFTER: "1"}

#: Answers a request about a run where it is conducted.
Here = Callable[[Conductor], Awaitable[web.Response]]

_log = structlog.get_logger(__name__)


def runs_of(request: web.Request) -> Runs:
    """Return the runs of this instance.

    Raises:
        Unavailable: It has none.
    """
    runs = request.app[DOORS].runs
    if runs is None:
        raise Unavailable("this server knows nothing of runs")
    return runs


def status_of(request: web.Request) -> RunStatus:
    """Return what tells how runs stand.

    Raises:
        Unavailable: There are none here.
    """
    status = request.app[DOORS].run_status
    if status is None:
        raise Unavailable("this server knows nothing of runs")
    return status


def is_passed_on(request: web.Request) -> bool:
    """Whether a request comes from another instance, which was asked for it."""
    return PASSED_ON in request.headers


async def at_holder(request: web.Request, key: str, here: Here, *, body: bytes | None = None) -> web.Response:
    """Answer a request about a run where it is conducted: here, or by the instance that does.

    Args:
        request: What is answered.
        key: ``<namespace>/<run>``.
        here: Answers it if this instance conducts the run.
        body: To be passed on.

    Raises:
        Unavailable: Nobody conducts it at the moment, or whoever does cannot be asked.
        Refused: The other instance did not answer, so what became of it is not known.
    """
    found = await holder(request, key)
    if isinstance(found, str):
        return await pass_on(request, found, body)
    return await here(found)


async def holder(request: web.Request, key: str) -> Conductor | str:
    """Return who conducts a run: the conductor if it is here, else the URL of the instance that does.

    Raises:
        Unavailable: Nobody does, and nobody has begun to within `HOLDER_WITHIN_S`.
    """
    runs = runs_of(request)
    conductor = runs.conductor_of(key)
    if conductor is not None:
        return conductor
    _take_over_time(request)
    if is_passed_on(request):
        # Whoever sent it here sees this instance as the holder: it is about to be.
        conductor = await runs.awaited(key, HOLDER_WITHIN_S)
        if conductor is None:
            raise Unavailable("this instance does not conduct the run; ask again")
        return conductor
    try:
        async with asyncio.timeout(HOLDER_WITHIN_S):
            return await _found(request, runs, key)
    except TimeoutError as error:
        raise Unavailable("nobody conducts this run at the moment; ask again") from error


def url_of_holder(request: web.Request, key: str) -> str | None:
    """Return the URL of the other instance that conducts a run, as it is known now; None: none is known."""
    doors = request.app[DOORS]
    name = runs_of(request).holder_of(key)
    row = None if name is None or name == doors.instance else doors.view.instances.rows.get(name)
    return None if row is None else row.value.url or None


async def pass_on(
    request: web.Request, url: str, body: bytes | None = None, *, path: str | None = None
) -> web.Response:
    """Have another instance answer a request, and answer as it does.

    Args:
        request: What is answered.
        url: Where the instance is.
        body: As it is sent on.
        path: Where to, if not where the request itself goes; with the query, encoded.

    Raises:
        Unavailable: There is nobody to pass anything on.
        Refused: It did not answer, so what became of it is not known.
    """
    doors = request.app[DOORS]
    if doors.peer_client is None:
        raise Unavailable(f"the run is conducted at {url}, and this instance passes nothing on; ask there")
    left_s = _left_s(request)
    sent = {PASSED_ON: "1", LEFT: f"{left_s:.3f}", "X-Request-Id": request_id.get()}
    sent |= {str(name): request.headers[name] for name in _SENT if name in request.headers}
    if body is not None:
        sent[str(hdrs.CONTENT_TYPE)] = "application/json"
    where = request.rel_url.raw_path_qs if path is None else path
    try:
        told = await doors.peer_client.pass_on(request.method, url, where, sent, body=body, within_s=left_s)
    except Unavailable as error:
        _log.warning("not_passed_on", url=url, reason=str(error))
        detail = f"the instance that conducts this run does not answer: {error}"
        if request.method in _READS:
            raise Unavailable(detail) from error
        doubt = "; it may have been done: look before trying again, or send the same again"
        raise Refused(503, detail + doubt, code="holder_unreachable", headers=_SOON) from error
    headers = {str(name): told.headers[name] for name in _TOLD if name in told.headers}
    return web.Response(status=told.status, body=told.body, headers=headers)


def _left_s(request: web.Request) -> float:
    """Return how many seconds are left for a request, without those of the way back."""
    scope = _scope(request)
    when = None if scope is None else scope.when()
    if when is None:
        return PASSED_WITHIN_S
    return max(_MARGIN_S, when - asyncio.get_running_loop().time() - _MARGIN_S)


def _scope(request: web.Request) -> asyncio.Timeout | None:
    """Return when a mutation is given up; reads are not."""
    return None if request.method in _READS else DEADLINE.get()


def _take_over_time(request: web.Request) -> None:
    """Keep to the time that is left for what another instance has passed on."""
    scope = _scope(request)
    given = request.headers.get(LEFT, "")
    if scope is None or not is_passed_on(request) or not given.replace(".", "", 1).isdigit() or len(given) > 12:
        return
    until = asyncio.get_running_loop().time() + float(given)
    when = scope.when()
    if when is None or until < when:
        scope.reschedule(until)


async def _found(request: web.Request, runs: Runs, key: str) -> Conductor | str:
    view = request.app[DOORS].view
    changed = asyncio.Event()

    def hear(_revision: int, changes: tuple[RowChange, ...]) -> None:
        if any(change.table is view.holds or change.table is view.instances for change in changes):
            changed.set()

    with view.mirror.listening(hear):
        while True:
            changed.clear()
            found = runs.conductor_of(key) or url_of_holder(request, key)
            if found is not None:
                return found
            await _first(changed.wait(), runs.awaited(key, HOLDER_WITHIN_S))


async def _first(*waits: Awaitable[object]) -> None:
    """Return once one of these is through."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
