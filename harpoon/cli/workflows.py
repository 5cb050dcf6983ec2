"""Workflows among manifests: declared each for itself; and how is told what would come of that."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harpoon.cli import difference, documents, screens, terminal
from harpoon.cli.session import Session
from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import Document
from harpoon.model.name import DEFAULT_NAMESPACE

if TYPE_CHECKING:  # most verbs need none
    from harpoon.core.graph import Graph

#: The ``kind`` of a manifest.
KIND: Final = "Workflow"
_ACTIONS: Final = {"created": ("create", "green"), "changed": ("change", "yellow"), "unchanged": ("unchanged", "")}


class Outcome(NamedTuple):
    """What became of the manifest of a workflow, or would."""

    namespace: str
    workflow: str
    #: ``created``, ``changed`` or ``unchanged``.
    outcome: str
    #: From what stood to what is declared, as edits.
    changes: Sequence[Mapping[str, Any]]
    #: Open runs that are on other generations.
    elder_runs: Sequence[Mapping[str, Any]] = ()

    def told(self) -> dict[str, Any]:
        """Return what is told of it beside jobs."""
        told: dict[str, Any] = {"namespace": self.namespace, "workflow": self.workflow, "outcome": self.outcome}
        return {**told, "elder_runs": self.elder_runs} if self.elder_runs else told


def split(read: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Return the documents that declare workflows, each after those that it calls, and all others."""
    own = [document for document in read if _kind(document) == KIND]
    return _ordered(own), [document for document in read if _kind(document) != KIND]


def declare(client: Session, read: Sequence[Document], namespace: str | None) -> list[Outcome]:
    """Declare workflows, one after the other.

    Raises:
        Invalid: One of them cannot be; those before it are declared.
    """
    told = []
    for document in read:
        manifest = documents.manifest_of(document, namespace)
        metadata = manifest["metadata"]
        place, name = str(metadata.get("namespace") or DEFAULT_NAMESPACE), str(metadata["name"])
        path = ("namespaces", place, "workflows", name)
        try:
            body = client.put(*path, body=manifest).body
        except Invalid as error:
            raise documents.placed(error, documents.place_in(document)) from error
        told.append(Outcome(place, name, str(body["outcome"]), body["changes"], body.get("elder_runs") or ()))
    return told


def planned(answer: Mapping[str, Any]) -> list[Outcome]:
    """Return what would become of workflows, given a plan."""
    return [
        Outcome(one["namespace"], one["workflow"], str(one["outcome"]), one["changes"], one.get("elder_runs") or ())
        for one in answer.get("workflows") or ()
    ]


def missing(files: Sequence[str], others: Sequence[Document]) -> Invalid:
    """Return what is told where files hold no workflow, given what they hold."""
    documents.manifest_of(others[0], None)
    kind = _kind(others[0])
    return documents.fault(others[0], "/kind", f"there is no workflow in {', '.join(files)}; this is a {kind}")


def graph_of(document: Document) -> tuple[str, "Graph"]:
    """Return the name of the workflow of a document, and its graph, compiled here.

    Raises:
        Invalid: It has flaws; all are told with their places.
    """
    # The expressions of a workflow are compiled by a library that takes longer to load than all other verbs.
    from harpoon.core.graph import compile_graph  # noqa: PLC0415
    from harpoon.kit import codec  # noqa: PLC0415
    from harpoon.model.workflow import WorkflowManifest  # noqa: PLC0415

    written = json.dumps(documents.manifest_of(document, None)).encode()
    try:
        manifest = codec.decode(WorkflowManifest, written)
        return manifest.metadata.name, compile_graph(manifest.spec)
    except Invalid as error:
        raise documents.placed(error, documents.place_in(document)) from error


def lines(told: Sequence[Outcome], *, is_terse: bool) -> Iterator[str]:
    """Yield what would become of workflows, and how each differs; of what is new only with all there is to tell."""
    for one in told:
        action, colour = _ACTIONS[one.outcome]
        yield f"{terminal.paint(f'workflow/{one.workflow}', 'bold')}: {terminal.paint(action, colour)}"
        if not is_terse or one.outcome != "created":
            yield from screens.indented(difference.lines(one.changes))
        yield from screens.indented(elder_lines([one]))


def elder_lines(told: Sequence[Outcome]) -> Iterator[str]:
    """Yield what becomes of open runs that are on other generations of what was changed."""
    for one in told:
        for elder in one.elder_runs:
            yield terminal.plain(_elder_line(one, elder))


def _elder_line(one: Outcome, elder: Mapping[str, Any]) -> str:
    count, movable = elder["runs"], elder["movable"]
    line = f"{count} open run{' stays' if count == 1 else 's stay'} on generation {elder['generation']}"
    parts = []
    if movable:
        where = "" if one.namespace == DEFAULT_NAMESPACE else f" -n {one.namespace}"
        order = f"harpoon run move --workflow {one.workflow} --all{where}"
        parts.append(f"{movable} could move ({order})")
    for staying in elder["staying"]:
        because, examples = "; ".join(staying["because"]), ", ".join(staying["examples"])
        parts.append(f"{staying['runs']} not ({examples}): {because}")
    if left := elder["left_out"]:
        parts.append(f"{left} more were not looked at")
    return f"{line}: {', '.join(parts)}" if parts else line


def _ordered(own: Sequence[Document]) -> list[Document]:
    """Sort workflows so that each stands after those that it calls; else as they stand."""
    by_name = {_name(document): document for document in reversed(own)}
    told: dict[int, Document] = {}
    ahead = list(reversed(own))
    begun: set[int] = set()
    while ahead:
        document = ahead[-1]
        if id(document) not in begun:
            # Those that call each other in a circle are refused by whoever they are declared to.
            begun.add(id(document))
            called = [by_name[name] for name in _called(document) if name in by_name]
            ahead += [one for one in reversed(called) if id(one) not in begun]
            continue
        told.setdefault(id(ahead.pop()), document)
    return list(told.values())


def _called(document: Document) -> Iterator[tuple[object, object]]:
    """Yield what a workflow calls, by namespace and name, as far as that is written as it should be."""
    told = document.value
    spec = told.get("spec") if isinstance(told, dict) else None
    operations = spec.get("operations") if isinstance(spec, dict) else None
    for one in operations.values() if isinstance(operations, dict) else ():
        call = one.get("call") if isinstance(one, dict) else None
        name = call.get("workflow") if isinstance(call, dict) else None
        if isinstance(name, str):
            yield _name(document)[0], name


def _name(document: Document) -> tuple[object, object]:
    told = document.value.get("metadata") if isinstance(document.value, dict) else None
    metadata = told if isinstance(told, dict) else {}
    return str(metadata.get("namespace")), str(metadata.get("name"))


def _kind(document: Document) -> object:
    return document.value.get("kind") if isinstance(document.value, dict) else None
