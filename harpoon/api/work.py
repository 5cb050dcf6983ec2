"""Work: what workers bring back and take. Every attempt of a worker's operation goes this way, so it is short.

Whoever may write to a namespace may do its work: the answers hold inputs of runs, and the closings decide them. There
is one token so far, so a worker shows the same as everybody else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import read_large
from harpoon.api.doors import DEADLINE, DOORS
from harpoon.api.operation import Answer, Operation
from harpoon.api.pages import PASSED_ON
from harpoon.api.query import path_name
from harpoon.api.stay import STAYS, Ending
from harpoon.api.work_passing import Passing
from harpoon.control.work import WorkExchange
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Problem, Unavailable
from harpoon.model.work import PROGRESS_MAX, WorkAnswer, WorkLook, WorkRequest, WorkShown

#: What is larger is taken apart in a thread; up to here that would cost more than it saves.
_SMALL_BYTES: Final = 128 << 10
#: Of an instance's name.
_VIA_MAX: Final = 80

T = TypeVar("T", WorkRequest, WorkLook)


async def exchange_work(request: web.Request) -> web.Response:
    """Bring back finished attempts, keep the running ones, and take new ones: many of each in one request.

    Answered once all of it is durable. With nothing to tell it waits for up to `wait` until there is an attempt to
    take, or one of the worker's is lost.

    Requests of a session are numbered. The same `seq` again is answered alike, without anything being done twice, until
    a higher one acknowledges the answer: so after a lost answer, send the request again, to any server. An attempt
    whose worker is not heard of for its `heartbeat_ms`, by a heartbeat or the closing, is lost, and is tried again.
    """
    exchange = _exchange(request)
    namespace = path_name(request, "ns")
    asked = await _read(request, WorkRequest)
    _check_progress(asked)
    put_off(request, asked.wait)
    via = request.headers.get(PASSED_ON, "")[:_VIA_MAX]
    told = await exchange.serve(
        namespace, asked, partial(stay_open, request), via=via, elsewhere=None if via else _elsewhere(request)
    )
    return answer(request, told)


async def look_for_work(request: web.Request) -> web.Response:
    """Wait until there is an attempt for one of these handlers that nobody asks for; nothing is taken.

    Instances ask each other so, for workers that wait at the one while there is work at the other: what this instance
    does not conduct itself, it does not tell of.
    """
    exchange = _exchange(request)
    namespace = path_name(request, "ns")
    asked = await _read(request, WorkLook)
    put_off(request, asked.wait)

    async def stay(wait: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(asked.wait.total_seconds()):
                    await wait()

        if asked.wait:
            await stay_open(request, bounded)

    is_shown = await exchange.looked(namespace, asked.handlers, stay)
    return answer(request, codec.dump_full(WorkShown(ready=is_shown)))


def _exchange(request: web.Request) -> WorkExchange:
    exchange = request.app[DOORS].work
    if exchange is None:
        raise Unavailable("no runs are conducted here now; ask another instance, or again later")
    return exchange


async def _read(request: web.Request, kind: type[T]) -> T:
    body = await read_large(request, request.app[DOORS].limits.work_bytes)
    if len(body) <= _SMALL_BYTES:
        return codec.decode(kind, body)
    return await asyncio.to_thread(codec.decode, kind, body)


def _check_progress(asked: WorkRequest) -> None:
    for place, beat in enumerate(asked.heartbeats):
        if beat.progress is not None and len(orjson.dumps(beat.progress)) > PROGRESS_MAX:
            detail = f"progress is at most {PROGRESS_MAX} bytes of JSON; tell less of it"
            raise Invalid(detail, [Problem(pointer=f"/heartbeats/{place}/progress", detail=detail)])


def put_off(request: web.Request, wait: timedelta) -> None:
    """Give up a request that waits only so much later than others."""
    if wait:
        span_s = wait.total_seconds() + request.app[DOORS].limits.mutation_s
        DEADLINE.get().reschedule(asyncio.get_running_loop().time() + span_s)


async def stay_open(request: web.Request, wait: Callable[[], Awaitable[None]]) -> None:
    """Have a request stay open while it waits.

    Raises:
        Unavailable: Too many do, or whoever asked has left.
    """
    with request.app[STAYS].admit(request) as staying:
        await staying.run(wait)
        if staying.ending is Ending.GONE:
            raise Unavailable("whoever asked has left")


def _elsewhere(request: web.Request) -> Passing | None:
    """Return the other instances; None: there are none to ask."""
    peers = request.app[DOORS].peer_client
    return None if peers is None else Passing(request, peers) or None


ROUTES = (
    Operation(
        "POST",
        "/v1/namespaces/{ns}/work",
        exchange_work,
        tag="work",
        body=WorkRequest,
        answers={200: Answer(json=WorkAnswer)},
        is_routine=True,
    ),
    Operation(
        "POST",
        "/v1/namespaces/{ns}/work/look",
        look_for_work,
        tag="work",
        body=WorkLook,
        answers={200: Answer(json=WorkShown)},
        is_routine=True,
    ),
)
