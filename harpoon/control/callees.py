"""Workflows that call others, looked up: what they call as it stands, and what they may come to with that.

A run goes by the generations that its workflow, and all that it calls directly or not, stood at when it was started
(`Form.forms`). What a callee is changed to afterwards is for runs that are started afterwards; so what was promised of
a run holds, whoever changes what.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from harpoon.control.beside import beside, compiled
from harpoon.control.view import GRAPHS, WORKFLOWS, View, job_key
from harpoon.core.bounds import Bounds, bounds
from harpoon.core.calls import calls_of, check_calls, reach
from harpoon.core.graph import Graph, compile_graph
from harpoon.kit.errors import Conflict, Invalid
from harpoon.model.workflow import WorkflowSpec
from harpoon.store.port import Compare

#: Workflows by ``<namespace>/<name>`` as they would be: these are found before those that stand.
Drafts = Mapping[str, WorkflowSpec]
_NONE: Final[Drafts] = MappingProxyType({})


class Callees(NamedTuple):
    """The workflows that one calls, directly or not, each after those that it calls itself."""

    specs: Mapping[str, WorkflowSpec]
    #: That they stay as they were looked up; of drafts nothing.
    as_seen: tuple[Compare, ...]


def callees_of(view: View, namespace: str, name: str, spec: WorkflowSpec, drafts: Drafts = _NONE) -> Callees:
    """Look up what a workflow calls.

    Raises:
        Invalid: It calls what there is not, or itself, or too many, or gives them what they do not take.
    """
    found = check_calls(name, spec, lambda one: _known(view, namespace, one, drafts))
    rows = view.workflows.rows
    keys = [key for key in _keys(namespace, found) if key not in drafts]
    compares = [Compare(WORKFLOWS + key, mod=rows[key].mod_revision) for key in keys]
    return Callees(found, tuple(compares))


def standing_callees(view: View, namespace: str, name: str, spec: WorkflowSpec) -> Mapping[str, WorkflowSpec]:
    """Return what a workflow that stands calls; nothing, if no run of it could be started now."""
    try:
        return reach(name, spec, lambda one: _known(view, namespace, one))
    except Invalid:
        return {}


def forms_of(view: View, namespace: str, name: str, spec: WorkflowSpec) -> tuple[dict[str, str], tuple[Compare, ...]]:
    """Return the generations that a run which is started now goes by in what it calls, and that these are kept.

    Raises:
        Conflict: A workflow that it calls is not there any more.
    """
    if not calls_of(spec):
        return {}, ()
    try:
        found = reach(name, spec, lambda one: _known(view, namespace, one))
    except Invalid as error:
        raise Conflict(f"no run of workflow {name} is started: {error.problems[0].detail}") from error
    rows = view.workflows.rows
    forms = {one: rows[job_key(namespace, one)].value.generation for one in found}
    kept = []
    for one, generation in forms.items():
        key = f"{job_key(namespace, one)}/{generation}"
        row = view.graphs.rows.get(key)
        kept.append(Compare(GRAPHS + key, mod=0 if row is None else row.mod_revision))
    return forms, tuple(kept)


def callers_of(view: View, namespace: str, name: str, drafts: Drafts = _NONE) -> list[str]:
    """Return the workflows that call one directly, sorted."""
    prefix = f"{namespace}/"
    standing = {key: row.value.spec for key, row in view.workflows.rows.items() if key.startswith(prefix)}
    drafted = {key: spec for key, spec in drafts.items() if key.startswith(prefix)}
    return sorted(
        key.removeprefix(prefix)
        for key, spec in (standing | drafted).items()
        if any(call.workflow == name for call in calls_of(spec).values())
    )


async def check_callers(view: View, namespace: str, name: str, spec: WorkflowSpec, drafts: Drafts = _NONE) -> None:
    """Check that what calls a workflow, directly or not, stays within bounds when it is changed.

    Raises:
        Invalid: Something does not.
    """
    drafts = {**drafts, job_key(namespace, name): spec}
    ahead, seen = callers_of(view, namespace, name, drafts), {name}
    while ahead:
        caller = ahead.pop()
        if caller in seen:
            continue
        seen.add(caller)
        own = _known(view, namespace, caller, drafts)
        assert own is not None, "it was found there"
        try:
            found = reach(caller, own, lambda one: _known(view, namespace, one, drafts))
            await bounds_with(await compiled(own), found)
        except Invalid as error:
            raise Invalid(
                f"workflow {caller} calls it, and would not stand any more: {error}", error.problems
            ) from error
        ahead += callers_of(view, namespace, caller, drafts)


async def bounds_with(graph: Graph, specs: Mapping[str, WorkflowSpec], deadline_ms: int | None = None) -> Bounds:
    """Return what a run comes to at most, with what it calls.

    Args:
        graph: Of the workflow.
        specs: What it calls, directly or not, each after those that it calls itself.
        deadline_ms: How long after its start it ends anyway. Left out: the workflow's.

    Raises:
        Invalid: It is more than there may be.
    """
    return await beside(lambda: bounds_within(graph, specs, deadline_ms), graph.spec, *specs.values())


def bounds_within(graph: Graph, specs: Mapping[str, WorkflowSpec], deadline_ms: int | None = None) -> Bounds:
    """Return what `bounds_with` does, at once; the errors are those of it."""
    told: dict[str, Bounds] = {}
    for name, spec in specs.items():
        told[name] = bounds(compile_graph(spec), None, told)
    return bounds(graph, deadline_ms, told)


def _known(view: View, namespace: str, name: str, drafts: Drafts = _NONE) -> WorkflowSpec | None:
    key = job_key(namespace, name)
    if key in drafts:
        return drafts[key]
    row = view.workflows.rows.get(key)
    return None if row is None else row.value.spec


def _keys(namespace: str, found: Mapping[str, WorkflowSpec]) -> Iterator[str]:
    return (job_key(namespace, name) for name in found)
