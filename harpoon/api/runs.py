"""Runs: what there is of them, and what happened in each. Any instance answers from the store."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.blocking import read_wait
from harpoon.api.doors import DOORS
from harpoon.api.frames import Encoding
from harpoon.api.holders import is_passed_on, pass_on, runs_of, status_of, url_of_holder
from harpoon.api.operation import FLAG, TAG, TEXT, WAIT, Answer, Operation, Parameter, whole
from harpoon.api.pages import PAGE_MAX, PAGING, Listed, answer_pages
from harpoon.api.query import Query, bad_parameter, path_name, path_run
from harpoon.api.run_selection import STATUS, WORKFLOW, statuses_of
from harpoon.api.run_waits import run_changed, runs_changed
from harpoon.api.run_watch import (
    AFTER_RUNS,
    RESUMED_RUN,
    RESUMED_RUNS,
    WATCH_RUN,
    WATCH_RUNS,
    is_watch,
    watch_run,
    watch_runs,
)
from harpoon.api.sight import read_span
from harpoon.api.stay import STAYS
from harpoon.api.stream import Stream
from harpoon.control import run_lists
from harpoon.control.attempt_whys import with_job
from harpoon.control.ledger_records import run_key
from harpoon.core.run_items import Items
from harpoon.core.run_why import Floor
from harpoon.kit import codec
from harpoon.kit.errors import HarpoonError
from harpoon.model.operation import VISITS_MAX
from harpoon.model.run_shown import RunCallbacks, RunDetail, RunList
from harpoon.model.run_watched import RunsWatchEvent, RunWatchEvent
from harpoon.model.visit_shown import AttemptList, ItemList, ItemStatus
from harpoon.model.why import Why

#: Visits and operations of a run that are written on the loop; of more, it would be held for too long.
_SMALL: Final = 500
#: Likewise of what it was given, and came to.
_SMALL_BYTES: Final = 64 << 10
_PARKED: Final = Parameter("parked", FLAG, "Only runs in which a failure is parked, until somebody repairs it.")
_PARENT: Final = Parameter("parent", TEXT, "Only the runs that this run has started by calls.")
_SUB_RUNS: Final = Parameter("sub_runs", FLAG, "Also runs that runs have started; without it, those of users alone.")
_ITEM_STATUSES: Final = tuple(one.value for one in ItemStatus)
ITEMS: Final = (
    Parameter("op", {"type": "string"}, "Only items of this operation."),
    Parameter("visit", whole(1, VISITS_MAX), "Only items of this visit of the operation."),
    Parameter(
        "status", {"type": "string", "enum": list(_ITEM_STATUSES)}, "Only items that stand so; any of these.", many=True
    ),
)
SINCE: Final = Parameter(
    "since", TEXT, "Only runs begun then or later: a time such as 2026-01-31T12:00:00Z, or so long ago, such as -10m."
)
UNTIL: Final = Parameter("until", TEXT, "Only runs begun before then, written as `since` is.")
_CHANGED: Final = Parameter(
    "wait", WAIT.schema, "How long to wait for any run to begin, end, pause or resume; at most 5m."
)


async def list_runs(request: web.Request) -> web.StreamResponse:
    """Show the runs of a namespace, or of all, the latest first; wait for one to begin or end, if asked to.

    It looks at every run that is kept there, whatever is asked for. At most 20,000 are listed; ``left_out`` tells how
    many more match. With
    ``watch=true``: those that are open, then all that happens in any of them and in those that begin.
    """
    doors, query = request.app[DOORS], Query(request)
    namespace = path_name(request, "ns") if "ns" in request.match_info else None
    if is_watch(request):
        return await watch_runs(request, namespace)
    since_ms, until_ms = read_span(request)
    choice = run_lists.RunChoice(
        namespace=namespace,
        workflow=query.name("workflow"),
        statuses=statuses_of(query),
        tags=query.tags(),
        is_parked=query.flag("parked"),
        since_ms=since_ms,
        until_ms=until_ms,
        parent=query.one("parent"),
        has_sub_runs=query.flag("sub_runs"),
    )
    reader = runs_of(request).reader
    await runs_changed(request, namespace)

    async def gather() -> Listed:
        revision = await doors.store.revision()
        runs, left_out = await run_lists.list_runs(reader, choice)
        more = {"left_out": b"%d" % left_out} if left_out else {}
        return Listed(revision=revision, items=runs, encode=run_lists.listed_json, more=more)

    return await answer_pages(request, gather)


async def get_run(request: web.Request) -> web.StreamResponse:
    """Show a run with all that happened in it; wait for it to begin, end, pause or resume, if asked to.

    With ``watch=true``: how it stands, then each thing that happens in it, until it is over.
    """
    if is_watch(request):
        return await watch_run(request)
    if Query(request).one("after") is not None:
        raise bad_parameter("after", "it goes with watch=true")
    doors, namespace, run = request.app[DOORS], path_name(request, "ns"), path_run(request)
    if read_wait(request):
        header = await status_of(request).existing(namespace, run)
        await run_changed(request, namespace, run, header)
    revision = await doors.store.revision()
    detail = await status_of(request).detail(namespace, run)
    is_small = len(detail.visits) + len(detail.operations) <= _SMALL and detail.measures.bytes.actual <= _SMALL_BYTES
    shown = codec.dump_full(detail) if is_small else await asyncio.to_thread(codec.dump_full, detail)
    return answer(request, shown, revision=revision)


async def list_attempts(request: web.Request) -> web.Response:
    """Show every attempt of a run with its input and output, in the order in which their visits were opened."""
    doors, namespace, run = request.app[DOORS], path_name(request, "ns"), path_run(request)

    async def gather() -> Listed:
        revision = await doors.store.revision()
        attempts = await status_of(request).attempts(namespace, run)
        return Listed(revision=revision, items=list(attempts), encode=codec.dump_full)

    return await answer_pages(request, gather)


async def list_callbacks(request: web.Request) -> web.Response:
    """Show where a run is called back, by operations that wait for that: what is open, and what comes next.

    Each URL is a credential: who has it can answer for whoever it was meant for.
    """
    doors, namespace, run = request.app[DOORS], path_name(request, "ns"), path_run(request)
    revision = await doors.store.revision()
    told = await status_of(request).callbacks(namespace, run)
    return answer(request, codec.dump_full(told), revision=revision)


async def list_items(request: web.Request) -> web.Response:
    """Show the items of a run's operations with ``foreach``, in their order: of each its value and what came of it.

    A page has a thousand at most.
    """
    doors, query = request.app[DOORS], Query(request)
    namespace, run = path_name(request, "ns"), path_run(request)
    statuses = query.many("status")
    for status in statuses:
        if status not in _ITEM_STATUSES:
            raise bad_parameter("status", f"one of {', '.join(_ITEM_STATUSES)}; got {status[:80]!r}")
    choice = Items(query.one("op"), query.count("visit"), frozenset(statuses))

    async def gather() -> Listed:
        revision = await doors.store.revision()
        found = await status_of(request).items(namespace, run, choice)
        return Listed(revision=revision, items=found, encode=codec.dump_full)

    return await answer_pages(request, gather, PAGE_MAX)


async def get_run_why(request: web.Request) -> web.Response:
    """Explain how a run stands: what each open operation waits for, and what each join lacks.

    Who could do the work is told by the instance that conducts the run; without it the rest is told.
    """
    doors, namespace, run = request.app[DOORS], path_name(request, "ns"), path_run(request)
    key = run_key(namespace, run)
    url = None if is_passed_on(request) else url_of_holder(request, key)
    if url is not None and runs_of(request).conductor_of(key) is None:
        try:
            return await pass_on(request, url)
        except HarpoonError:
            pass  # what is in the store is told all the same
    revision = await doors.store.revision()
    floor, retell = _floor(request, key), partial(with_job, doors.view)
    told = await status_of(request).why(namespace, run, floor, doors.view.external(revision), retell)
    return answer(request, codec.dump_full(told), revision=revision)


def _floor(request: web.Request, key: str) -> Floor | None:
    """Return what the exchange knows of those who could do the work of a run; None: it is not conducted here."""
    work, conductor = request.app[DOORS].work, runs_of(request).conductor_of(key)
    conducted = None if conductor is None else conductor.runs.get(key)
    return None if conducted is None or work is None else work.takers(conducted.run)


async def export_runs(request: web.Request) -> web.StreamResponse:
    """Tell every run that has ended and is kept, with its whole log, as lines of JSON in no order."""
    reader, namespace = runs_of(request).reader, path_name(request, "ns")
    with request.app[STAYS].admit(request) as stay:
        stream = Stream(request, stay, Encoding.NDJSON)
        return await stream.serve(lambda: _written(stream, reader.export(namespace)))


async def _written(stream: Stream, parts: AsyncIterator[bytes]) -> None:
    async for part in parts:
        await stream.write(part)
        await asyncio.sleep(0)


_RUNS: Final = "/v1/namespaces/{ns}/runs"
_CHOICE: Final = (
    STATUS, WORKFLOW, _PARKED, _PARENT, _SUB_RUNS, TAG, SINCE, UNTIL, *PAGING, _CHANGED, WATCH_RUNS, AFTER_RUNS
)  # fmt: skip
_LISTED: Final = {200: Answer(json=RunList, events=RunsWatchEvent)}
ROUTES = (
    Operation(
        "GET",
        "/v1/runs",
        list_runs,
        tag="runs",
        query=_CHOICE,
        headers=(RESUMED_RUNS,),
        answers=_LISTED,
        id="list_all_runs",
    ),
    Operation("GET", _RUNS, list_runs, tag="runs", query=_CHOICE, headers=(RESUMED_RUNS,), answers=_LISTED),
    Operation("GET", f"{_RUNS}/export", export_runs, tag="runs", answers={200: Answer(lines=Any)}),
    Operation(
        "GET",
        f"{_RUNS}/{{run}}",
        get_run,
        tag="runs",
        query=(WAIT, *WATCH_RUN),
        headers=(RESUMED_RUN,),
        answers={200: Answer(json=RunDetail, events=RunWatchEvent)},
    ),
    Operation("GET", f"{_RUNS}/{{run}}/attempts", list_attempts, tag="runs", query=PAGING, answers={200: AttemptList}),
    Operation("GET", f"{_RUNS}/{{run}}/callbacks", list_callbacks, tag="runs", answers={200: RunCallbacks}),
    Operation(
        "GET", f"{_RUNS}/{{run}}/items", list_items, tag="runs", query=(*ITEMS, *PAGING), answers={200: ItemList}
    ),
    Operation("GET", f"{_RUNS}/{{run}}/why", get_run_why, tag="runs", answers={200: Why}),
)
