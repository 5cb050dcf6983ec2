"""Workers: which there are, what they offer and have, and when they were heard."""

from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.asking import others
from harpoon.api.doors import DOORS
from harpoon.api.operation import Operation
from harpoon.api.pages import PASSED_ON
from harpoon.api.query import path_name
from harpoon.core.roll import roll, united
from harpoon.kit import codec
from harpoon.model.work import WorkerList


async def list_workers(request: web.Request) -> web.Response:
    """Show the workers of a namespace that were heard in the last ten minutes, by name.

    Each instance knows whom it has heard; all are asked, and those that do not answer at once are named in
    `unanswered`.
    """
    doors = request.app[DOORS]
    namespace = path_name(request, "ns")
    exchange = doors.work
    own = [] if exchange is None else roll(exchange.core, exchange.sessions, namespace, exchange.now_ms())
    if PASSED_ON in request.headers:
        return answer(request, codec.dump_full(WorkerList(items=tuple(own))))
    told = await others(request, WorkerList)
    shown = WorkerList(
        items=tuple(united([own, *(one.items for one in told.values() if one is not None)])),
        unanswered=tuple(name for name, one in told.items() if one is None),
    )
    return answer(request, codec.dump_full(shown))


ROUTES: Final = (Operation("GET", "/v1/namespaces/{ns}/workers", list_workers, tag="work", answers={200: WorkerList}),)
