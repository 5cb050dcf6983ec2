"""Workflows and batches as tests name them: built in Python, as mappings, or in files; read as a server reads them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import load_documents, to_json
from harpoon.model.batch_manifest import BatchManifest
from harpoon.model.workflow import WorkflowManifest
from harpoon.worker.building import Workflow

#: A text is the path of a file.
Source = Workflow | Mapping[str, Any] | Path | str


def manifests_of(source: Source, namespace: str) -> list[WorkflowManifest]:
    """Return the workflows of a source, read as by a server.

    Args:
        source: Of one workflow; a file may hold several.
        namespace: Where those are that do not say.

    Raises:
        Invalid: One has flaws, all of which are told; or there is none.
    """
    found = [_read(raw) for raw in _raw(source, namespace)]
    for manifest in found:
        _check_place(manifest, namespace)
    return found


def batch_of(source: Mapping[str, Any] | Path | str, namespace: str) -> BatchManifest:
    """Return the batch of a source, read as by a server.

    Raises:
        Invalid: It has flaws, all of which are told; or it is not one.
    """
    found = list(_raw(source, namespace))
    if len(found) != 1:
        raise Invalid(f"{source} holds {len(found)} documents; a batch is one")
    manifest = codec.decode(BatchManifest, found[0])
    _check_place(manifest, namespace)
    return manifest


def _check_place(manifest: WorkflowManifest | BatchManifest, namespace: str) -> None:
    if manifest.metadata.namespace != namespace:
        raise Invalid(
            f"{manifest.kind.lower()} {manifest.metadata.name} is of namespace {manifest.metadata.namespace}, "
            f"and this environment is {namespace}: say Environment(namespace=…)"
        )


def _read(raw: bytes) -> WorkflowManifest:
    return codec.decode(WorkflowManifest, raw)


def _raw(source: Source, namespace: str) -> Iterator[bytes]:
    if isinstance(source, Workflow):
        yield _placed(source.manifest(), namespace)
    elif isinstance(source, Mapping):
        yield _placed(source, namespace)
    else:
        path = Path(source)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise Invalid(f"{path} cannot be read: {error.strerror}") from error
        documents = load_documents(text, str(path))
        if not documents:
            raise Invalid(f"there is no document in {path}")
        for document in documents:
            value = document.value
            yield _placed(value, namespace) if isinstance(value, Mapping) else to_json(document)


def _placed(manifest: Mapping[str, Any], namespace: str) -> bytes:
    """Return a manifest as JSON, with the namespace filled in where it names none."""
    metadata = manifest.get("metadata")
    if isinstance(metadata, Mapping) and "namespace" not in metadata:
        manifest = {**manifest, "metadata": {**metadata, "namespace": namespace}}
    try:
        return orjson.dumps(manifest)
    except orjson.JSONEncodeError as error:
        raise Invalid(f"a workflow is what JSON can hold: {error}") from error
