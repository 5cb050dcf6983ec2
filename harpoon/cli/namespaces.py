"""Namespaces among manifests: declared before the jobs, each for itself; and how one is shown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harpoon.cli import cells, columns, documents, figures, screens, terminal
from harpoon.cli.session import Session
from harpoon.cli.table import Object
from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import Document

#: The ``kind`` of a manifest.
KIND: Final = "Namespace"


class Outcome(NamedTuple):
    """What became of the manifest of a namespace."""

    namespace: str
    #: ``created``, ``changed`` or ``unchanged``.
    outcome: str
    #: The limits that it is over, a sentence for each.
    over: tuple[str, ...]


def split(read: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Return the documents that declare namespaces, and all others."""
    own = [document for document in read if _kind(document) == KIND]
    return own, [document for document in read if _kind(document) != KIND]


def declare(client: Session, read: Sequence[Document], *, is_dry: bool = False) -> list[Outcome]:
    """Declare namespaces, one after the other; if it is dry, only find out what would come of that.

    Raises:
        Invalid: One of them cannot be; those before it are declared.
    """
    told = []
    query = {"dry_run": "true"} if is_dry else None
    for document in read:
        manifest = documents.manifest_of(document, None)
        name = str(manifest["metadata"]["name"])
        try:
            body = client.put("namespaces", name, body=manifest, query=query).body
        except Invalid as error:
            raise documents.placed(error, documents.place_in(document)) from error
        told.append(Outcome(name, str(body["outcome"]), tuple(body["namespace"]["status"]["over"])))
    return told


def warnings(told: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line for each namespace that is over its quota."""
    for one in told:
        if one.over:
            yield f"namespace/{one.namespace} is over its quota: {', '.join(one.over)}; nothing is stopped for that"


def screen(value: Object, jobs: Sequence[Object], *, is_wide: bool) -> Iterator[str]:
    """Yield the screen of a namespace and of its jobs."""
    is_declared, over = value["metadata"]["created_ms"] is not None, value["status"]["over"]
    state = "over its quota" if over else "within its quota" if is_declared else "not declared"
    sentence = ", ".join(over) if is_declared else "its jobs may reserve as much as they like"
    yield screens.headline(f"namespace/{cells.name_of(value)}", state, sentence)
    for field in ("jobs", "tasks", "cpu", "memory"):
        yield f"  {field.capitalize().ljust(12)}{_used(value, field)}"
    if changed := figures.age(value["metadata"]["updated_ms"]):
        yield f"  {'Changed'.ljust(12)}{changed} ago"
    if jobs:
        yield ""
        yield from screens.table(columns.JOB.columns, jobs, is_wide=is_wide)


def _used(value: Mapping[str, Any], field: str) -> str:
    used, limit = value["status"]["used"][field], value["spec"]["quota"][field]
    of = "no limit" if limit is None else f"of {limit}"
    told = f"{used} {of}" if limit is not None else f"{used}, {of}"
    return terminal.paint(told, "red") if any(one.startswith(f"{field} ") for one in value["status"]["over"]) else told


def _kind(document: Document) -> object:
    return document.value.get("kind") if isinstance(document.value, dict) else None
