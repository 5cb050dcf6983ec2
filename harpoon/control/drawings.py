"""Graphs of workflows and runs, drawn in the form that is asked for; large ones beside the loop."""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from harpoon.control.run_status import RunStatus
from harpoon.core import drawing_ascii, drawing_dot, drawing_mermaid, drawing_svg
from harpoon.core.drawing import Course, Picture, picture
from harpoon.core.drawing_folds import fold
from harpoon.core.drawing_laid import let_go
from harpoon.core.drawing_shown import shown
from harpoon.core.graph import Graph
from harpoon.core.outlook import skipped
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Gone

#: Operations beyond which a graph is drawn beside the loop: it would hold it for too long.
_LARGE: Final = 30


class Form(StrEnum):
    """How a graph is written; values are those of ``format=``."""

    JSON = "json"
    DOT = "dot"
    MERMAID = "mermaid"
    SVG = "svg"
    ASCII = "ascii"


class Way(NamedTuple):
    """How a form is made."""

    write: Callable[[Picture], bytes]
    media_type: str
    #: Of more boxes it is folded unless more are asked for.
    boxes: int


def _json(told: Picture) -> bytes:
    drawing = shown(told)
    body, lines = codec.dump_full(drawing), list(drawing.lines)
    del drawing
    let_go(lines)
    return body


WAYS: Final[Mapping[Form, Way]] = {
    Form.JSON: Way(_json, "application/json", 2_000),
    Form.DOT: Way(lambda told: drawing_dot.write(told).encode(), "text/vnd.graphviz", 1_000),
    # What Mermaid draws with usual settings.
    Form.MERMAID: Way(lambda told: drawing_mermaid.write(told).encode(), "text/vnd.mermaid", 200),
    Form.SVG: Way(lambda told: drawing_svg.write(told).encode(), "image/svg+xml", 400),
    Form.ASCII: Way(lambda told: drawing_ascii.write(told).encode(), "text/plain", 60),
}


class Wish(NamedTuple):
    """What is asked for."""

    form: Form
    #: Of more boxes it is folded; None: as is usual for that form.
    boxes: int | None = None
    #: Of text: whether nothing but ASCII may stand in it.
    is_ascii: bool = False


def drawn(told: Picture, wish: Wish) -> bytes:
    """Return a picture in the form that is asked for."""
    way = WAYS[wish.form]
    small = fold(told, way.boxes if wish.boxes is None else wish.boxes)
    return drawing_ascii.write(small, is_ascii=True).encode() if wish.is_ascii else way.write(small)


class Drawings:
    """Draws graphs.

    Args:
        status: Tells how runs stand.
        clock: What ``now`` is told by.
        turns: Taken while a large graph is drawn, which takes a processor for as long.
    """

    def __init__(self, status: RunStatus, clock: Clock, turns: asyncio.Semaphore) -> None:
        self._status = status
        self._clock = clock
        self._turns = turns

    async def of_workflow(self, name: str, graph: Graph, wish: Wish) -> bytes:
        """Return the graph of a workflow, which is compiled."""
        return await self._drawn(graph, lambda: picture(name, graph), wish)

    async def of_run(self, namespace: str, run: str, wish: Wish) -> tuple[int, bytes]:
        """Return the graph of a run as it stands, and the revision at which that was.

        Raises:
            NotFound: There never was such a run.
            Gone: It is not kept any more, or the form of the workflow that it is on.
            StoreUnavailable: The store could not answer.
        """
        seen = await self._status.see(namespace, run)
        if seen.run is None:
            header = seen.header
            raise Gone(f"generation {header.generation} of workflow {header.workflow} is not kept any more", oldest="")
        graph = seen.run.graph
        status = "paused" if seen.told.is_paused and seen.told.ended_ms is None else seen.told.status.value
        parked = [one.op for one in seen.run.incidents]
        workflow, open_run, now_ms = seen.header.workflow, seen.run, self._clock.now().wall

        def draw() -> Picture:
            return picture(workflow, graph, Course(run, status, seen.told, skipped(open_run), now_ms, parked))

        return seen.revision, await self._drawn(graph, draw, wish)

    async def _drawn(self, graph: Graph, draw: Callable[[], Picture], wish: Wish) -> bytes:
        if len(graph.nodes) <= _LARGE:
            return drawn(draw(), wish)
        async with self._turns:
            return await asyncio.to_thread(lambda: drawn(draw(), wish))
