"""Problem details (RFC 9457): the one form in which every error is told."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp import web

#: Id of the request being answered; every answer and every log line of it carries it.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_CODES: Final = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "too_slow",
    409: "conflict",
    410: "gone",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    417: "expectation_failed",
    422: "unprocessable",
    429: "too_many",
    500: "internal",
    502: "agent_unreachable",
    503: "unavailable",
    504: "timed_out",
}


#: Characters of a path that are logged.
_PATH_MAX: Final = 200
#: A path that ends in what opens something to whoever knows it, and what may be logged of it.
_SECRET_PATH: Final = re.compile(r"(/v1/callbacks/+(?:[^/]*/+){0,4}).*", re.DOTALL)


def logged_path(path: str) -> str:
    """Return what may be logged of the path of a request, however it is encoded."""
    decoded = unquote(path)
    path = decoded if _SECRET_PATH.search(decoded) else path
    return _SECRET_PATH.sub(r"\1…", path)[:_PATH_MAX]


class Refused(Exception):
    """What HTTP itself forbids, before any noun of the house is touched; carries the status it is answered with."""

    def __init__(
        self, status: int, detail: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = headers or {}


def problem(
    status: int, detail: str, *, code: str | None = None, headers: Mapping[str, str] | None = None, **members: Any
) -> web.Response:
    """Make the answer that tells an error.

    Args:
        status: Of HTTP.
        detail: One or more sentences for a person: what is wrong, and what would be right.
        code: For programs; told by the status when absent.
        headers: Beside the usual ones.
        members: Further members of the problem, of JSON's types; bytes are spliced in as JSON.
    """
    code = code or _CODES.get(status, "error")
    told = {
        "type": f"urn:harpoon:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id.get() or None,
    }
    for name, value in members.items():
        told[name] = orjson.Fragment(value) if isinstance(value, bytes) else value
    body = orjson.dumps(told)
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=headers)
