"""What a server answered, and the errors that it answers by."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from harpoon.kit.errors import (
    Conflict,
    Denied,
    Exceeded,
    Gone,
    HarpoonError,
    Invalid,
    NotFound,
    Outdated,
    PreconditionFailed,
    Problem,
    Unavailable,
)

_KINDS: Final[Mapping[int, type[HarpoonError]]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    429: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer from 200 to 299."""

    #: Of the server that gave it.
    url: str
    status: int
    #: Names in lower case.
    headers: Mapping[str, str]
    data: bytes

    @property
    def etag(self) -> str | None:
        """Which version of an object this is."""
        return self.headers.get("etag")

    @property
    def revision(self) -> str | None:
        """``<incarnation>.<revision>`` that the answer stands for."""
        return self.headers.get("harpoon-revision")

    @cached_property
    def body(self) -> Any:
        """Its JSON as it came, with fields of newer servers too; None for none.

        Raises:
            HarpoonError: It is no JSON.
        """
        return parse(self.data, self.url) if self.data else None


def parse(data: bytes, url: str) -> Any:
    """Read JSON of a server.

    Raises:
        HarpoonError: It is none.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise HarpoonError(f"{url} answered no JSON; is another service listening there?") from error


def error_of(status: int, data: bytes, url: str) -> HarpoonError:
    """Make the error that an answer tells of, from its problem+json where it has one."""
    try:
        problem = orjson.loads(data)
    except orjson.JSONDecodeError:
        problem = None
    if status == 503 and isinstance(problem, dict) and problem.get("status") == "draining":
        return Unavailable(f"{url} is about to stop")
    if not isinstance(problem, dict) or "title" not in problem:
        return HarpoonError(f"{url} answered {status}, and not as harpoon does; is another service listening there?")
    message = str(problem.get("detail") or problem["title"])
    if status in (400, 413, 415, 422):
        return Invalid(message, _problems(problem.get("errors")))
    if status == 409 and problem.get("code") == "plan_outdated":
        return Outdated(message, _problems(problem.get("changed")))
    if status == 410:
        return Gone(message, oldest=str(problem.get("oldest") or ""), gaps=problem.get("gaps"))
    if status == 409 and problem.get("code") == "quota_exceeded":
        return Exceeded(message)
    if status == 412:
        return PreconditionFailed(message, current=problem.get("current"))
    return _KINDS.get(status, HarpoonError)(message)


def _problems(told: object) -> list[Problem]:
    items = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    return [Problem(pointer=str(one.get("pointer")), detail=str(one.get("detail"))) for one in items]
