"""Runs made again from what the store has of them: the header, and the log, folded by the form of their workflow."""

from collections.abc import Awaitable, Callable, Iterable

from harpoon.core.event import Event
from harpoon.core.fold import fold
from harpoon.core.graph import Graph
from harpoon.core.run import Run, begin
from harpoon.kit.errors import Invalid
from harpoon.model.header import Header

#: Namespace, workflow, generation → its graph; raises `NotFound` and `Invalid`.
GraphOf = Callable[[str, str, str], Awaitable[Graph]]


def refolded(header: Header, graph: Graph, events: Iterable[Event]) -> Run:
    """Return a run as its log has it.

    Raises:
        Invalid: The log is empty.
        AssertionError, LookupError, TypeError, ValueError: It does not fit the workflow.
    """
    run = begin(
        namespace=header.namespace,
        id=header.run,
        workflow=header.workflow,
        generation=header.generation,
        graph=graph,
        inputs=header.inputs,
        created_ms=header.created_ms,
        deadline_ms=header.deadline_ms,
        tags=header.tags,
    )
    for event in events:
        fold(run, event)
    if not run.seq:
        raise Invalid("its header does not tell what it began with")
    return run
