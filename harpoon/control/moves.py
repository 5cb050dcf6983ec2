"""Moving an open run to another generation of its workflow, which is kept for as long as the run is."""

from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.control.workflows import Workflows
from harpoon.core import repairing
from harpoon.core.calls import calls_of
from harpoon.core.graph import Graph
from harpoon.core.moving import objections
from harpoon.core.repairing import Audit
from harpoon.core.run import Run
from harpoon.kit.errors import Conflict, NotFound
from harpoon.model.header import Header
from harpoon.model.run_repairs import RunMoved


def against(header: Header, run: Run, graph: Graph) -> tuple[str, ...]:
    """Return why an open run cannot go on by another form of its workflow; empty: it can."""
    called = {call.workflow for call in calls_of(graph.spec).values()}
    unknown = [
        f"it calls workflow {one}, which the run was not started with" for one in sorted(called - {*header.forms})
    ]
    return (*objections(run, graph), *unknown)


async def move(
    conductor: Conductor, workflows: Workflows, header: Header, generation: str, audit: Audit | None
) -> RunMoved:
    """Have an open run go by another generation from now on; return what became of it once that is durable.

    Args:
        conductor: Of the run.
        workflows: Know the generation.
        header: Of the run.
        generation: The one that it is to be on.
        audit: Who wants it, and why; None: it is only to be said whether it can be moved.

    Raises:
        NotFound: It is not open.
        Conflict: The generation is not kept, or the run cannot go on by it.
        Refused: It cannot be moved so often.
        StoreUnavailable: The store could not answer.
        Unavailable: This instance conducts it no longer.
    """
    key = run_key(header.namespace, header.run)
    known = workflows.generations.graph if audit is None else workflows.generations.pin
    try:
        graph = await known(header.namespace, header.workflow, generation)
    except NotFound as error:
        raise Conflict(f"{error}; a run goes by one that is") from error
    conducted = conductor.runs.get(key)
    if conducted is None:
        raise NotFound(f"run {header.run} is not open")
    before = conducted.run.generation
    because = () if before == generation else against(header, conducted.run, graph)
    if audit is None:
        return RunMoved(run=header.run, before=before, generation=generation, is_moved=False, because=because)
    if because:
        raise Conflict(f"run {header.run} stays on generation {before}: {'; '.join(because)}")
    await conductor.order(key, lambda run, now_ms: repairing.move(run, generation, graph, audit, now_ms))
    return RunMoved(run=header.run, before=before, generation=generation, is_moved=True, because=())
