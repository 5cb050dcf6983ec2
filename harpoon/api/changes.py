"""Changes: accepted mutations that can be waited for."""

import asyncio
from datetime import timedelta

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.blocking import job_changed, read_after, read_wait, seen
from harpoon.api.doors import DOORS
from harpoon.api.operation import AFTER, DURATION, Operation, Parameter
from harpoon.api.stay import STAYS, Stay
from harpoon.control.changes import change_revision
from harpoon.control.view import job_key
from harpoon.kit import codec
from harpoon.model.status import ChangeState, ChangeStatus


async def get_change(request: web.Request) -> web.Response:
    """Show how far a change has come; wait for it to come through, or never to, if asked to.

    With ``after``, any news of its job since that revision ends the wait.
    """
    doors = request.app[DOORS]
    wait, after = read_wait(request), read_after(request)
    change = request.match_info["id"]
    await _known(request, change)
    status = doors.registry.change(change)
    if after is not None and status.state is ChangeState.PROGRESSING:
        await job_changed(request, job_key(status.namespace, status.job))
        status = doors.registry.change(change)
    elif wait and status.state is ChangeState.PROGRESSING:
        with request.app[STAYS].admit(request) as stay:
            await _wait(request, stay, status, wait)
        status = doors.registry.change(change)
    return answer(request, codec.dump_full(status))


async def _known(request: web.Request, change: str) -> None:
    """Wait until the view shows a change that another instance accepted just now; an id is none of a revision to come.

    Raises:
        Unavailable: The view does not show it in time.
        StoreUnavailable: Whether it was made is not known.
    """
    doors = request.app[DOORS]
    made_at = change_revision(doors.view, change)
    if made_at is not None and doors.view.revision < made_at <= await doors.store.revision():
        await seen(request, made_at)


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


ROUTES = (
    Operation(
        "GET",
        "/v1/changes/{id}",
        get_change,
        tag="changes",
        query=(Parameter("wait", DURATION, "How long to wait for it to come through; at most 5m."), AFTER),
        answers={200: ChangeStatus},
    ),
)
