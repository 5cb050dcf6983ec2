"""Batches among manifests: each is started, once; the same again is the same run. And what would come of that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harpoon.cli import documents, screens, terminal
from harpoon.cli.session import Session
from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import Document
from harpoon.model.at_most import size_at_most, span_at_most
from harpoon.model.name import DEFAULT_NAMESPACE

#: The ``kind`` of a manifest.
KIND: Final = "Batch"
_COLOURS: Final = {"start": "green", "unchanged": "", "refuse": "red"}


class Outcome(NamedTuple):
    """What became of the manifest of a batch."""

    namespace: str
    batch: str
    #: ``started``, or how the batch stands that was started before.
    outcome: str


def split(read: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Return the documents that are batches, and all others."""
    own = [document for document in read if _is_batch(document)]
    return own, [document for document in read if not _is_batch(document)]


def start(client: Session, read: Sequence[Document], namespace: str | None) -> list[Outcome]:
    """Start batches, one after the other.

    Raises:
        Invalid: One of them cannot be; those before it are started.
    """
    told = []
    for document in read:
        manifest = documents.manifest_of(document, namespace)
        metadata = manifest["metadata"]
        place, name = str(metadata.get("namespace") or DEFAULT_NAMESPACE), str(metadata["name"])
        try:
            answer = client.post("namespaces", place, "batches", body=manifest)
        except Invalid as error:
            raise documents.placed(error, documents.place_in(document)) from error
        told.append(Outcome(place, name, "started" if answer.status == 201 else str(answer.body["status"])))
    return told


def lines(told: Sequence[Mapping[str, Any]], *, is_terse: bool) -> Iterator[str]:
    """Yield what would become of batches, given their plans: what each would do, and what it comes to at most."""
    for one in told:
        action, title = str(one["action"]), terminal.paint(f"batch/{one['batch']}", "bold")
        since = f", {one['status']}" if action == "unchanged" else ""
        yield f"{title}: {terminal.paint(action, _COLOURS[action])}{since}"
        if one.get("refusal"):
            yield from screens.indented([terminal.plain(str(one["refusal"]))])
        if action == "start" or not is_terse:
            yield from screens.indented(_told(one))


def _told(one: Mapping[str, Any]) -> Iterator[str]:
    what, count = ("step", one["steps"]) if one["steps"] else ("item", one["items"])
    many = f"{count} {what}{'s' * (count != 1)}"
    if one["mode"] == "in_order":
        yield f"{many}, one after the other up to the first that fails"
    else:
        yield f"{many}, {one['parallel']} at once; {one['tolerate'] or 'none'} may fail"
    tried, stored = f"{one['attempts']} attempt{'s' * (one['attempts'] != 1)}", size_at_most(one["bytes"])
    yield f"at most {tried}, {span_at_most(one['ends_after_ms'])} from start to end, {stored} of data"


def _is_batch(document: Document) -> bool:
    return isinstance(document.value, dict) and document.value.get("kind") == KIND
