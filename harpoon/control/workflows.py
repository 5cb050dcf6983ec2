"""Workflows as users declare them. Their generations, the forms that runs are on, are `harpoon.control.generations`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harpoon.control.beside import beside, compiled
from harpoon.control.callees import callees_of, callers_of, check_callers, forms_of
from harpoon.control.freshness import Freshness
from harpoon.control.generations import TRIES, Generations, dumped, generation_of
from harpoon.control.orders import Form
from harpoon.control.view import GRAPHS, WORKFLOWS, View, job_key
from harpoon.core.graph import Graph
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, NotFound, PreconditionFailed, Unavailable
from harpoon.model.shown import Outcome
from harpoon.model.workflow import WorkflowManifest, WorkflowRecord
from harpoon.store import settle
from harpoon.store.port import Compare, Delete, Put, Store, Write
from harpoon.store.table import Row

#: Workflows that are named where several are in the way.
_NAMED: Final = 5


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
        #: The forms of workflows that runs are on.
        self.generations = Generations(store, view, clock)

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
                self.generations.hold(f"{key}/{record.generation}", graph)
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
        graph = await self.generations.ready(key, record.spec)
        row = self._view.graphs.rows.get(key)
        kept = Compare(GRAPHS + key, mod=0 if row is None else row.mod_revision)
        forms, called = forms_of(self._view, namespace, name, record.spec)
        return Form(record.generation, graph, (kept, *called), forms)

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
            raw = await beside(lambda: dumped(record), record.spec)
            self._view.workflows.expect(key, record, raw)
            writes.append(Put(WORKFLOWS + key, raw))
        if graph is None or graph.value.retired_ms is not None:
            writes.append(await self.generations.form_put(generation, record.name, record.spec))
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


def _check(name: str, row: Row[WorkflowRecord] | None, *, if_match: int | None, is_new: bool) -> None:
    if is_new and row is not None:
        raise PreconditionFailed(f"workflow {name} exists already", current=row)
    if if_match is not None and (row is None or row.mod_revision != if_match):
        what = "does not exist" if row is None else "was changed by someone else meanwhile"
        raise PreconditionFailed(f"workflow {name} {what}", current=row)
