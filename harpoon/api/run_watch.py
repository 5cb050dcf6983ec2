"""Asking to watch runs: at the door of all watches, or where runs are read; what is told is the same.

``/v1/watch?kinds=runs,attempts&namespace=shop`` is ``/v1/namespaces/shop/runs?watch=true``; with ``name=o-1`` it is
``/v1/namespaces/shop/runs/o-1?watch=true``. See `run_watches`.
"""

from typing import Final

from aiohttp import web

from harpoon.api.doors import DOORS
from harpoon.api.frames import Encoding, negotiate
from harpoon.api.history import check_kept
from harpoon.api.holders import status_of
from harpoon.api.operation import FLAG, REVISION, Parameter, whole
from harpoon.api.query import Query, bad_parameter, path_name, path_run
from harpoon.api.resuming import ahead, asked_position, asked_revision
from harpoon.api.revision import bad_header
from harpoon.api.run_feed import prefix_of
from harpoon.api.run_selection import STATUS, WORKFLOW, RunSelection, read_run_selection, statuses_of
from harpoon.api.run_watches import RunsWatch, RunWatch
from harpoon.api.stay import STAYS
from harpoon.api.stream import Stream
from harpoon.control.ledger_records import run_key
from harpoon.kit.errors import Gone, Invalid, Problem
from harpoon.model.sub_run import check_any_run

_SEQ_MAX: Final = 10**9

WATCH_RUN: Final = (
    Parameter("watch", FLAG, "Show the run, then all that happens in it, as a stream, until it is over."),
    Parameter("after", whole(0, _SEQ_MAX), "With watch: every event after this one, by its number, and only those."),
)
WATCH_RUNS: Final = Parameter(
    "watch",
    FLAG,
    "Show the runs that are open, then all that happens in any run, as a stream. Goes with `after`, `workflow`, "
    "`status` and `tag`.",
)
AFTER_RUNS: Final = Parameter(
    "after",
    REVISION,
    "With wait: any change after this revision; after the present when absent. With watch: every change after it.",
)
RESUMED_RUN: Final = Parameter(
    "Last-Event-ID", whole(0, _SEQ_MAX), "As `after`, which it overrides: how an SSE client resumes."
)
RESUMED_RUNS: Final = Parameter("Last-Event-ID", REVISION, "As `after`, which it overrides: how an SSE client resumes.")
#: What goes with `watch` of many runs, and of one.
_BESIDE: Final = ("watch", "after", "min_revision")
_BESIDE_RUNS: Final = (*_BESIDE, WORKFLOW.name, STATUS.name, "tag")


def is_watch(request: web.Request) -> bool:
    """Whether a stream is asked for.

    Raises:
        Invalid: It is neither true nor false, or what stands beside it does not go with it.
    """
    query = Query(request)
    if not query.flag("watch"):
        if "Last-Event-ID" in request.headers:
            raise bad_header("Last-Event-ID", "it goes with watch=true")
        return False
    allowed = _BESIDE if "run" in request.match_info else _BESIDE_RUNS
    if beside := [name for name in dict.fromkeys(request.query) if name not in allowed]:
        detail = "it does not go with watch"
        raise Invalid(f"{', '.join(beside)}: {detail}", [Problem(pointer=f"?{name}", detail=detail) for name in beside])
    return True


async def watch_kinds(request: web.Request, query: Query) -> web.StreamResponse:
    """Tell of workflows, runs and attempts what was selected; or of one run, if it is named."""
    selection, run = read_run_selection(query), query.one("name")
    if run is None or selection.has_workflows:
        return await _watch_many(request, selection)
    if selection.namespace is None:
        raise bad_parameter("namespace", f"write it too: runs called {run[:80]!r} may be in several")
    for beside in (WORKFLOW.name, STATUS.name, "tag"):
        if beside in request.query:
            raise bad_parameter(beside, "it chooses among many runs, and name names one; leave one of them out")
    try:
        check_any_run(run)
    except ValueError as error:
        raise bad_parameter("name", str(error)) from error
    # What the one run has is the same whoever watches it: only the kinds are left to choose.
    return await _watch_one(request, selection.namespace, run, RunSelection(kinds=selection.kinds))


async def watch_run(request: web.Request) -> web.StreamResponse:
    """Tell how a run stands, and what happens in it."""
    return await _watch_one(request, path_name(request, "ns"), path_run(request), RunSelection())


async def watch_runs(request: web.Request, namespace: str | None) -> web.StreamResponse:
    """Tell which runs are open, and what happens in any."""
    query = Query(request)
    workflow, statuses, tags = query.name("workflow"), statuses_of(query), query.tags()
    selection = RunSelection(namespace=namespace, workflow=workflow, statuses=statuses, tags=tags)
    return await _watch_many(request, selection)


async def _watch_one(request: web.Request, namespace: str, run: str, selection: RunSelection) -> web.StreamResponse:
    after = _seq(request)
    encoding = Encoding(negotiate(request, among=(Encoding.NDJSON, Encoding.SSE)))
    header = await status_of(request).existing(namespace, run)
    if after:
        events = await status_of(request).reader.events(run_key(namespace, run), header)
        if after > len(events):
            beyond = f"run {run} has {len(events)} events, so {after} is ahead of it; start afresh, with a snapshot"
            raise Gone(beyond, oldest="0")
    with request.app[STAYS].admit(request) as stay:
        stream = Stream(request, stay, encoding)
        one = RunWatch(request, stay, stream, header, selection)
        return await stream.serve(lambda: one.run(after))


async def _watch_many(request: web.Request, selection: RunSelection) -> web.StreamResponse:
    status_of(request)
    encoding = Encoding(negotiate(request, among=(Encoding.NDJSON, Encoding.SSE)))
    after = await _after(request, selection)
    with request.app[STAYS].admit(request) as stay:
        stream = Stream(request, stay, encoding)
        one = RunsWatch(request, stay, stream, selection)
        return await stream.serve(lambda: one.run(after))


def _seq(request: web.Request) -> int | None:
    text = asked_position(request)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_SEQ_MAX))):
        raise bad_parameter("after", f"the number of an event of the run, such as 12; got {text[:80]!r}")
    return int(text)


async def _after(request: web.Request, selection: RunSelection) -> int | None:
    """Return the revision after which the watch begins, if the client named one.

    Raises:
        Invalid: It is no revision.
        Gone: It cannot be resumed from: of another incarnation, ahead of the store, or compacted.
    """
    doors = request.app[DOORS]
    if asked_position(request) is None:
        return None
    present = await doors.store.revision()
    asked = asked_revision(request, doors.view, present)
    if asked is None or asked == present:
        return asked
    if asked > present:
        raise ahead(doors.view, asked, present)
    await check_kept(doors.store, doors.view, prefix_of(selection), asked, within_s=doors.limits.history_s)
    return asked
