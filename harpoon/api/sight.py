"""What a read looks at: the present, or what stood at ``?at=``. Handlers that take `AT` ask here, and nowhere else.

What cannot be asked of the past is refused by name: it does not change, so nothing of it is waited for, and it is told
whole, for no snapshot of it is kept.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from aiohttp import web

from harpoon.api.doors import DOORS
from harpoon.api.operation import AT, operation_of
from harpoon.api.query import Query, bad_parameter
from harpoon.api.revision import parse_revision
from harpoon.control.bookings import Bookings
from harpoon.control.past import Moment
from harpoon.control.view import View
from harpoon.kit.errors import Conflict, Invalid, Problem
from harpoon.model.instant import Instant
from harpoon.model.units import parse_duration
from harpoon.store.past.fold import Point, Revision, Time, format_time

#: What stands beside ``at`` nowhere.
_OF_THE_PRESENT: Final = ("min_revision", "wait", "after", "limit", "continue")
#: What of the past the request under way is answered from; None: it is answered from the present.
_MOMENT: Final[ContextVar[Moment | None]] = ContextVar("moment", default=None)
_DIGITS: Final = re.compile(r"\d+\.\d+", re.ASCII)
_MOMENTS: Final = "a time such as 2026-01-31T12:00:00Z, or how long ago, such as -10m"
_FORMS: Final = "a revision such as 1.42, a time such as 2026-01-31T12:00:00Z, or how long ago, such as -10m"


class Sight(NamedTuple):
    """What a read is answered from."""

    view: View
    #: The index that slots are placed by; None: none is kept now.
    bookings: Bookings | None
    now: Instant


@asynccontextmanager
async def looking_back(request: web.Request) -> AsyncIterator[None]:
    """Find what stood at the time that a read asks for, if it does; what runs within sees that.

    Raises:
        HarpoonError: As of `_asked`.
    """
    token = _MOMENT.set(await _asked(request))
    try:
        yield
    finally:
        # Requests of one connection follow one another in one context.
        _MOMENT.reset(token)


async def _asked(request: web.Request) -> Moment | None:
    """Return what stood at the time that a read asks for; None: it asks for none.

    Raises:
        Invalid: It is no point in the past, or is asked for together with what is of the present.
        Conflict: This instance keeps no history.
        Gone: It is not kept.
        Unavailable: It is not written yet.
    """
    operation = operation_of(request)
    # What an operation does not take, or is given twice, it refuses itself.
    if operation is None or AT not in operation.query or len(request.query.getall(AT.name, ())) != 1:
        return None
    if beside := [name for name in _OF_THE_PRESENT if name in request.query]:
        detail = "it is of the present, and does not go with at"
        raise Invalid(f"{', '.join(beside)}: {detail}", [Problem(pointer=f"?{name}", detail=detail) for name in beside])
    doors = request.app[DOORS]
    point = read_point(AT.name, request.query[AT.name], doors.clock.now().wall)
    if doors.past is None:
        raise without_history()
    return await doors.past.at(point)


def without_history() -> Conflict:
    """Make the error that tells that nothing is kept."""
    return Conflict("this instance keeps no history; start it with: harpoon server --history DIR")


def is_past() -> bool:
    """Whether the request under way is answered from the past."""
    return _MOMENT.get() is not None


def sight(request: web.Request) -> Sight:
    """Return what a request is answered from."""
    doors, moment = request.app[DOORS], _MOMENT.get()
    if moment is not None:
        return Sight(moment.view, moment.bookings, moment.now)
    return Sight(doors.view, doors.bookings(), doors.clock.now())


def view_of(request: web.Request) -> View:
    """Return the view that a request is answered from."""
    moment = _MOMENT.get()
    return request.app[DOORS].view if moment is None else moment.view


def was() -> str:
    """Return the verb of what is missed."""
    return "was" if is_past() else "is"


def headers_at() -> dict[str, str]:
    """Return the headers that tell of which time an answer is."""
    moment = _MOMENT.get()
    return {} if moment is None else {"Harpoon-At": format_time(moment.now.wall)}


def read_point(parameter: str, text: str, now_ms: int, forms: str = _FORMS) -> Point:
    """Read a point in the past; ``forms`` says how it may be written.

    Raises:
        Invalid: It is none.
    """
    try:
        return _point(text, now_ms)
    except (ValueError, OverflowError) as error:
        detail = str(error) if isinstance(error, _Unclear) else f"write {forms}; got {text[:80]!r}"
        raise bad_parameter(parameter, detail) from error


def read_moment(request: web.Request, parameter: str) -> int | None:
    """Return a moment that a parameter of the query names, UTC milliseconds; None: it is absent.

    Raises:
        Invalid: It names none.
    """
    text = Query(request).one(parameter)
    if text is None:
        return None
    point = read_point(parameter, text, request.app[DOORS].clock.now().wall, _MOMENTS)
    if not isinstance(point, Time):
        raise bad_parameter(parameter, f"write {_MOMENTS}; got {text[:80]!r}")
    return point.at_ms


def read_span(request: web.Request) -> tuple[int | None, int | None]:
    """Return the moments that ``since`` and ``until`` name, UTC milliseconds; None: it is absent.

    Raises:
        Invalid: One names none, or nothing lies between them.
    """
    since_ms, until_ms = read_moment(request, "since"), read_moment(request, "until")
    if since_ms is not None and until_ms is not None and until_ms <= since_ms:
        raise bad_parameter("until", "it is not after since, so there is nothing between them; swap them")
    return since_ms, until_ms


class _Unclear(ValueError):
    """It is nearly a point."""


def _point(text: str, now_ms: int) -> Point:
    if _DIGITS.fullmatch(text):
        return Revision(*parse_revision(text))
    if text.startswith("-"):
        return Time(now_ms - parse_duration(text[1:]) // timedelta(milliseconds=1))
    # A plus sign stands for a space in a query, where nobody minds it.
    time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    if time.tzinfo is None or "T" not in text:
        raise _Unclear(f"say in which time zone, such as {text[:30].replace(' ', 'T')}Z or …+02:00; got {text[:80]!r}")
    return Time(round(time.timestamp() * 1000))
