"""Open runs that are on other generations of a workflow than the present one, and which of them could be moved."""

import asyncio
from collections.abc import Sequence
from typing import Final

from harpoon.control.moves import against
from harpoon.control.refolding import GraphOf
from harpoon.control.reopening import again
from harpoon.control.run_reader import RunReader
from harpoon.core.graph import Graph
from harpoon.kit.errors import Conflict
from harpoon.model.header import Header
from harpoon.model.workflow_shown import ElderRuns, Staying
from harpoon.store.port import Compacted

#: Runs of one workflow whose logs are read.
LOOKED_AT_MAX: Final = 200
#: So many at a time.
_AT_ONCE: Final = 20
#: Ids that are told, and sorts of reasons.
EXAMPLES_MAX: Final = 5
REASONS_MAX: Final = 20


async def elder_runs(
    reader: RunReader, graph_of: GraphOf, namespace: str, workflow: str, present: tuple[str, Graph]
) -> tuple[ElderRuns, ...]:
    """Return the open runs of a workflow that are not on its present generation, by their generations.

    Args:
        reader: Reads them.
        graph_of: Knows the generations that they are on.
        namespace: Of the workflow.
        workflow: Its name.
        present: The generation that they might be moved to, and its graph.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    found: dict[str, list[Header]] = {}
    try:
        async for _, headers in reader.open_headers(namespace):
            for header in headers:
                if header.workflow == workflow and header.present != present[0]:
                    found.setdefault(header.present, []).append(header)
    except Compacted:
        # There are so many that nobody could look through them; they stay as they are.
        return ()
    left, told = LOOKED_AT_MAX, []
    for generation, headers in sorted(found.items()):
        headers.sort(key=lambda header: header.run)
        told.append(await _of_one(reader, graph_of, generation, headers, headers[:left], present[1]))
        left -= min(left, len(headers))
    return tuple(told)


async def _of_one(
    reader: RunReader,
    graph_of: GraphOf,
    generation: str,
    headers: Sequence[Header],
    looked_at: Sequence[Header],
    graph: Graph,
) -> ElderRuns:
    movable: list[str] = []
    staying: dict[tuple[str, ...], list[str]] = {}
    for start in range(0, len(looked_at), _AT_ONCE):
        chunk = looked_at[start : start + _AT_ONCE]
        answers = await asyncio.gather(*[_against(reader, graph_of, header, graph) for header in chunk])
        for header, because in zip(chunk, answers, strict=True):
            if because is None:
                continue
            (staying.setdefault(because, []) if because else movable).append(header.run)
    most = sorted(staying.items(), key=lambda item: (-len(item[1]), item[0]))
    return ElderRuns(
        generation=generation,
        runs=len(headers),
        movable=len(movable),
        examples=tuple(movable[:EXAMPLES_MAX]),
        staying=tuple(
            Staying(because=because, runs=len(runs), examples=tuple(runs[:EXAMPLES_MAX]))
            for because, runs in most[:REASONS_MAX]
        ),
        left_out=len(headers) - len(looked_at),
    )


async def _against(reader: RunReader, graph_of: GraphOf, header: Header, graph: Graph) -> tuple[str, ...] | None:
    """Return why a run cannot be moved; None: it is over by now."""
    try:
        run, _ = await again(reader, graph_of, header)
    except Conflict as error:
        return (str(error),)
    return None if run.status.is_over else against(header, run, graph)
