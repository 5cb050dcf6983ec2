"""Graphs of workflows and of runs: laid out as data, or drawn in a form that others show."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.holders import status_of
from harpoon.api.operation import FLAG, Answer, Operation, Parameter, choice, whole
from harpoon.api.query import Query, bad_parameter, path_name, path_run
from harpoon.api.run_starts import workflows_of
from harpoon.control.drawings import WAYS, Drawings, Form, Wish
from harpoon.model.graph_shown import BOXES_MAX, GraphDrawing

#: A browser that is led to a drawing shows it, and lets it do nothing.
_HARMLESS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
#: Large graphs are drawn one after the other: each takes a processor for as long as it takes.
DRAWING: web.AppKey[asyncio.Semaphore] = web.AppKey("drawing", asyncio.Semaphore)


async def get_workflow_graph(request: web.Request) -> web.Response:
    """Draw the graph of a workflow: what a run begins with, and which label leads to which operation.

    As JSON it is laid out: where each box is, and along which ways the lines run. Large graphs are folded: operations
    in a row, or side by side, are one box, and `folded` says so.
    """
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    wish = _asked(request)
    workflows = workflows_of(request)
    row = workflows.get(namespace, name)
    graph = await workflows.generations.graph(namespace, name, row.value.generation)
    body = await _drawings(request).of_workflow(name, graph, wish)
    return _answer(request, wish.form, body, row.mod_revision)


async def get_run_graph(request: web.Request) -> web.Response:
    """Draw the graph of a run: how each operation stands, how often each label was given, what can never run any more.

    It is that of the workflow as it was when the run was started. What stands alike is folded as of a workflow, so what
    failed or goes on is still seen.
    """
    namespace, run = path_name(request, "ns"), path_run(request)
    wish = _asked(request)
    revision, body = await _drawings(request).of_run(namespace, run, wish)
    return _answer(request, wish.form, body, revision)


def _asked(request: web.Request) -> Wish:
    query = Query(request)
    text = query.one("format") or Form.JSON.value
    if text not in set(Form):
        raise bad_parameter("format", f"one of {', '.join(Form)}; got {text[:80]!r}")
    is_ascii = query.flag("ascii_only")
    if is_ascii and text != Form.ASCII:
        raise bad_parameter("ascii_only", "it goes with format=ascii")
    return Wish(Form(text), query.count("boxes"), is_ascii)


def _drawings(request: web.Request) -> Drawings:
    return Drawings(status_of(request), request.app[DOORS].clock, request.app[DRAWING])


def _answer(request: web.Request, form: Form, body: bytes, revision: int) -> web.Response:
    told = answer(request, body, revision=revision)
    if form is not Form.JSON:
        told.headers[hdrs.CONTENT_TYPE] = f"{WAYS[form].media_type}; charset=utf-8"
        told.headers.update(_HARMLESS)
    return told


_QUERY: Final = (
    Parameter("format", choice(*(form.value for form in Form)), "How it is written."),
    Parameter("boxes", whole(1, BOXES_MAX), "Of more boxes it is folded; as many as the form can show when absent."),
    Parameter("ascii_only", FLAG, "Draw text with nothing but + - | and letters."),
)
_DRAWN: Final = {200: Answer(json=GraphDrawing, text="image/svg+xml", description="In the form that was asked for.")}
ROUTES = (
    Operation(
        "GET",
        "/v1/namespaces/{ns}/workflows/{name}/graph",
        get_workflow_graph,
        tag="workflows",
        query=_QUERY,
        answers=_DRAWN,
    ),
    Operation("GET", "/v1/namespaces/{ns}/runs/{run}/graph", get_run_graph, tag="runs", query=_QUERY, answers=_DRAWN),
)
