"""Rebalancing: tasks moved to where placing would put them today, so many at most."""

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.blocking import BLOCKING, moves_changed
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import once
from harpoon.api.operation import AT, Answer, Operation
from harpoon.api.revision import parse_revision
from harpoon.api.sight import view_of
from harpoon.control.rebalancing import Extra, underway
from harpoon.kit import codec
from harpoon.model.rebalance import Rebalance, Rebalancing


async def rebalance(request: web.Request) -> web.Response:
    """Move tasks to where placing would put them today: at most so many, those that gain most.

    Each is replaced before it is stopped, as when its agent is drained. Only jobs all of whose tasks are ready, and of
    which nothing is about to change, take part. With ``dry_run`` nothing is moved.
    """
    doors = request.app[DOORS]
    body = await read_json(request)
    order = await decode(request, Rebalancing, body)

    async def move(extra: Extra | None) -> Rebalance:
        return await doors.rebalancer.rebalance(order, doors.bookings(), extra=extra)

    status = 200 if order.dry_run else 202
    return await once(request, body, move, lambda told: _told(request, told[0], status=status))


async def get_rebalance(request: web.Request) -> web.Response:
    """Show the moves that are under way; wait for one to begin or be over, if asked to."""
    await moves_changed(request)
    return _told(request, underway(view_of(request)))


def _told(request: web.Request, told: Rebalance, *, status: int = 200) -> web.Response:
    return answer(request, codec.dump_full(told), status=status, revision=parse_revision(told.revision).number)


ROUTES = (
    Operation(
        "POST",
        "/v1/rebalance",
        rebalance,
        tag="tasks",
        body=Rebalancing,
        answers={
            200: Answer(json=Rebalance, description="Nothing was moved: it was a dry run."),
            202: Answer(json=Rebalance, description="They are on their way."),
        },
        refuses=(404,),
    ),
    Operation("GET", "/v1/rebalance", get_rebalance, tag="tasks", query=(*BLOCKING, AT), answers={200: Rebalance}),
)
