"""Everything that does not progress, grouped by reason."""

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.operation import AT, NAME, Operation, Parameter
from harpoon.api.query import Query
from harpoon.api.revision import parse_revision
from harpoon.api.sight import sight
from harpoon.control.standstill import standstill
from harpoon.kit import codec
from harpoon.model.standstill import WaitingList


async def get_waiting(request: web.Request) -> web.Response:
    """Show everything that does not progress, grouped by reason, largest group first.

    That is: jobs with slots that cannot be placed or may not yet, jobs that are being unscheduled, tasks that are not
    ready ten seconds after they came into their state, and agents that are not connected.
    """
    seen = sight(request)
    told = await standstill(seen.view, seen.now.wall, Query(request).name("namespace"))
    return answer(request, codec.dump_full(told), revision=parse_revision(told.revision).number)


ROUTES = (
    Operation(
        "GET",
        "/v1/waiting",
        get_waiting,
        tag="instance",
        query=(Parameter("namespace", NAME, "Only jobs and tasks of this one, and no agents."), AT),
        answers={200: WaitingList},
    ),
)
