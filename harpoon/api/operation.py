"""Operations: one declaration a route, from which its routing, the strict reading of its query and its entry follow.

The entry is that of the OpenAPI document. What is not declared can be neither sent nor read, so it cannot drift; its
text is the handler's docstring. A module's ``ROUTES`` are operations::

    Operation("GET", "/v1/changes/{id}", get_change, tag="changes", query=(Parameter("wait", DURATION, "How long."),),
              answers={200: ChangeStatus})
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from harpoon.kit.errors import Invalid, Problem
from harpoon.model.name import NAME_PATTERN

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = Mapping[str, Any]

TEXT: Final[Schema] = MappingProxyType({"type": "string"})
NAME: Final[Schema] = MappingProxyType({"type": "string", "pattern": NAME_PATTERN})
FLAG: Final[Schema] = MappingProxyType({"type": "boolean", "default": False})
DURATION: Final[Schema] = MappingProxyType({"type": "string", "pattern": r"^\d{1,12}(ms|s|m|h|d)$"})
REVISION: Final[Schema] = MappingProxyType({"type": "string", "pattern": r"^\d{1,18}\.\d{1,18}$"})
ETAG: Final[Schema] = MappingProxyType({"type": "string", "pattern": r'^"\d{1,18}\.\d{1,18}"$'})
_PART: Final = re.compile(r"\{(\w+)\}")


def whole(low: int, high: int) -> Schema:
    """Return the schema of a whole number from ``low`` to ``high``."""
    return {"type": "integer", "minimum": low, "maximum": high}


def choice(*words: str) -> Schema:
    """Return the schema of one of a few words; the first is the default."""
    return {"type": "string", "enum": list(words), "default": words[0]}


@dataclass(frozen=True, slots=True)
class Parameter:
    """What may be sent beside a body: a parameter of the query, or a header."""

    name: str
    schema: Schema
    description: str
    #: May be given any number of times; all of them count.
    many: bool = field(default=False, kw_only=True)
    #: The handler refuses a request without it.
    is_required: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered with one status: in several forms when ``Accept`` chooses."""

    #: The noun told as JSON.
    json: Any = None
    #: The noun of each event, told as server-sent events or as lines of JSON.
    events: Any = None
    #: The noun of each line, told as lines of JSON.
    lines: Any = None
    #: The media type of what is neither.
    text: str = ""
    description: str = ""
    #: Whether an ETag tells at which revision the object was last written.
    has_tag: bool = False


IF_MATCH: Final = Parameter("If-Match", ETAG, "The ETag of what was read: refused with 412 if it has changed since.")
IF_NEW: Final = Parameter("If-None-Match", {"type": "string", "enum": ["*"]}, "Refused with 412 if it exists.")
TAG: Final = Parameter(
    "tag", {"type": "string", "pattern": "^[^=]+="}, "Only what has this tag, as key=value; all must hold.", many=True
)

MIN_REVISION: Final = Parameter(
    "min_revision",
    REVISION,
    "Answer from this revision or a later one, such as an answer to a change told: wait up to 5 s for it, else 503.",
)
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "Made by the client, another for each thing it wants done: asked again within 24 hours, it is not done again, and "
    "the first answer is given, with the header Idempotency-Replayed: true.",
)
WAIT: Final = Parameter("wait", DURATION, "How long to wait for a change of it; at most 5m. Then it is shown as it is.")
AT: Final = Parameter(
    "at",
    TEXT,
    "Answer as it stood then: at a revision such as 1.42, a time such as 2026-01-31T12:00:00Z, or so long ago, such as "
    "-10m. Only where a history is kept.",
)
AFTER: Final = Parameter("after", REVISION, "With wait: any change after this revision; after the present when absent.")

#: Parameters that every operation of a method takes.
EVERY_QUERY: Final[Mapping[str, tuple[Parameter, ...]]] = {"GET": (MIN_REVISION,)}
#: Headers likewise.
EVERY_HEADER: Final[Mapping[str, tuple[Parameter, ...]]] = {"POST": (IDEMPOTENCY_KEY,)}
#: Errors likewise.
EVERY_REFUSAL: Final[Mapping[str, tuple[int, ...]]] = {"GET": (410,), "POST": (409, 422)}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    #: The group in which it is documented.
    tag: str = field(kw_only=True)
    query: tuple[Parameter, ...] = field(default=(), kw_only=True)
    headers: tuple[Parameter, ...] = field(default=(), kw_only=True)
    #: The noun of its body; None: it takes none.
    body: Any = field(default=None, kw_only=True)
    #: The noun of each line, where lines of JSON are taken too.
    body_lines: Any = field(default=None, kw_only=True)
    #: Sent by a peer, perhaps of another release: what its body has beyond the noun is ignored.
    is_peer: bool = field(default=False, kw_only=True)
    #: Status → what is told; a noun stands for an `Answer` that tells it as JSON.
    answers: Mapping[int, Any] = field(default_factory=dict, kw_only=True)
    #: Statuses of errors beyond those that follow from the rest: see `refusals`.
    refuses: tuple[int, ...] = field(default=(), kw_only=True)
    #: Answered without a token.
    is_open: bool = field(default=False, kw_only=True)
    #: Asked again and again by programs: logged only when it is refused.
    is_routine: bool = field(default=False, kw_only=True)
    #: Unique among all; the handler's name when absent.
    id: str = field(default="", kw_only=True)

    @property
    def operation_id(self) -> str:
        """The name by which programs call it."""
        return self.id or self.handler.__name__

    @property
    def text(self) -> str:
        """What it does, as its handler's docstring says, without what that says to programmers."""
        return re.split(r"\n\s*(?:Args|Returns|Raises):\n", inspect.getdoc(self.handler) or "")[0].strip()

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the variable parts of its path."""
        return tuple(_PART.findall(self.path))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All query parameters that it takes."""
        return (*self.query, *EVERY_QUERY.get(self.method, ()))

    @property
    def all_headers(self) -> tuple[Parameter, ...]:
        """All headers that it takes."""
        return (*self.headers, *EVERY_HEADER.get(self.method, ()))

    @property
    def refusals(self) -> tuple[int, ...]:
        """The statuses of all errors that it can be answered with, sorted."""
        statuses = {400, 429, 500, 503, *self.refuses, *EVERY_REFUSAL.get(self.method, ())}
        if not self.is_open:
            statuses |= {401, 403}
        if self.parts:
            statuses.add(404)
        if self.body is not None:
            statuses |= {408, 413, 415}
        if any(header.name in (IF_MATCH.name, IF_NEW.name) for header in self.headers):
            statuses.add(412)
        if any(isinstance(answer, Answer) and answer.events is not None for answer in self.answers.values()):
            statuses.add(406)
        return tuple(sorted(statuses))

    def route(self) -> web.RouteDef:
        """Return the route to register; ``HEAD`` comes with ``GET``."""
        add = {"GET": web.get, "PUT": web.put, "POST": web.post, "DELETE": web.delete}[self.method]
        return add(self.path, self.serve)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, once its query is known to be one that the operation takes.

        Raises:
            Invalid: A parameter that it does not take, or one given more often than it may; all of them are told.
        """
        if request.query_string:
            self._check(request)
        return await self.handler(request)

    def _check(self, request: web.Request) -> None:
        known = {parameter.name: parameter for parameter in self.parameters}
        faults = []
        for name in dict.fromkeys(request.query):
            if name not in known:
                allowed = ", ".join(known) or "none"
                faults.append(Problem(pointer=f"?{name[:80]}", detail=f"not a parameter here; these are: {allowed}"))
            elif not known[name].many and len(request.query.getall(name)) > 1:
                faults.append(Problem(pointer=f"?{name}", detail="give it once"))
        if faults:
            names = ", ".join(fault.pointer[1:] for fault in faults)
            raise Invalid(f"query parameters that cannot be: {names}", faults)


def operation_of(request: web.Request) -> Operation | None:
    """Return the operation that a request asks for, or None when there is no such route."""
    owner = getattr(request.match_info.handler, "__self__", None)
    return owner if isinstance(owner, Operation) else None
