"""Runs made again from what the store has of them: the header, and the log, folded by the form of their workflow."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from harpoon.control.callback_urls import address_of
from harpoon.control.ledger_records import run_key
from harpoon.core.event import Event, Moved
from harpoon.core.fold import fold
from harpoon.core.graph import Graph
from harpoon.core.run import Run, begin
from harpoon.kit.errors import Invalid
from harpoon.model.header import Header

#: Namespace, workflow, generation → its graph; raises `NotFound` and `Invalid`.
GraphOf = Callable[[str, str, str], Awaitable[Graph]]


def moves_of(events: Iterable[Event]) -> tuple[str, ...]:
    """Return the generations that a run was moved to, in order."""
    return tuple([event.generation for event in events if type(event) is Moved])


async def graphs_of(header: Header, events: Iterable[Event], graph_of: GraphOf) -> dict[str, Graph]:
    """Return the graphs of all generations that a run is on, or was on.

    Raises:
        NotFound: One is not kept.
        Invalid: This release cannot read one.
    """
    return {
        one: await graph_of(header.namespace, header.workflow, one) for one in (header.generation, *moves_of(events))
    }


def refolded(header: Header, graphs: Mapping[str, Graph], events: Iterable[Event], base: str = "") -> Run:
    """Return a run as its log has it.

    Args:
        header: Of the run.
        graphs: Of all generations that it is on, or was on.
        events: Its log.
        base: URL that those of its callbacks begin with; see `callback_urls`.

    Raises:
        Invalid: The log is empty.
        AssertionError, LookupError, TypeError, ValueError: It does not fit the workflow.
    """
    run = begin(
        namespace=header.namespace,
        id=header.run,
        workflow=header.workflow,
        generation=header.generation,
        graph=graphs[header.generation],
        graphs=graphs,
        inputs=header.inputs,
        created_ms=header.created_ms,
        deadline_ms=header.deadline_ms,
        tags=header.tags,
        address=address_of(base, run_key(header.namespace, header.run), header.secret),
    )
    for event in events:
        fold(run, event)
    if not run.seq:
        raise Invalid("its header does not tell what it began with")
    return run
