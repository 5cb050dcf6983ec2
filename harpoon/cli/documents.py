"""Manifests from files, directories and standard input, and the places in them that a server's complaints are about."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harpoon.cli import terminal
from harpoon.cli.nearest import did_you_mean
from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.strict import quote
from harpoon.kit.yaml import SIZE_MAX, Document, load_documents, locate

_WHOLE: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_NUMBER: Final = re.compile(r"-?\d{1,18}\.\d{1,18}", re.ASCII)
#: Kinds of manifests that ``apply`` alone takes.
_APPLIED: Final = ("Workflow", "Namespace", "Batch")
_KINDS: Final = ("Job", *_APPLIED)
_SUFFIXES: Final = (".yaml", ".yml", ".json")


def read_documents(files: Sequence[str]) -> list[Document]:
    """Read every document of these files; ``-`` is standard input, a directory stands for its manifests, by name.

    Raises:
        Invalid: A file is not there, or cannot be read in one way; every fault of a file is told with its place.
    """
    documents = [document for name in files for path in _found(name) for document in _read(path)]
    if not documents:
        raise Invalid(f"there is no document in {', '.join(files)}")
    return documents


def read_one(file: str) -> Document:
    """Read the only document of a file.

    Raises:
        Invalid: As for `read_documents`, or there are several.
    """
    documents = read_documents([file])
    if len(documents) > 1:
        raise Invalid(f"{file} holds {len(documents)} documents; this verb takes one, apply takes many")
    return documents[0]


def read_job(file: str) -> Document:
    """Read the only document of a file, which is not of a kind that only ``apply`` takes.

    Raises:
        Invalid: As for `read_one`, or it is.
    """
    document = read_one(file)
    kind = document.value.get("kind") if isinstance(document.value, dict) else None
    if kind in _APPLIED:
        raise fault(document, "/kind", f"this verb takes a Job; declare a {kind} with harpoon apply -f {file}")
    return document


def manifest_of(document: Document, namespace: str | None) -> dict[str, Any]:
    """Return the document as an object, with the namespace filled in where it names none.

    Raises:
        Invalid: It is no object with metadata, of no kind that there is, or names another namespace than the one asked
            for.
    """
    value = document.value
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if isinstance(value, dict) and value.get("kind") == "Secret":
        name = metadata.get("name") if isinstance(metadata, dict) and isinstance(metadata.get("name"), str) else "NAME"
        raise fault(
            document, "/kind", f"values of secrets are not declared in files; set them: harpoon secret set {name} KEY=-"
        )
    if not isinstance(value, dict) or not isinstance(metadata, dict):
        raise fault(
            document, "" if metadata is None else "/metadata", "a manifest is a mapping with metadata: {name: …}"
        )
    if not isinstance(metadata.get("name"), str):
        raise fault(document, "/metadata", "metadata.name is missing")
    _check_kind(document, value.get("kind"))
    if namespace is not None and metadata.get("namespace", namespace) != namespace:
        where = f"the manifest says namespace {metadata['namespace']!r}, the command line {namespace!r}"
        raise fault(document, "/metadata/namespace", f"{where}; drop one of them")
    return value if namespace is None else {**value, "metadata": {"namespace": namespace, **metadata}}


def _check_kind(document: Document, kind: object) -> None:
    """Refuse what is no kind of manifest.

    Raises:
        Invalid: It is none; with the one that was perhaps meant.
    """
    if kind not in _KINDS:
        listed = f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}"
        near = next((one for one in _KINDS if isinstance(kind, str) and kind.lower() == one.lower()), None)
        hint = f"; did you mean {near}?" if near else did_you_mean(kind, _KINDS) if isinstance(kind, str) else ""
        found = (
            f"{quote(kind)} is none" if isinstance(kind, str) else "it is missing" if kind is None else "got no text"
        )
        raise fault(document, "/kind", f"kind: write {listed}; {found}{hint}")


def with_arguments(document: Document, manifest: dict[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """Return a manifest with values of its parameters, each ``NAME=VALUE``, read as its type says.

    Raises:
        Invalid: One is not written so, or is none of the type; or the job has no such parameter.
    """
    spec = manifest.get("spec")
    if not given or not isinstance(spec, dict):
        return manifest
    parameters = spec.get("parameters")
    known = parameters if isinstance(parameters, dict) else {}
    arguments = {**(spec.get("arguments") or {}), **arguments_of(given, known, f"the job in {document.source}")}
    return {**manifest, "spec": {**spec, "arguments": arguments}}


def arguments_of(
    given: Sequence[str], known: Mapping[str, Any], job: str, *, what: str = "a parameter"
) -> dict[str, str | int | float | bool]:
    """Return values of parameters, each given as ``NAME=VALUE``, read as its type says.

    Args:
        given: The texts.
        known: The parameters that there are, as they are written.
        job: Whose, in words.
        what: They are, in words.

    Raises:
        Invalid: One is not written so, or is none of the type; or there is no such parameter.
    """
    arguments: dict[str, str | int | float | bool] = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not (name and mark):
            raise Invalid(f"write {what} as NAME=VALUE; got --set {text!r}")
        if name not in known:
            told = f"it has {', '.join(map(str, known))}" if known else "it has none"
            raise Invalid(f"--set {name}: {job} has no such {what.rpartition(' ')[2]}; {told}")
        if name in arguments:
            raise Invalid(f"--set {name} stands twice; say which value is meant")
        parameter = known[name]
        arguments[name] = _typed(name, value, parameter.get("type") if isinstance(parameter, dict) else None)
    return arguments


def _typed(name: str, text: str, kind: object) -> str | int | float | bool:
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind in ("integer", "number") and _WHOLE.fullmatch(text):
        return int(text)
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    ways = {"integer": "a whole number", "number": "a number, such as 0.5", "boolean": "true or false"}
    if str(kind) in ways:
        raise Invalid(f"--set {name}: write {ways[str(kind)]}; got {text!r}")
    return text


def placed(error: Invalid, place: Callable[[str], str]) -> Invalid:
    """Return the server's complaint with places in files instead of JSON pointers."""
    return Invalid(str(error), [Problem(pointer=place(one.pointer), detail=one.detail) for one in error.problems])


def place_in(document: Document) -> Callable[[str], str]:
    """Return what turns a pointer into one document into a place in its file."""

    def place(pointer: str) -> str:
        if pointer and not pointer.startswith("/"):
            return pointer
        return f"{locate(document, pointer)}: {pointer.lstrip('/').replace('/', '.')}".removesuffix(": ")

    return place


def place_in_many(documents: Sequence[Document]) -> Callable[[str], str]:
    """Return what turns a pointer ``/documents/<i>/…`` into a place in that document's file."""

    def place(pointer: str) -> str:
        index, _, rest = pointer.removeprefix("/documents/").partition("/")
        found = documents[int(index) :][:1] if index.isdecimal() and len(index) < 10 else ()
        if not pointer.startswith("/documents/") or not found:
            return pointer
        return place_in(found[0])(f"/{rest}" if rest else "")

    return place


def _found(name: str) -> list[Path | None]:
    try:
        return _paths(name)
    except OSError as error:
        raise Invalid(f"{terminal.plain(name)}: {error.strerror or error}") from error


def _paths(name: str) -> list[Path | None]:
    """Return the files that a name stands for; None is standard input."""
    if name == "-":
        return [None]
    path = Path(name)
    if not path.is_dir():
        return [path]
    found: list[Path | None] = [one for one in sorted(path.iterdir()) if one.suffix in _SUFFIXES and one.is_file()]
    if not found:
        raise Invalid(f"{name} holds no {', '.join(_SUFFIXES)} file")
    return found


def _read(path: Path | None) -> list[Document]:
    try:
        if path is None:
            return load_documents(sys.stdin.buffer.read(SIZE_MAX + 1), "<stdin>")
        with path.open("rb") as file:
            return load_documents(file.read(SIZE_MAX + 1), str(path))
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}") from error


def fault(document: Document, pointer: str, detail: str) -> Invalid:
    """Return what is wrong with a document, with its place."""
    return Invalid(f"{locate(document, pointer)}: {detail}")
