"""The backup door: the whole registry as it stands at one revision, while everything goes on."""

import asyncio
from contextlib import aclosing

from aiohttp import web

from harpoon import __version__
from harpoon.api.doors import DOORS
from harpoon.api.frames import Encoding
from harpoon.api.operation import Answer, Operation
from harpoon.api.stay import STAYS
from harpoon.api.stream import Stream
from harpoon.store import backup
from harpoon.store.cluster import Cluster


async def get_backup(request: web.Request) -> web.StreamResponse:
    """Tell the whole registry, as it stands at one revision, as lines of JSON that `harpoon restore` takes.

    The last line tells how many records there are, and their digest: what ends without it is not whole. Values of
    environments are in it as they were declared.
    """
    doors = request.app[DOORS]
    about = Cluster(doors.view.cluster, doors.view.incarnation)
    with request.app[STAYS].admit(request) as stay:
        async with aclosing(
            backup.write(doors.store, about, at_ms=doors.clock.now().wall, version=__version__)
        ) as pieces:
            # Before the status is sent, so that a store that is away is told by it.
            first = await anext(pieces)
            stream = Stream(request, stay, Encoding.NDJSON)

            async def tell() -> None:
                await stream.write(first)
                async for piece in pieces:
                    await stream.write(piece)
                    # A reader who keeps up is not to make others wait.
                    await asyncio.sleep(0)

            return await stream.serve(tell)


ROUTES = (
    Operation(
        "GET",
        "/v1/backup",
        get_backup,
        tag="instance",
        answers={200: Answer(text="application/x-ndjson", description="A line for the registry, and one a record.")},
    ),
)
