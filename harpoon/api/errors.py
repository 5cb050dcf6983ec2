"""Errors as answers: which status, which code, and what else helps."""

from typing import Final

from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.objects import job_json
from harpoon.api.problem import Refused, problem
from harpoon.kit import codec
from harpoon.kit.errors import (
    Conflict,
    Exceeded,
    Fenced,
    Gone,
    Invalid,
    NotFound,
    Outdated,
    PreconditionFailed,
    Reused,
    Unavailable,
)
from harpoon.model.job import Job
from harpoon.store.port import StoreUnavailable
from harpoon.store.table import Row


def to_problem(request: web.Request, error: Exception) -> web.Response:
    """Tell an error: the one place that maps errors to statuses."""
    text = str(error)
    match error:
        case Invalid():
            faults = [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.problems]
            return problem(400, text, errors=faults)
        case NotFound():
            return problem(404, text)
        case PreconditionFailed():
            return problem(412, text, current=_current(request, error.current))
        case Conflict() | Exceeded() | Fenced():
            return _of_conflict(request, error)
        case Gone():
            if error.gaps is None:
                return problem(410, text, oldest=error.oldest)
            return problem(410, text, oldest=error.oldest, gaps=error.gaps)
        case StoreUnavailable():
            text += _IN_DOUBT if error.maybe_applied else ""
            return problem(503, text, code="store_unavailable", headers=_SOON, maybe_applied=error.maybe_applied)
        case Reused():
            return problem(422, text, code="id_reused")
        case Unavailable():
            return problem(503, text, headers=_SOON)
        case _:
            return _of_http(request, error)


def _of_conflict(request: web.Request, error: Conflict | Exceeded | Fenced) -> web.Response:
    match error:
        case Fenced():
            return problem(409, str(error), code="fenced")
        case Exceeded():
            return problem(409, str(error), code="quota_exceeded", quota=codec.dump(error.excesses))
        case Outdated():
            changed = [{"pointer": one.pointer, "detail": one.detail} for one in error.problems]
            return problem(409, str(error), code="plan_outdated", changed=changed)
        case _:
            return problem(409, str(error), current=_current(request, error.current))


#: A store restarts and a link comes back within seconds.
_SOON: Final[dict[str, str]] = {hdrs.RETRY_AFTER: "1"}


_IN_DOUBT: Final = "; it may have been done: look before trying again"


def _of_http(request: web.Request, error: Exception) -> web.Response:
    path = request.rel_url.raw_path[:200]
    match error:
        case Refused():
            return problem(error.status, str(error), code=error.code, headers=error.headers)
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{request.method[:20]} is not possible at {path}; possible are {allowed}"
            return problem(405, detail, headers={hdrs.ALLOW: allowed})
        case web.HTTPNotFound():
            return problem(404, f"there is nothing at {path}", code="no_such_route")
        case web.HTTPException():
            return problem(error.status, error.text or error.reason)
        case _:
            return problem(500, "an error that this release cannot tell; the log has it")


def _current(request: web.Request, current: object) -> bytes | None:
    """Return the object that stands, as JSON, if the error knows it."""
    if isinstance(current, Row) and isinstance(current.value, Job):
        return job_json(request.app[DOORS].view, current.value, current.mod_revision)
    return None
