"""Signals to runs that are not named: to all that wait for one with a key."""

import asyncio
from collections.abc import Iterator
from typing import Final

import orjson
import structlog
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.holders import is_passed_on, pass_on, runs_of
from harpoon.api.operation import TEXT, Operation, Parameter
from harpoon.api.query import Query, bad_parameter, path_name
from harpoon.api.run_orders import signal_of
from harpoon.control.run_signals import deliver_by_key
from harpoon.kit import codec
from harpoon.kit.errors import Unavailable
from harpoon.model.run_shown import SignalDelivery, SignalOrder

#: Characters of a key.
KEY_MAX: Final = 1_024

_log = structlog.get_logger(__name__)


async def signal_key(request: web.Request) -> web.Response:
    """Send a signal to every run of the namespace that waits for it with this key.

    That is, to those that wait for it when the instance that conducts them is asked; a run that begins to wait later is
    not told, and nothing is kept for it: who must not be missed is named, with a signal to the run. It is durable in
    every run that is answered. All instances are asked; if one of them cannot be, the answer is 503, and sending the
    same again, with its id, reaches the rest and changes nothing for those who have it.
    """
    namespace = path_name(request, "ns")
    key = Query(request).one("key")
    if not key or len(key) > KEY_MAX:
        raise bad_parameter("key", f"say for which key the runs wait, 1 to {KEY_MAX} characters")
    body = await read_json(request)
    signal = signal_of(request, await decode(request, SignalOrder, body), key)
    told = deliver_by_key(tuple(runs_of(request).conductors.values()), namespace, signal)
    if is_passed_on(request):
        found = await told
    else:
        sent = orjson.dumps({**orjson.loads(body), "id": signal.id})
        found = [run for runs in await asyncio.gather(told, *_elsewhere(request, sent)) for run in runs]
    delivery = SignalDelivery(id=signal.id, runs=tuple(sorted(set(found))))
    return answer(request, codec.dump_full(delivery))


def _elsewhere(request: web.Request, body: bytes) -> "Iterator[asyncio.Future[list[str]]]":
    """Ask every other instance to send it to the runs that it conducts."""
    doors = request.app[DOORS]
    for name, row in doors.view.instances.rows.items():
        if name != doors.instance and row.value.url:
            yield asyncio.ensure_future(_at(request, row.value.url, body))


async def _at(request: web.Request, url: str, body: bytes) -> list[str]:
    answered = await pass_on(request, url, body)
    assert isinstance(answered.body, bytes), "what is passed back is read whole"
    if answered.status != 200:
        _log.warning("signal_not_passed_on", url=url, status=answered.status)
        raise Unavailable(f"the instance at {url} did not take the signal: it answered {answered.status}")
    runs: list[str] = orjson.loads(answered.body)["runs"]
    return runs


_KEY: Final = Parameter("key", TEXT, "The runs that wait with this key.", is_required=True)
ROUTES = (
    Operation(
        "POST",
        "/v1/namespaces/{ns}/signals/{signal}",
        signal_key,
        tag="runs",
        query=(_KEY,),
        body=SignalOrder,
        answers={200: SignalDelivery},
    ),
)
