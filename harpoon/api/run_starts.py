"""Starting runs: one, or many in one request, each for itself. Each goes to whoever conducts it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import SMALL_BYTES, decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.errors import to_problem
from harpoon.api.holders import at_holder, holder, pass_on, status_of
from harpoon.api.idempotency import check_key
from harpoon.api.operation import Answer, Operation
from harpoon.api.problem import Refused
from harpoon.api.query import path_name
from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key, shard_of
from harpoon.control.orders import Begun
from harpoon.control.run_status import begun_run, shown_header
from harpoon.control.starting import Named, named, placed, start_all
from harpoon.control.workflows import Workflows
from harpoon.kit import codec, strict
from harpoon.kit.errors import HarpoonError, Unavailable
from harpoon.model.run_orders import RunsStarted, RunStart, RunStarts
from harpoon.model.run_shown import RunObject
from harpoon.store.port import StoreUnavailable

_MANY: Final = "runs"


async def start_run(request: web.Request) -> web.Response:
    """Start a run of a workflow, or several: `{"runs": […]}` with up to 1000, each for itself.

    The same start again, under the same id, is the same run, and answered 200 instead of 201; another start under the
    id is refused with 422. Without an id one is made; with an idempotency key, the same request makes the same id. What
    is answered is durable. Several starts are answered 200 with the status of each.
    """
    namespace = path_name(request, "ns")
    body = await read_json(request)
    is_large = len(body) > SMALL_BYTES
    raw, _ = await asyncio.to_thread(strict.read, body) if is_large else strict.read(body)
    if isinstance(raw, dict) and _MANY in raw:
        return await _start_many(request, namespace, body)
    order = await decode(request, RunStart, body)
    key = check_key(request)

    def name() -> tuple[Named, bytes]:
        start = named(order, namespace, key)
        return start, orjson.dumps(start.sent(orjson.loads(body)))

    start, sent = await asyncio.to_thread(name) if is_large else name()

    async def here(conductor: Conductor) -> web.Response:
        told = (await start_all(workflows_of(request), conductor, namespace, [start]))[0]
        if isinstance(told, HarpoonError):
            raise told
        shown = await shown_begun(request, conductor, told)
        return answer(request, codec.dump_full(shown), status=201 if told.is_new else 200)

    return await at_holder(request, start.key(namespace), here, body=sent)


def workflows_of(request: web.Request) -> Workflows:
    """Return the workflows of this instance.

    Raises:
        Unavailable: It has none.
    """
    workflows = request.app[DOORS].workflows
    if workflows is None:
        raise Unavailable("this server knows nothing of workflows")
    return workflows


async def _start_many(request: web.Request, namespace: str, body: bytes) -> web.Response:
    orders = (await decode(request, RunStarts, body)).runs
    raw: list[dict[str, Any]] = orjson.loads(body)[_MANY]
    key = check_key(request)
    told: dict[int, bytes] = {}
    starts: dict[int, Named] = {}
    for number, order in enumerate(orders):
        try:
            starts[number] = named(order, namespace, key, number)
        except HarpoonError as error:
            told[number] = _problem(request, placed(error, number))
    shares = await _shared_out(request, namespace, starts, told)
    await asyncio.gather(*(_start_share(request, namespace, share, starts, raw, told) for share in shares))
    results = b",".join(told[number] for number in range(len(orders)))
    return answer(request, b'{"results":[%s]}' % results)


Share = tuple[Conductor | str, Sequence[int]]


async def _shared_out(
    request: web.Request, namespace: str, starts: dict[int, Named], told: dict[int, bytes]
) -> list[Share]:
    """Return the numbers of the starts that each conductor, or each other instance, is to have."""
    by_shard: dict[int, list[int]] = {}
    for number, start in starts.items():
        by_shard.setdefault(shard_of(start.key(namespace)), []).append(number)
    # Those that nobody conducts are waited for together.
    keys = [starts[numbers[0]].key(namespace) for numbers in by_shard.values()]
    found = await asyncio.gather(*(holder(request, key) for key in keys), return_exceptions=True)
    shares: dict[Conductor | str, list[int]] = {}
    for where, numbers in zip(found, by_shard.values(), strict=True):
        if isinstance(where, HarpoonError):
            told.update((number, _problem(request, where)) for number in numbers)
        elif isinstance(where, BaseException):
            raise where
        else:
            shares.setdefault(where, []).extend(numbers)
    return list(shares.items())


async def _start_share(
    request: web.Request,
    namespace: str,
    share: Share,
    starts: dict[int, Named],
    raw: Sequence[dict[str, Any]],
    told: dict[int, bytes],
) -> None:
    where, numbers = share
    try:
        if isinstance(where, str):
            sent = orjson.dumps({_MANY: [starts[number].sent(raw[number]) for number in numbers]})
            answered = await pass_on(request, where, sent)
            told |= dict(zip(numbers, _results(answered, numbers), strict=True))
            return
        answers = await start_all(workflows_of(request), where, namespace, [starts[number] for number in numbers])
        for number, one in zip(numbers, answers, strict=True):
            if isinstance(one, HarpoonError):
                told[number] = _problem(request, placed(one, number))
            else:
                shown = codec.dump_full(await shown_begun(request, where, one))
                told[number] = b'{"status":%d,"run":%b}' % (201 if one.is_new else 200, shown)
    except (HarpoonError, StoreUnavailable, Refused) as error:
        told.update((number, _problem(request, error)) for number in numbers if number not in told)


def _results(answered: web.Response, numbers: Sequence[int]) -> list[bytes]:
    """Return what another instance told of each start that it was sent, given their numbers here."""
    assert isinstance(answered.body, bytes), "what is passed back is read whole"
    if answered.status != 200:
        one = orjson.dumps({"status": answered.status, "problem": orjson.Fragment(answered.body)})
        return [one] * len(numbers)
    results = orjson.loads(answered.body)["results"]
    for place, (number, result) in enumerate(zip(numbers, results, strict=True)):
        for fault in (result.get("problem") or {}).get("errors", ()):
            # It was another one's number there.
            fault["pointer"] = f"/{_MANY}/{number}" + fault["pointer"].removeprefix(f"/{_MANY}/{place}")
    return [orjson.dumps(one) for one in results]


def _problem(request: web.Request, error: Exception) -> bytes:
    response = to_problem(request, error)
    assert isinstance(response.body, bytes), "problems are told in bytes"
    return b'{"status":%d,"problem":%b}' % (response.status, response.body)


async def shown_begun(request: web.Request, conductor: Conductor, begun: Begun) -> RunObject:
    """Return the run that a start came to: as it began, if it is new and goes on; else as it is stored."""
    conducted = conductor.runs.get(run_key(begun.namespace, begun.id)) if begun.is_new else None
    if conducted is not None:
        return begun_run(conducted.run)
    return shown_header(await status_of(request).existing(begun.namespace, begun.id))


ROUTES = (
    Operation(
        "POST",
        "/v1/namespaces/{ns}/runs",
        start_run,
        tag="runs",
        body=RunStart | RunStarts,
        answers={
            200: Answer(json=RunObject | RunsStarted, description="It was started before; or several were."),
            201: Answer(json=RunObject, description="It is started."),
        },
        refuses=(409, 410, 412, 422),
    ),
)
