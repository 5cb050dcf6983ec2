"""Generations of workflows: the forms that runs are on.

A workflow's generation is a hash of what it does. A run goes on by the generation that it was started on, so each one
is kept, in a record of its own, for as long as it is the present one or a run that is kept is on it.

A generation is deleted in two steps, so that no run is ever left without its own:

1. A generation that is no longer the present one is marked. 2. Starts compare the record as it stood before
(`Form.kept`), so one that is on its way either was durable before the mark, or fails and is tried again on the present
generation. 3. All runs that are kept are read, those that are over too, for they may be repaired; a generation that
none is on is deleted, unless it was made the present one again meanwhile, which writes its record anew.
"""

import hashlib
from collections import OrderedDict
from dataclasses import replace
from typing import Final

import structlog

from harpoon.control.beside import beside, compiled
from harpoon.control.callees import bounds_with, callees_of, forms_of
from harpoon.control.orders import Form
from harpoon.control.run_reader import RunReader
from harpoon.control.view import GRAPHS, WORKFLOWS, View, job_key
from harpoon.core.graph import Graph
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Invalid, NotFound, Unavailable
from harpoon.model.batch_manifest import BATCH
from harpoon.model.workflow import GraphRecord, WorkflowRecord, WorkflowSpec
from harpoon.store import settle
from harpoon.store.port import COMMIT_BYTES_MAX, Compare, Delete, Put, Store

#: Tries of a mutation without a precondition against others that change the same workflow.
TRIES: Final = 5
#: A workflow is written twice in one commit, as it is and as a generation.
SPEC_BYTES_MAX: Final = COMMIT_BYTES_MAX // 2 - 1024
#: Graphs that are kept ready for the next run.
GRAPHS_KEPT: Final = 200

_log = structlog.get_logger(__name__)


class Generations:
    """The generations of all workflows.

    Args:
        store: Where they are.
        view: Shows them.
        clock: What ``now`` is told by.
    """

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        #: Key of a generation → its graph, the one used last at the end.
        self._graphs: OrderedDict[str, Graph] = OrderedDict()

    async def graph(self, namespace: str, name: str, generation: str) -> Graph:
        """Return the graph of a generation, of which there may be open runs.

        Raises:
            NotFound: It is not kept.
            Invalid: This release cannot read it.
        """
        key = f"{job_key(namespace, name)}/{generation}"
        row = self._view.graphs.rows.get(key)
        if row is None:
            raise NotFound(f"generation {generation} of workflow {name} is not kept")
        return await self.ready(key, row.value.spec)

    async def pin(self, namespace: str, name: str, generation: str) -> Graph:
        """Have a generation stay for a run that is about to be on it, and return its graph.

        It is written anew, so that a sweep which has looked at all runs already leaves it alone; the next one sees
        the run.

        Raises:
            NotFound: It is not kept.
            StoreUnavailable: The store could not answer.
            Unavailable: Others keep changing it.
        """
        key = f"{job_key(namespace, name)}/{generation}"
        for _ in range(TRIES):
            graph = await self.graph(namespace, name, generation)
            row = self._view.graphs.rows[key]
            record = codec.dump(replace(row.value, retired_ms=None))
            compares = (Compare(GRAPHS + key, mod=row.mod_revision),)
            revision = await settle.commit(self._store, compares, (Put(GRAPHS + key, record),))
            if revision is not None:
                await self._view.mirror.shows(revision)
                return graph
            await settle.see_others(self._store, self._view.mirror, compares)
        raise Unavailable("others keep changing this workflow; try again")

    async def kept(self, namespace: str, name: str, spec: WorkflowSpec) -> Form:
        """Return what a run is started on that is of no declared workflow; it is kept from now on.

        Args:
            namespace: Of the run.
            name: What is in the place of a workflow's name.
            spec: What the run does.

        Raises:
            Invalid: It has flaws, no bound, or calls what it cannot; all are told.
            Conflict: What it calls was changed meanwhile.
            StoreUnavailable: The store could not answer.
        """
        generation = await beside(lambda: generation_of(spec), spec)
        key = f"{job_key(namespace, name)}/{generation}"
        graph = self._graphs.get(key) or await compiled(spec)
        await bounds_with(graph, callees_of(self._view, namespace, name, spec).specs)
        forms, called = forms_of(self._view, namespace, name, spec)
        self.hold(key, graph)
        for _ in range(TRIES):
            row = self._view.graphs.rows.get(key)
            if row is not None and row.value.retired_ms is None:
                return Form(generation, graph, (Compare(GRAPHS + key, mod=row.mod_revision), *called), forms)
            compares = (Compare(GRAPHS + key, mod=0 if row is None else row.mod_revision),)
            revision = await settle.commit(self._store, compares, (await self.form_put(key, name, spec),))
            if revision is None:
                await settle.see_others(self._store, self._view.mirror, compares)
            else:
                await self._view.mirror.shows(revision)
        raise Unavailable("others keep changing what this is made of; try again")

    async def form_put(self, key: str, name: str, spec: WorkflowSpec) -> Put:
        """Return the write that has a generation kept from now on.

        Raises:
            Invalid: It is too large.
        """
        namespace, _, generation = key.split("/")
        now_ms = self._clock.now().wall
        form = GraphRecord(namespace=namespace, name=name, generation=generation, spec=spec, at_ms=now_ms)
        raw = await beside(lambda: dumped(form), spec)
        self._view.graphs.expect(key, form, raw)
        return Put(GRAPHS + key, raw)

    async def ready(self, key: str, spec: WorkflowSpec) -> Graph:
        """Return the graph of a generation; it is made, unless it is at hand."""
        graph = self._graphs.get(key)
        if graph is None:
            graph = await compiled(spec)
            self.hold(key, graph)
        else:
            self._graphs.move_to_end(key)
        return graph

    def hold(self, key: str, graph: Graph) -> None:
        """Have the graph of a generation at hand for the next run."""
        self._graphs[key] = graph
        while len(self._graphs) > GRAPHS_KEPT:
            self._graphs.popitem(last=False)

    async def sweep(self, reader: RunReader) -> int:
        """Delete the generations that are of no use any more; return how many.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        idle = [key for key in self._view.graphs.rows if not self._is_present(key)]
        if not idle:
            return 0
        for key in idle:
            await self._mark(key)
        used = {
            f"{job_key(header.namespace, workflow)}/{generation}"
            async for found in reader.headers()
            for header in found
            # What is over may be repaired; and what a batch came to is told by what it was made of.
            for workflow, generation in (
                *((header.workflow, one) for one in (header.generation, *header.moved)),
                *header.forms.items(),
            )
        }
        deleted = 0
        for key in idle:
            row = self._view.graphs.rows.get(key)
            if row is not None and row.value.retired_ms is not None and key not in used and not self._is_present(key):
                deleted += await self._store.commit(self._as_seen(key), (Delete(GRAPHS + key),)) is not None
                self._graphs.pop(key, None)
        _log.info("generations_swept", deleted=deleted, kept=len(idle) - deleted)
        return deleted

    async def _mark(self, key: str) -> None:
        """Have nothing more started on a generation; the view shows that then."""
        row = self._view.graphs.rows.get(key)
        if row is None or row.value.retired_ms is not None or self._is_present(key):
            return
        record = codec.dump(replace(row.value, retired_ms=self._clock.now().wall))
        revision = await settle.commit(self._store, self._as_seen(key), (Put(GRAPHS + key, record),))
        if revision is not None:
            await self._view.mirror.shows(revision)

    def _as_seen(self, key: str) -> tuple[Compare, Compare]:
        """Return that a generation, and its workflow, are as they are seen: another may make it the present one."""
        name = key.rpartition("/")[0]
        graph, workflow = self._view.graphs.rows.get(key), self._view.workflows.rows.get(name)
        return (
            Compare(GRAPHS + key, mod=0 if graph is None else graph.mod_revision),
            Compare(WORKFLOWS + name, mod=0 if workflow is None else workflow.mod_revision),
        )

    def _is_present(self, key: str) -> bool:
        """Whether a generation is what its workflow stands at."""
        name, _, generation = key.rpartition("/")
        row = self._view.workflows.rows.get(name)
        return row is not None and row.value.generation == generation


def generation_of(spec: WorkflowSpec) -> str:
    """Return the hash of what a workflow does: equal specs, equal generations, however they were spelled."""
    return hashlib.sha256(codec.canonical(spec)).hexdigest()[:12]


def dumped(record: WorkflowRecord | GraphRecord) -> bytes:
    """Return a record as it is stored.

    Raises:
        Invalid: It is too large.
    """
    dumped = codec.dump(record)
    if len(dumped) > SPEC_BYTES_MAX:
        what = "the batch" if record.name == BATCH else f"workflow {record.name}"
        raise Invalid(f"{what} takes {len(dumped)} bytes; at most {SPEC_BYTES_MAX} fit: move data into inputs")
    return dumped
