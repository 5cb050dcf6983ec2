"""The reference of the manifest: its examples are manifests, and its tables have every field, with its default."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin

import orjson
import pytest

from harpoon.kit import codec, yaml
from harpoon.kit.complaint import fields_of, wire_name
from harpoon.kit.plain import writer_of
from harpoon.model.job import Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.namespace import NamespaceManifest, NamespaceMetadata, NamespaceSpec
from tests.documents import FENCED, ROOT

WHOLE = (ROOT / "docs" / "manifest.md").read_text()
TEXT, _, OF_NAMESPACES = WHOLE.partition("## The namespace")
EXAMPLES = [body for language, body in FENCED.findall(TEXT) if language == "yaml"]
#: The path of a field → its default, as the tables write them.
_ROW = re.compile(r"^\| `((?:metadata|spec)\.[^`]+)` \| ([^|]*?) ?\|", re.MULTILINE)
TOLD = _ROW.findall(TEXT)
#: Absent means something here that a word tells better.
IN_WORDS = {
    "spec.task.working_directory": "its scratch directory",
    "spec.task.user": "as its agent",
    "spec.task.image": "none",
    "spec.task.network": "the engine's bridge",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_a_manifest(example):
    (document,) = yaml.load_documents(example, "docs/manifest.md")
    data = orjson.dumps(document.value)
    codec.decode(Manifest, data)


def test_the_example_of_a_namespace_is_one():
    [example] = [body for language, body in FENCED.findall(OF_NAMESPACES) if language == "yaml"]
    (document,) = yaml.load_documents(example, "docs/manifest.md")
    assert codec.decode(NamespaceManifest, orjson.dumps(document.value)).spec.quota.jobs == 20


def test_the_table_of_a_namespace_has_every_field_with_its_default():
    known = dict([*_fields("metadata", NamespaceMetadata), *_fields("spec", NamespaceSpec)])
    del known["spec.quota"]
    assert dict(_ROW.findall(OF_NAMESPACES)) == known


def test_the_examples_leave_no_kind_of_check_out():
    assert all(re.search(rf"^ +- {kind}: {{", TEXT, re.MULTILINE) for kind in ("http", "tcp", "exec"))


def test_the_tables_have_every_field_once_and_no_other():
    paths = [path for path, _ in TOLD]
    known = {path for path, _ in [*_fields("metadata", Metadata), *_fields("spec", Spec)]}
    # What only holds other fields may be left to them.
    wanted = {path for path in known if not any(other.startswith((f"{path}.", f"{path}[")) for other in known)}
    assert sorted(set(paths)) == sorted(paths)
    assert wanted <= set(paths)
    assert set(paths) - known == {"spec.placement.require[]", "spec.placement.prefer[]"}


def test_the_tables_tell_the_defaults():
    known = dict([*_fields("metadata", Metadata), *_fields("spec", Spec)])
    for path, told in TOLD:
        assert told == IN_WORDS.get(path, known.get(path, "`[]`")), path


def _fields(path: str, kind: Any) -> Iterator[tuple[str, str]]:
    """Yield every field in a noun, by its path, with its default."""
    for field in fields(kind):
        name = wire_name(field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        yield f"{path}.{name}", _written(default, writer_of(fields_of(kind)[name]))
        for mark, inner in _inner(fields_of(kind)[name]):
            yield from _fields(f"{path}.{name}{mark}", inner)


def _inner(hint: Any) -> list[tuple[str, Any]]:
    """Return how a path leads into what a field holds, and the nouns that it may hold there."""
    if isinstance(hint, type) and is_dataclass(hint):
        return [("", hint)]
    holder = get_origin(hint)
    mark = "[]" if holder is tuple else ".*" if hasattr(holder, "keys") else ""
    return [(mark + way, noun) for argument in get_args(hint) for way, noun in _inner(argument)]


def _written(default: object, write: Any) -> str:
    if default is MISSING:
        return "required"
    plain = orjson.loads(codec.dump_full(default if write is None or default is None else write(default)))
    if isinstance(plain, bool):
        return f"`{plain}`".lower()
    return "" if plain is None else f"`{plain:g}`" if isinstance(plain, float) else f"`{plain}`"
