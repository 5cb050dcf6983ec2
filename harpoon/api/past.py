"""The history of an instance: what it covers, and all of it as lines that another directory can be made of."""

import asyncio
from collections.abc import Generator, Iterator
from typing import Final

from aiohttp import web

from harpoon import __version__
from harpoon.api.answer import answer
from harpoon.api.doors import DOORS
from harpoon.api.frames import Encoding
from harpoon.api.operation import TEXT, Answer, Operation, Parameter
from harpoon.api.query import Query
from harpoon.api.sight import read_point, without_history
from harpoon.api.stay import STAYS
from harpoon.api.stream import Stream
from harpoon.kit import codec
from harpoon.kit.errors import Gone
from harpoon.model.past import HistoryStatus
from harpoon.store.past.fold import NotKept, Point
from harpoon.store.past.transfer import chosen, lines

#: Lines are handed on by about so many bytes.
_PIECE_BYTES: Final = 256 << 10
_FROM: Final = Parameter(
    "from", TEXT, "Only what is kept from then on, and what stood before it; written as `at` is elsewhere."
)
_TO: Final = Parameter("to", TEXT, "Only what is kept until then.")


async def get_history(request: web.Request) -> web.Response:
    """Tell what of the past this instance keeps: revisions, times, bytes and gaps, and how the recording does."""
    doors = request.app[DOORS]
    view = doors.view
    if doors.past is None:
        told = HistoryStatus(revision=view.external(view.revision), state="off", reason=str(without_history()))
    else:
        told = doors.past.status()
    return answer(request, codec.dump_full(told))


async def export_history(request: web.Request) -> web.StreamResponse:
    """Tell the history of this instance as lines of JSON, of which `harpoon history import` makes a directory.

    It begins with what stood at a segment's beginning, at or before ``from``. The last line tells how many lines there
    are, and their digest: what ends without it is not whole. Values of environments are in it as they were declared.
    """
    doors, query = request.app[DOORS], Query(request)
    if doors.past is None:
        raise without_history()
    now_ms = doors.clock.now().wall
    since, until = (_point(query, name, now_ms) for name in (_FROM.name, _TO.name))
    spans = chosen(await doors.past.settled(), since, until)
    if not spans:
        raise Gone("nothing is kept of that time; see GET /v1/history", oldest="")
    pieces = _pieces(lines(spans, until, version=__version__, at_ms=now_ms))
    with request.app[STAYS].admit(request) as stay:
        # Before the status is sent, so that a history that cannot be read is told by it.
        try:
            first = await asyncio.to_thread(next, pieces, b"")
        except NotKept as error:
            raise Gone(str(error), oldest="") from error
        stream = Stream(request, stay, Encoding.NDJSON)

        async def tell() -> None:
            await stream.write(first)
            while piece := await asyncio.to_thread(next, pieces, b""):
                await stream.write(piece)

        return await stream.serve(tell)


def _point(query: Query, name: str, now_ms: int) -> Point | None:
    text = query.one(name)
    return None if text is None else read_point(name, text, now_ms)


def _pieces(told: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Yield lines by so many that they are worth a write."""
    piece, size = list[bytes](), 0
    for line in told:
        piece.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)


ROUTES = (
    Operation("GET", "/v1/history", get_history, tag="instance", answers={200: HistoryStatus}),
    Operation(
        "GET",
        "/v1/history/export",
        export_history,
        tag="instance",
        query=(_FROM, _TO),
        answers={200: Answer(text="application/x-ndjson", description="A line for each piece of what happened.")},
        refuses=(409,),
    ),
)
