"""Work: what workers bring back and take. It is the way that every attempt of a worker's operation goes, so it is short.

Whoever may write to a namespace may do its work: the answers hold inputs of runs, and the closings decide them. There
is one token so far, so a worker shows the same as everybody else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import read_large
from harpoon.api.doors import DEADLINE, DOORS
from harpoon.api.operation import Answer, Operation
from harpoon.api.query import path_name
from harpoon.api.stay import STAYS, Ending
from harpoon.kit import codec
from harpoon.kit.errors import Unavailable
from harpoon.model.work import WorkAnswer, WorkRequest

#: What is larger is taken apart in a thread; up to here that would cost more than it saves.
_SMALL_BYTES: Final = 128 << 10


async def exchange_work(request: web.Request) -> web.Response:
    """Bring back finished attempts, keep the running ones, and take new ones: many of each in one request.

    Answered once all of it is durable. With nothing to tell it waits for up to `wait` until there is an attempt to
    take, or one of the worker's is lost.

    Requests of a session are numbered. The same `seq` again is answered alike, without anything being done twice, until
    a higher one acknowledges the answer: so after a lost answer, send the request again, to any server. An attempt
    whose worker is not heard of for its `heartbeat_ms`, by a heartbeat or the closing, is lost, and is tried again.
    """
    doors = request.app[DOORS]
    namespace = path_name(request, "ns")
    exchange = doors.work
    if exchange is None:
        raise Unavailable("no runs are conducted here now; ask another instance, or again later")
    body = await read_large(request, doors.limits.work_bytes)
    if len(body) <= _SMALL_BYTES:
        asked = codec.decode(WorkRequest, body)
    else:
        asked = await asyncio.to_thread(codec.decode, WorkRequest, body)
    if asked.wait:
        span_s = asked.wait.total_seconds() + doors.limits.mutation_s
        DEADLINE.get().reschedule(asyncio.get_running_loop().time() + span_s)

    async def stay(wait: Callable[[], Awaitable[None]]) -> None:
        with request.app[STAYS].admit(request) as staying:
            await staying.run(wait)
            if staying.ending is Ending.GONE:
                raise Unavailable("the worker has left")

    return answer(request, await exchange.serve(namespace, asked, stay))


ROUTES = (
    Operation(
        "POST",
        "/v1/namespaces/{ns}/work",
        exchange_work,
        tag="work",
        body=WorkRequest,
        answers={200: Answer(json=WorkAnswer)},
    ),
)
