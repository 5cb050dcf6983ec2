"""Work on all of a workflow: beside the event loop where that is large, for it would be held too long."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from harpoon.core.graph import Graph, compile_graph
from harpoon.kit import codec
from harpoon.model.workflow import GraphRecord, WorkflowSpec

#: Operations, and bytes of all that they say, beyond which it is large. One operation alone may have 10,000 items, in
#: each of which expressions are looked for.
_LARGE: Final = 50
_LARGE_BYTES: Final = 16 << 10

T = TypeVar("T")


def is_large(spec: WorkflowSpec) -> bool:
    """Whether it takes long to look at all of a workflow."""
    return has_many(spec) or len(codec.dump(spec)) > _LARGE_BYTES


def has_many(spec: WorkflowSpec) -> bool:
    """Whether a workflow has so many operations, or items that are written in it, that it is large."""
    return len(spec.operations) > _LARGE or any(
        op.foreach is not None and isinstance(op.foreach.items, tuple) and len(op.foreach.items) > _LARGE
        for op in spec.operations.values()
    )


async def beside(work: Callable[[], T], *specs: WorkflowSpec) -> T:
    """Return what some work comes to that looks at all of these workflows; what it raises is raised."""
    return await asyncio.to_thread(work) if any(map(is_large, specs)) else work()


async def compiled(spec: WorkflowSpec) -> Graph:
    """Return the graph of a workflow.

    Raises:
        Invalid: It has flaws; all are told.
    """
    return await beside(lambda: compile_graph(spec), spec)


async def spec_kept(record: bytes) -> WorkflowSpec:
    """Return what a generation does, given the record that it is kept in.

    Raises:
        Invalid: It is none that this release can read.
    """
    if len(record) <= _LARGE_BYTES:
        return codec.load(GraphRecord, record).spec
    return (await asyncio.to_thread(codec.load, GraphRecord, record)).spec
