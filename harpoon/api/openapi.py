"""The OpenAPI document: made of the operations, so that it says what the server does.

Each noun is one schema. Those that users write are closed, as they are read strictly; those that are only told are
open, since a later release may tell more.
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from harpoon import __version__
from harpoon.api.links import links_of
from harpoon.api.operation import AT, NAME, TEXT, Answer, Operation, Parameter, Schema, whole
from harpoon.kit.schema import DIALECT, Definitions
from harpoon.model.operation import HANDLER_PATTERN
from harpoon.model.shown import ProblemDetails
from harpoon.model.sub_run import ANY_RUN_PATTERN

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"
PROBLEM: Final = "application/problem+json"

#: The variable parts of paths.
PARTS: Final[Mapping[str, Parameter]] = {
    "ns": Parameter("ns", NAME, "The namespace."),
    "name": Parameter("name", NAME, "The name."),
    "id": Parameter("id", TEXT, "The id, as an answer told it."),
    "run": Parameter("run", {"type": "string", "pattern": ANY_RUN_PATTERN}, "The run's id."),
    "signal": Parameter("signal", {"type": "string", "pattern": HANDLER_PATTERN}, "The signal's name."),
    "op": Parameter("op", {"type": "string"}, "The operation's name."),
    "visit": Parameter("visit", whole(1, 9_999_999), "The number of the visit."),
    "token": Parameter("token", {"type": "string"}, "What makes the URL a credential."),
    "n": Parameter("n", whole(1, 999_999_999), "The number of the version."),
}
#: What operations are grouped by, in this order.
TAGS: Final[Mapping[str, str]] = {
    "jobs": "What users declare: schedule, migrate, scale, unschedule; and how it stands.",
    "changes": "Accepted mutations that can be waited for.",
    "tasks": "What runs, as the agents report it, and slots that wait for an agent.",
    "workflows": "Graphs of operations: declared, bounded, and what is started by them.",
    "runs": "Executions of workflows: started, told things, and how they stand.",
    "batches": "Many things to be done, without a graph: runs that are told what to do with each item.",
    "namespaces": "What jobs share a name for, and how much they may reserve together.",
    "secrets": "What tasks are given and nobody is shown: set, encrypted, and told of without their values.",
    "agents": "The hosts that run tasks.",
    "work": "What workers take and bring back.",
    "watch": "What is, and then every change once, in order.",
    "instance": "How this server stands, and what it can be asked.",
}
_REFUSALS: Final[Mapping[int, str]] = {
    400: "The input is wrong; the same will always be. `errors` names each fault.",
    401: "No token, or a wrong one.",
    403: "A stranger's `Host` on a server without a token.",
    404: "There is no such thing.",
    406: "It is not told in any form that `Accept` names.",
    408: "The body was too slow.",
    409: "It contradicts how things stand, or the same request is still being answered.",
    410: "That history is no longer kept; start afresh, or from `oldest`.",
    412: "`If-Match` or `If-None-Match` did not hold; `current` is what stands.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken here, or compressed.",
    422: "The idempotency key, or the id, was used for another request.",
    429: "Too much at once; `Retry-After` says when to try again.",
    500: "A fault of the server; its log tells more under the `request_id`.",
    502: "The agent cannot be reached.",
    503: "Not now; `Retry-After` says when to try again. With `maybe_applied`, look first.",
    504: "The agent did not answer in time.",
}
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "X-Request-Id": {"description": "Of the request, or made for it; the log has it.", "schema": {"type": "string"}},
    "Harpoon-Revision": {"description": "The answer is of this revision.", "schema": {"type": "string"}},
    "ETag": {
        "description": "At which revision the object was last written; for If-Match.",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "true: this is the answer that was given to the first request with this key.",
        "schema": {"const": "true"},
    },
    "Harpoon-At": {
        "description": "With `at`: when the revision that the answer is of was seen.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"description": "How to show who asks.", "schema": {"type": "string"}},
}
_REFUSAL_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {401: ("WWW-Authenticate",), 503: ("Retry-After",)}
_INTRODUCTION: Final = """\
Revisions are opaque text, `<incarnation>.<number>`. What is asked with a parameter or a field that is not declared \
here is refused, never ignored. `HEAD` works wherever `GET` does. A server without a token answers to localhost only."""


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document that describes these operations."""
    nouns = Definitions("#/components/schemas/")
    for operation in operations:
        for noun in (operation.body, operation.body_lines):
            if noun is not None:
                nouns.refer(noun, is_closed=not operation.is_peer)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        entry = _entry(operation, operations, nouns)
        paths.setdefault(operation.path, {})[operation.method.lower()] = entry
    statuses = sorted({status for operation in operations for status in operation.refusals})
    responses = {f"Problem{status}": _refusal(status, nouns) for status in statuses}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Harpoon",
            "version": __version__,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": DIALECT,
        "servers": [{"url": "/", "description": "This server."}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(nouns.schemas.items())),
            "responses": responses,
            "headers": {name: dict(header) for name, header in _HEADERS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token in the server's token file. A server without one answers to localhost.",
                }
            },
        },
    }


def _entry(operation: Operation, operations: Sequence[Operation], nouns: Definitions) -> dict[str, Any]:
    assert operation.tag in TAGS, f"{operation.tag} is no group of operations"
    summary, _, description = operation.text.partition("\n")
    entry: dict[str, Any] = {
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        "summary": summary.strip().removesuffix("."),
    }
    if description.strip():
        entry["description"] = description.strip().replace("``", "`")
    if operation.is_open:
        entry["security"] = []
    parameters = [
        *(_parameter(PARTS[part], "path") for part in operation.parts),
        *(_parameter(parameter, "query") for parameter in operation.parameters),
        *(_parameter(header, "header") for header in operation.all_headers),
    ]
    if parameters:
        entry["parameters"] = parameters
    if operation.body is not None:
        entry["requestBody"] = {"required": True, "content": _body(operation, nouns)}
    entry["responses"] = {
        str(status): _answer(status, answer, operation, operations, nouns)
        for status, answer in operation.answers.items()
    } | {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in operation.refusals
        if status not in operation.answers
    }
    return entry


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    schema: Schema = parameter.schema
    told: dict[str, Any] = {"name": parameter.name, "in": place, "description": parameter.description}
    if place == "path" or parameter.is_required:
        told["required"] = True
    if parameter.many:
        schema = {"type": "array", "items": dict(schema)}
    return told | {"schema": dict(schema)}


def _body(operation: Operation, nouns: Definitions) -> dict[str, Any]:
    content = {JSON: {"schema": nouns.refer(operation.body, is_closed=not operation.is_peer)}}
    if operation.body_lines is not None:
        content[NDJSON] = {"schema": _each("line", operation.body_lines, nouns)}
    return content


def _answer(
    status: int, answer: Any, operation: Operation, operations: Sequence[Operation], nouns: Definitions
) -> dict[str, Any]:
    told = answer if isinstance(answer, Answer) else Answer(json=answer)
    content: dict[str, Any] = {}
    headers = ["X-Request-Id"]
    if told.json is not None:
        content[JSON] = {"schema": nouns.refer(told.json, is_closed=False)}
    if told.lines is not None:
        content[NDJSON] = {"schema": _each("line", told.lines, nouns)}
    if told.events is not None:
        content[SSE] = {"schema": _each("event's data", told.events, nouns)}
        content[NDJSON] = {"schema": _each("line", told.events, nouns)}
    if told.text:
        content[told.text] = {"schema": {"type": "string"}}
    else:
        headers.append("Harpoon-Revision")
    if told.has_tag:
        headers.append("ETag")
    if AT in operation.query:
        headers.append("Harpoon-At")
    if operation.method == "POST":
        headers.append("Idempotency-Replayed")
    entry = {
        "description": told.description or HTTPStatus(status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": content,
    }
    links = links_of(operation, operations, told) if status < 300 else {}
    return entry | ({"links": links} if links else {})


def _each(what: str, noun: Any, nouns: Definitions) -> dict[str, Any]:
    """Return the schema of a text in which each of many pieces is the JSON of a noun."""
    return {
        "type": "string",
        "description": f"Each {what} is JSON.",
        "contentMediaType": JSON,
        "contentSchema": nouns.refer(noun, is_closed=False),
    }


def _refusal(status: int, nouns: Definitions) -> dict[str, Any]:
    names: Iterable[str] = ("X-Request-Id", *_REFUSAL_HEADERS.get(status, ()))
    return {
        "description": _REFUSALS[status],
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {PROBLEM: {"schema": nouns.refer(ProblemDetails, is_closed=False)}},
    }
