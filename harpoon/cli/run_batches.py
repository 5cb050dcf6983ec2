"""Batches among manifests: each is started, once; the same again is the same run."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from harpoon.cli import documents
from harpoon.cli.session import Session
from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import Document
from harpoon.model.name import DEFAULT_NAMESPACE

#: The ``kind`` of a manifest.
KIND: Final = "Batch"


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


def check_none(read: Sequence[Document]) -> None:
    """Refuse batches where it is only asked what would come of manifests.

    Raises:
        Invalid: There is one.
    """
    for document in read:
        if _is_batch(document):
            detail = "a batch is started by apply, and changes nothing that is declared; leave it out here"
            raise documents.fault(document, "/kind", detail)


def _is_batch(document: Document) -> bool:
    return isinstance(document.value, dict) and document.value.get("kind") == KIND
