"""Changes: accepted mutations that can be waited for."""

import asyncio
from datetime import timedelta

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.query import Query, bad_parameter
from harpoon.api.stay import STAYS, Stay
from harpoon.control.changes import ChangeState, ChangeStatus
from harpoon.control.view import job_key
from harpoon.kit import codec
from harpoon.model.units import format_duration, parse_duration


async def get_change(request: web.Request) -> web.Response:
    """Show how far a change has come; wait for it to come through, or never to, if asked to."""
    doors = request.app[DOORS]
    wait = _read_wait(Query(request, "wait"), doors.limits.wait_s)
    change = request.match_info["id"]
    status = doors.registry.change(change)
    if wait and status.state is ChangeState.PROGRESSING and request.method != "HEAD":
        with request.app[STAYS].admit(request) as stay:
            await _wait(request, stay, status, wait)
        status = doors.registry.change(change)
    return answer(request, codec.dump_full(status))


async def _wait(request: web.Request, stay: Stay, status: ChangeStatus, wait: timedelta) -> None:
    """Wait until a change progresses no more, for so long at most, or until the instance drains."""
    doors = request.app[DOORS]

    async def until_settled() -> None:
        while doors.registry.change(status.id).state is ChangeState.PROGRESSING:
            await doors.registry.changed(job_key(status.namespace, status.job), doors.view.revision)

    try:
        async with asyncio.timeout(wait.total_seconds()):
            await stay.run(until_settled)
    except TimeoutError:
        return


def _read_wait(query: Query, most_s: float) -> timedelta:
    text = query.one("wait")
    if text is None:
        return timedelta(0)
    try:
        wait = parse_duration(text)
    except ValueError as error:
        raise bad_parameter("wait", str(error)) from error
    if wait.total_seconds() > most_s:
        raise bad_parameter("wait", f"at most {format_duration(timedelta(seconds=most_s))}; ask again to wait longer")
    return wait


ROUTES = (web.get("/v1/changes/{id}", get_change),)
