"""Reads that wait: for this instance to have a revision, or for one object to change.

Both are bounded, and both end in the ordinary answer of the route.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.operation import AFTER, MIN_REVISION, WAIT
from harpoon.api.query import Query, bad_parameter
from harpoon.api.revision import parse_revision
from harpoon.api.stay import STAYS
from harpoon.control.view import View
from harpoon.control.waiting import MOVES_KEY, agent_key, keys_of
from harpoon.kit.errors import Gone, Unavailable
from harpoon.model.units import format_duration, parse_duration
from harpoon.store.table import RowChange

#: What an operation that can wait for its object takes.
BLOCKING: Final = (WAIT, AFTER)

Concerns = Callable[[RowChange], bool]


async def caught_up(request: web.Request) -> None:
    """Wait until the view has the revision that a read asks for.

    Raises:
        Invalid: It is no revision.
        Gone: It is of another incarnation.
        Unavailable: The view does not have it in time, or the store itself does not.
    """
    given = request.query.getall(MIN_REVISION.name, ())
    # Given twice it is refused with whatever else the operation does not take.
    if len(given) != 1:
        return
    doors = request.app[DOORS]
    wanted = _read_revision(doors.view, MIN_REVISION.name, given[0])
    if wanted > doors.view.revision:
        await seen(request, wanted)
    return


async def seen(request: web.Request, revision: int) -> None:
    """Wait until the view has a revision.

    Raises:
        Unavailable: The view does not have it in time, or the store itself does not.
    """
    doors = request.app[DOORS]
    if revision <= await doors.store.revision():
        try:
            async with asyncio.timeout(doors.limits.catch_up_s):
                return await doors.view.mirror.reached(revision)
        except TimeoutError:
            pass
    at, wanted = doors.view.external(doors.view.revision), doors.view.external(revision)
    raise Unavailable(f"this instance is at {at}, not yet at {wanted}")


async def job_changed(request: web.Request, key: str) -> None:
    """Wait, if asked to, until anything of a job changes, given its key."""
    view = request.app[DOORS].view
    await _blocked(request, key, lambda change: key in keys_of(view, change))


async def task_changed(request: web.Request, key: str, task: str) -> None:
    """Wait, if asked to, until a task changes, or its placement, given its id and the key of its job.

    A slot without a task changes with anything of its job.
    """
    view = request.app[DOORS].view
    is_slot = task.count(".") == 2

    def concerns(change: RowChange) -> bool:
        return key in keys_of(view, change) and (is_slot or change.key.partition("/")[2] == task)

    await _blocked(request, key, concerns)


async def agent_changed(request: web.Request, name: str) -> None:
    """Wait, if asked to, until anything of an agent changes, or of what is placed on it."""
    view, key = request.app[DOORS].view, agent_key(name)
    await _blocked(request, key, lambda change: key in keys_of(view, change))


async def moves_changed(request: web.Request) -> None:
    """Wait, if asked to, until a move begins or is over."""
    view = request.app[DOORS].view
    await _blocked(request, MOVES_KEY, lambda change: change.table is view.moves)


def read_wait(request: web.Request) -> timedelta:
    """Return how long to wait; not at all when the request does not say, or wants no body.

    Raises:
        Invalid: It is no duration, or too long.
    """
    most_s = request.app[DOORS].limits.wait_s
    text = Query(request).one(WAIT.name)
    if text is None:
        return timedelta(0)
    try:
        wait = parse_duration(text)
    except ValueError as error:
        raise bad_parameter(WAIT.name, str(error)) from error
    if wait.total_seconds() > most_s:
        most = format_duration(timedelta(seconds=most_s))
        raise bad_parameter(WAIT.name, f"at most {most}; ask again to wait longer")
    return timedelta(0) if request.method == hdrs.METH_HEAD else wait


def read_after(request: web.Request) -> int | None:
    """Return the revision after which a change counts, or None when the request does not say.

    Raises:
        Invalid: It is no revision, or there is nothing to wait for.
        Gone: It is of another incarnation.
    """
    query = Query(request)
    text = query.one(AFTER.name)
    if text is None:
        return None
    if query.one(WAIT.name) is None:
        raise bad_parameter(AFTER.name, "say how long to wait as well, such as wait=30s")
    return _read_revision(request.app[DOORS].view, AFTER.name, text)


async def _blocked(request: web.Request, key: str, concerns: Concerns) -> None:
    doors = request.app[DOORS]
    wait, after = read_wait(request), read_after(request)
    if not wait:
        return
    start = doors.view.revision if after is None else after
    with request.app[STAYS].admit(request) as stay:
        try:
            async with asyncio.timeout(wait.total_seconds()):
                await stay.run(lambda: doors.registry.waiters.touched(key, start, concerns))
        except TimeoutError:
            return


def _read_revision(view: View, parameter: str, text: str) -> int:
    try:
        asked = parse_revision(text)
    except ValueError as error:
        raise bad_parameter(parameter, str(error)) from error
    if asked.incarnation != view.incarnation:
        other = f"{text} is of incarnation {asked.incarnation} of the store, which is at {view.incarnation}"
        raise Gone(f"{other}; start afresh", oldest=view.external(view.mirror.oldest))
    return asked.number
