"""Workflows as they are shown, and what would come of a manifest that is not declared."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from harpoon.control.beside import beside
from harpoon.control.callees import bounds_with, callees_of, standing_callees
from harpoon.control.view import View, job_key
from harpoon.core import bounds as core_bounds
from harpoon.core.diff import diff
from harpoon.core.graph import Graph
from harpoon.kit import codec
from harpoon.kit.ordered import check_orders
from harpoon.kit.plain import plain, plain_full
from harpoon.model.edit import Edit
from harpoon.model.workflow import WorkflowManifest, WorkflowRecord, WorkflowSpec
from harpoon.store.table import Row

#: Any value that JSON has.
Json = Any


async def check(spec: WorkflowSpec) -> None:
    """Refuse a workflow whose operations order of jobs what cannot be meant.

    Raises:
        Invalid: There are such; all are told.
    """
    await beside(lambda: check_orders(spec), spec)


async def bounds_json(view: View, namespace: str, name: str, graph: Graph) -> bytes:
    """Return what any run of a workflow comes to at most, with what it calls as that stands.

    Args:
        view: Shows what it calls.
        namespace: Of the workflow.
        name: Of the workflow.
        graph: What it is, or is to be.

    Raises:
        Invalid: It is more than there may be, or it calls what it cannot.
    """
    callees = callees_of(view, namespace, name, graph.spec)
    told = await bounds_with(graph, callees.specs)
    return await beside(lambda: orjson.dumps(core_bounds.shown(told)), graph.spec)


async def standing_bounds_json(view: View, namespace: str, name: str, graph: Graph) -> bytes:
    """Return what `bounds_json` does of a workflow that stands, though what it calls may have changed since."""
    told = await bounds_with(graph, standing_callees(view, namespace, name, graph.spec))
    return await beside(lambda: orjson.dumps(core_bounds.shown(told)), graph.spec)


async def large_workflow_json(view: View, record: WorkflowRecord, revision: int, bounds: bytes | None = None) -> bytes:
    """Return what `workflow_json` does, of a workflow that may be large."""
    return await beside(lambda: workflow_json(view, record, revision, bounds), record.spec)


def workflow_json(view: View, record: WorkflowRecord, revision: int, bounds: bytes | None = None) -> bytes:
    """Return the workflow object: the manifest with defaults, what the registry adds, and the bounds if they are given.

    Args:
        view: Tells the incarnation.
        record: As it stands in the registry.
        revision: At which it was last written.
        bounds: JSON of its bounds.
    """
    metadata = {
        "name": record.name,
        "namespace": record.namespace,
        "tags": dict(record.tags),
        "generation": record.generation,
        "version": record.version,
        "revision": view.external(revision),
        "created_ms": record.created_ms,
        "updated_ms": record.updated_ms,
    }
    told = b"" if bounds is None else b',"bounds":' + bounds
    head = b'{"apiVersion":"harpoon/v1","kind":"Workflow","metadata":%b,"spec":%b%b}'
    return head % (orjson.dumps(metadata), codec.dump_full(record.spec), told)


def standing(view: View, manifest: WorkflowManifest) -> Row[WorkflowRecord] | None:
    """Return the workflow that a manifest is to replace; None: there is none."""
    return view.workflows.rows.get(job_key(manifest.metadata.namespace, manifest.metadata.name))


async def changes_of(row: Row[WorkflowRecord] | None, manifest: WorkflowManifest) -> tuple[Edit, ...]:
    """Return how a manifest differs from what stands; of what is new, everything that is no default."""
    specs = (manifest.spec,) if row is None else (manifest.spec, row.value.spec)
    return await beside(lambda: _changes(row, manifest), *specs)


async def changes_json(row: Row[WorkflowRecord] | None, manifest: WorkflowManifest) -> bytes:
    """Return what `changes_of` does, as it is told."""
    specs = (manifest.spec,) if row is None else (manifest.spec, row.value.spec)
    return await beside(lambda: codec.dump(_changes(row, manifest)), *specs)


def _changes(row: Row[WorkflowRecord] | None, manifest: WorkflowManifest) -> tuple[Edit, ...]:
    old: Json = {}
    if row is not None:
        old = _form(row.value.tags, row.value.spec, plain_full)
        return diff(old, _form(manifest.metadata.tags, manifest.spec, plain_full))
    return diff(old, _form(manifest.metadata.tags, manifest.spec, plain))


def _form(tags: Mapping[str, str], spec: WorkflowSpec, make_plain: Callable[[object], dict[str, object]]) -> Json:
    def told(value: object) -> Json:
        return orjson.loads(orjson.dumps(value, default=make_plain, option=orjson.OPT_PASSTHROUGH_DATACLASS))

    # One by one: the interpreter reads JSON without a pause, and others have to wait for that.
    operations = {name: told(operation) for name, operation in spec.operations.items()}
    rest = {name: told(value) for name, value in make_plain(spec).items() if name != "operations"}
    return {"metadata": {"tags": dict(tags)}, "spec": {**rest, "operations": operations}}
