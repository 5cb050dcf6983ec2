"""Workflows as users declare them, and their generations: the forms that runs are on.

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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from harpoon.control.beside import beside, compiled
from harpoon.control.callees import bounds_with, callees_of, callers_of, check_callers, forms_of
from harpoon.control.freshness import Freshness
from harpoon.control.orders import Form
from harpoon.control.run_reader import RunReader
from harpoon.control.view import GRAPHS, WORKFLOWS, View, job_key
from harpoon.core.graph import Graph
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Invalid, NotFound, PreconditionFailed, Unavailable
from harpoon.model.name import workflow_said
from harpoon.model.shown import Outcome
from harpoon.model.workflow import GraphRecord, WorkflowManifest, WorkflowRecord, WorkflowSpec
from harpoon.store import settle
from harpoon.store.port import COMMIT_BYTES_MAX, Compare, Delete, Put, Store, Write
from harpoon.store.table import Row

#: Tries of a mutation without a precondition against others that change the same workflow.
TRIES: Final = 5
#: A workflow is written twice in one commit, as it is and as a generation.
SPEC_BYTES_MAX: Final = COMMIT_BYTES_MAX // 2 - 1024
#: Graphs that are kept ready for the next run.
GRAPHS_KEPT: Final = 200
#: Workflows that are named where several are in the way.
_NAMED: Final = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A workflow that was declared, durably."""

    workflow: WorkflowRecord
    #: Of the record as it stands.
    revision: int
    outcome: Outcome


class Workflows:
    """The one writer of workflows.

    Args:
        store: Where they are.
        view: Shows them.
        clock: What ``now`` is told by.
    """

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._freshness = Freshness(store, view, view.workflows)
        #: Key of a generation → its graph, the one used last at the end.
        self._graphs: OrderedDict[str, Graph] = OrderedDict()

    def get(self, namespace: str, name: str) -> Row[WorkflowRecord]:
        """Return a workflow.

        Raises:
            NotFound: There is none of that name.
        """
        row = self._view.workflows.rows.get(job_key(namespace, name))
        if row is None:
            raise NotFound(f"there is no workflow {name} in namespace {namespace}")
        return row

    async def put(
        self,
        manifest: WorkflowManifest,
        graph: Graph | None = None,
        *,
        if_match: int | None = None,
        is_new: bool = False,
    ) -> Declared:
        """Create or replace a workflow; its open runs go on as they were started.

        Args:
            manifest: What the user declares.
            graph: It, compiled, if it is already.
            if_match: The ``mod_revision`` that the workflow must have.
            is_new: The workflow must not exist.

        Raises:
            Invalid: It has flaws, or calls what it cannot; all are told.
            PreconditionFailed: ``if_match`` or ``is_new`` does not hold.
            StoreUnavailable: The store could not answer.
        """
        metadata = manifest.metadata
        key = job_key(metadata.namespace, metadata.name)
        graph = graph or await compiled(manifest.spec)
        if if_match is not None:
            await self._freshness.see(key, if_match)
        for _ in range(TRIES):
            row = self._view.workflows.rows.get(key)
            _check(metadata.name, row, if_match=if_match, is_new=is_new)
            callees = callees_of(self._view, metadata.namespace, metadata.name, manifest.spec)
            await check_callers(self._view, metadata.namespace, metadata.name, manifest.spec)
            record = await drafted(row, manifest, self._clock.now().wall)
            declared = await self._write(key, record, row, callees.as_seen)
            if declared is not None:
                self._keep(f"{key}/{record.generation}", graph)
                return declared
        raise Unavailable("others keep changing this workflow; try again")

    async def delete(self, namespace: str, name: str, *, if_match: int | None = None) -> int:
        """Delete a workflow; its open runs go on. Returns the revision.

        Raises:
            NotFound: There is none of that name.
            Conflict: Others call it.
            PreconditionFailed: ``if_match`` does not hold.
            StoreUnavailable: The store could not answer.
        """
        key = job_key(namespace, name)
        await self._freshness.see(key, if_match)
        for _ in range(TRIES):
            row = self.get(namespace, name)
            _check(name, row, if_match=if_match, is_new=False)
            # One that is declared at this very moment may still call it; no run of that is started then.
            if callers := callers_of(self._view, namespace, name):
                raise Conflict(
                    f"workflow {name} is called by {', '.join(callers[:_NAMED])}; change or delete that first"
                )
            compares = (Compare(WORKFLOWS + key, mod=row.mod_revision),)
            revision = await settle.commit(self._store, compares, (Delete(WORKFLOWS + key),))
            if revision is not None:
                await self._view.mirror.shows(revision)
                return revision
            await settle.see_others(self._store, self._view.mirror, compares)
        raise Unavailable("others keep changing this workflow; try again")

    async def form(self, namespace: str, name: str, generation: str | None = None) -> Form:
        """Return what a run is started on.

        Args:
            namespace: Of the workflow.
            name: Of the workflow.
            generation: It must stand at this one.

        Raises:
            NotFound: There is no such workflow.
            PreconditionFailed: It stands at another generation.
            Conflict: What it calls is not there.
        """
        record = self.get(namespace, name).value
        if generation is not None and generation != record.generation:
            raise PreconditionFailed(f"workflow {name} stands at generation {record.generation}, not {generation}")
        key = f"{job_key(namespace, name)}/{record.generation}"
        graph = await self._graph(key, record.spec)
        row = self._view.graphs.rows.get(key)
        kept = Compare(GRAPHS + key, mod=0 if row is None else row.mod_revision)
        forms, called = forms_of(self._view, namespace, name, record.spec)
        return Form(record.generation, graph, (kept, *called), forms)

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
        self._keep(key, graph)
        for _ in range(TRIES):
            row = self._view.graphs.rows.get(key)
            if row is not None and row.value.retired_ms is None:
                return Form(generation, graph, (Compare(GRAPHS + key, mod=row.mod_revision), *called), forms)
            compares = (Compare(GRAPHS + key, mod=0 if row is None else row.mod_revision),)
            revision = await settle.commit(self._store, compares, (await self._form_put(key, name, spec),))
            if revision is None:
                await settle.see_others(self._store, self._view.mirror, compares)
            else:
                await self._view.mirror.shows(revision)
        raise Unavailable("others keep changing what this is made of; try again")

    async def graph(self, namespace: str, name: str, generation: str) -> Graph:
        """Return the graph of a generation, of which there may be open runs.

        Raises:
            NotFound: It is not kept.
            Invalid: This release cannot read it.
        """
        key = f"{job_key(namespace, name)}/{generation}"
        row = self._view.graphs.rows.get(key)
        if row is None:
            raise NotFound(f"generation {generation} of {workflow_said(name)} is not kept")
        return await self._graph(key, row.value.spec)

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

    async def _write(
        self, key: str, record: WorkflowRecord, row: Row[WorkflowRecord] | None, as_seen: Sequence[Compare]
    ) -> Declared | None:
        """Commit a workflow, and wait until the view shows it; None: it was changed by someone else meanwhile.

        So it is also when what it calls was: two that are changed to call each other are not both taken.
        """
        known = 0 if row is None else row.mod_revision
        generation = f"{key}/{record.generation}"
        graph = self._view.graphs.rows.get(generation)
        compares = [
            Compare(WORKFLOWS + key, mod=known),
            # Also when it stands already: it may be about to be deleted.
            Compare(GRAPHS + generation, mod=0 if graph is None else graph.mod_revision),
            *as_seen,
        ]
        writes: list[Write] = []
        if row is None or record is not row.value:
            raw = await beside(lambda: _dumped(record), record.spec)
            self._view.workflows.expect(key, record, raw)
            writes.append(Put(WORKFLOWS + key, raw))
        if graph is None or graph.value.retired_ms is not None:
            writes.append(await self._form_put(generation, record.name, record.spec))
        if not writes:
            is_so = await self._freshness.still_holds(compares)
            return Declared(workflow=record, revision=known, outcome=Outcome.UNCHANGED) if is_so else None
        revision = await settle.commit(self._store, compares, writes)
        if revision is None:
            await settle.see_others(self._store, self._view.mirror, compares)
            return None
        await self._view.mirror.shows(revision)
        outcome = Outcome.CREATED if row is None else Outcome.CHANGED
        return Declared(workflow=record, revision=revision, outcome=outcome)

    async def _form_put(self, key: str, name: str, spec: WorkflowSpec) -> Put:
        """Return the write that has a generation kept from now on.

        Raises:
            Invalid: It is too large.
        """
        namespace, _, generation = key.split("/")
        now_ms = self._clock.now().wall
        form = GraphRecord(namespace=namespace, name=name, generation=generation, spec=spec, at_ms=now_ms)
        raw = await beside(lambda: _dumped(form), spec)
        self._view.graphs.expect(key, form, raw)
        return Put(GRAPHS + key, raw)

    async def _graph(self, key: str, spec: WorkflowSpec) -> Graph:
        graph = self._graphs.get(key)
        if graph is None:
            graph = await compiled(spec)
            self._keep(key, graph)
        else:
            self._graphs.move_to_end(key)
        return graph

    def _keep(self, key: str, graph: Graph) -> None:
        self._graphs[key] = graph
        while len(self._graphs) > GRAPHS_KEPT:
            self._graphs.popitem(last=False)


async def drafted(row: Row[WorkflowRecord] | None, manifest: WorkflowManifest, now_ms: int) -> WorkflowRecord:
    """Return the record that declaring a manifest now leads to; the very same one when it changes nothing.

    Args:
        row: What stands; None: nothing.
        manifest: What the user declares.
        now_ms: When that is.
    """
    specs = (manifest.spec,) if row is None else (manifest.spec, row.value.spec)
    return await beside(lambda: _drafted(row, manifest, now_ms), *specs)


def _drafted(row: Row[WorkflowRecord] | None, manifest: WorkflowManifest, now_ms: int) -> WorkflowRecord:
    metadata, spec, old = manifest.metadata, manifest.spec, None if row is None else row.value
    if old is not None and old.spec == spec and old.tags == metadata.tags:
        return old
    return WorkflowRecord(
        namespace=metadata.namespace,
        name=metadata.name,
        spec=spec,
        generation=generation_of(spec),
        version=1 if old is None else old.version + 1,
        created_ms=now_ms if old is None else old.created_ms,
        updated_ms=now_ms,
        tags=metadata.tags,
    )


def generation_of(spec: WorkflowSpec) -> str:
    """Return the hash of what a workflow does: equal specs, equal generations, however they were spelled."""
    return hashlib.sha256(codec.canonical(spec)).hexdigest()[:12]


def _dumped(record: WorkflowRecord | GraphRecord) -> bytes:
    dumped = codec.dump(record)
    if len(dumped) > SPEC_BYTES_MAX:
        what = workflow_said(record.name)
        raise Invalid(f"{what} takes {len(dumped)} bytes; at most {SPEC_BYTES_MAX} fit: move data into inputs")
    return dumped


def _check(name: str, row: Row[WorkflowRecord] | None, *, if_match: int | None, is_new: bool) -> None:
    if is_new and row is not None:
        raise PreconditionFailed(f"workflow {name} exists already", current=row)
    if if_match is not None and (row is None or row.mod_revision != if_match):
        what = "does not exist" if row is None else "was changed by someone else meanwhile"
        raise PreconditionFailed(f"workflow {name} {what}", current=row)
