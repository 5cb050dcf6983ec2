"""Moving an open run to another generation of its workflow, which is kept for as long as the run is."""

from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.control.workflows import Workflows
from harpoon.core import repairing
from harpoon.core.moving import objections
from harpoon.core.repairing import Audit
from harpoon.kit.errors import Conflict, NotFound
from harpoon.model.header import Header
from harpoon.model.run_repairs import RunMoved


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
        Conflict: The generation is not kept.
        Refused: It cannot be moved.
        StoreUnavailable: The store could not answer.
        Unavailable: This instance conducts it no longer.
    """
    key = run_key(header.namespace, header.run)
    known = workflows.graph if audit is None else workflows.pin
    try:
        graph = await known(header.namespace, header.workflow, generation)
    except NotFound as error:
        raise Conflict(f"{error}; a run goes by one that is") from error
    conducted = conductor.runs.get(key)
    if conducted is None:
        raise NotFound(f"run {header.run} is not open")
    before = conducted.run.generation
    if audit is None:
        because = () if before == generation else objections(conducted.run, graph)
        return RunMoved(run=header.run, before=before, generation=generation, is_moved=False, because=because)
    await conductor.order(key, lambda run, now_ms: repairing.move(run, generation, graph, audit, now_ms))
    return RunMoved(run=header.run, before=before, generation=generation, is_moved=True, because=())
