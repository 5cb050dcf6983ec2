"""Batches: many things to be done, without a graph. Each is a run, and is watched, explained and cancelled as such."""

from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.holders import at_holder, runs_of, status_of
from harpoon.api.operation import TAG, WAIT, Answer, Operation
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, path_name, path_run
from harpoon.api.run_orders import cancelled
from harpoon.api.run_selection import STATUS, statuses_of
from harpoon.api.run_starts import shown_begun, workflows_of
from harpoon.api.run_watch import RESUMED_RUN, WATCH_RUN
from harpoon.api.runs import ITEMS, get_run, get_run_why, list_items
from harpoon.control import run_lists
from harpoon.control.batch_starts import key_of, start_batch
from harpoon.control.conductor import Conductor
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound, Problem
from harpoon.model.batch_manifest import BatchManifest
from harpoon.model.name import BATCH
from harpoon.model.run_shown import RunDetail, RunList, RunObject
from harpoon.model.run_watched import RunWatchEvent
from harpoon.model.visit_shown import ItemList
from harpoon.model.why import Why


async def start(request: web.Request) -> web.Response:
    """Start a batch. Its name is the id of its run: the same again is the same one, and answered 200 instead of 201.

    Something else under that name is refused with 422. What is answered is durable.
    """
    namespace, body = path_name(request, "ns"), await read_json(request)
    manifest = await decode(request, BatchManifest, body)
    if manifest.metadata.namespace != namespace:
        detail = f"the path says {namespace!r}; write the same here, or change the path"
        raise Invalid(f"/metadata/namespace: {detail}", [Problem(pointer="/metadata/namespace", detail=detail)])

    async def here(conductor: Conductor) -> web.Response:
        told = await start_batch(workflows_of(request), conductor, manifest)
        shown = await shown_begun(request, conductor, told)
        return answer(request, codec.dump_full(shown), status=201 if told.is_new else 200)

    return await at_holder(request, key_of(manifest), here, body=body)


async def list_batches(request: web.Request) -> web.Response:
    """Show the batches of a namespace, or of all, the latest first."""
    doors, query = request.app[DOORS], Query(request)
    choice = run_lists.RunChoice(
        namespace=path_name(request, "ns") if "ns" in request.match_info else None,
        workflow=BATCH,
        statuses=statuses_of(query),
        tags=query.tags(),
    )

    async def gather() -> Listed:
        revision = await doors.store.revision()
        runs, left_out = await run_lists.list_runs(runs_of(request).reader, choice)
        more = {"left_out": b"%d" % left_out} if left_out else {}
        return Listed(revision=revision, items=runs, encode=run_lists.listed_json, more=more)

    return await answer_pages(request, gather)


async def get_batch(request: web.Request) -> web.StreamResponse:
    """Show a batch: how many of its items are done, failed and under way; or wait for it, or watch it, as a run.

    With ``watch=true`` each closing of an item is told as it comes, with what it came to.
    """
    await _check(request)
    return await get_run(request)


async def list_batch_items(request: web.Request) -> web.Response:
    """Show the items of a batch, or its steps, in their order: of each what came of it."""
    await _check(request)
    return await list_items(request)


async def get_batch_why(request: web.Request) -> web.Response:
    """Explain how a batch stands, and what its first open items wait for."""
    await _check(request)
    return await get_run_why(request)


async def cancel_batch(request: web.Request) -> web.Response:
    """Cancel a batch: what is under way closes as cancelled. One that is over stays as it is."""
    await _check(request)
    return await cancelled(request)


async def _check(request: web.Request) -> None:
    """Refuse a run that is no batch.

    Raises:
        NotFound: It is none.
    """
    namespace, name = path_name(request, "ns"), path_run(request)
    try:
        header = await status_of(request).existing(namespace, name)
    except NotFound as error:
        raise NotFound(f"there is no batch {name} in namespace {namespace}") from error
    if header.workflow != BATCH:
        raise NotFound(
            f"there is no batch {name} in namespace {namespace}; run {name} is of workflow {header.workflow}"
        )


_BATCHES: Final = "/v1/namespaces/{ns}/batches"
_BATCH: Final = _BATCHES + "/{run}"
_CHOICE: Final = (STATUS, TAG, *PAGING)
ROUTES = (
    Operation(
        "GET",
        "/v1/batches",
        list_batches,
        tag="batches",
        query=_CHOICE,
        answers={200: RunList},
        id="list_all_batches",
    ),
    Operation("GET", _BATCHES, list_batches, tag="batches", query=_CHOICE, answers={200: RunList}),
    Operation(
        "POST",
        _BATCHES,
        start,
        tag="batches",
        body=BatchManifest,
        answers={200: RunObject, 201: RunObject},
        id="start_batch",
    ),
    Operation(
        "GET",
        _BATCH,
        get_batch,
        tag="batches",
        query=(WAIT, *WATCH_RUN),
        headers=(RESUMED_RUN,),
        answers={200: Answer(json=RunDetail, events=RunWatchEvent)},
    ),
    Operation(
        "GET", f"{_BATCH}/items", list_batch_items, tag="batches", query=(*ITEMS, *PAGING), answers={200: ItemList}
    ),
    Operation("GET", f"{_BATCH}/why", get_batch_why, tag="batches", answers={200: Why}),
    Operation("DELETE", _BATCH, cancel_batch, tag="batches", answers={200: RunObject}),
)
