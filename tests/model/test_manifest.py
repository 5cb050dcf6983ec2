"""The language of manifests, as far as it goes."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from harpoon.model.manifest import NOT_YET_VALUES, Manifest


def fields_at(pointer: str) -> set[str]:
    """Return the fields of what stands at a pointer, ``*`` being any item."""
    kind: Any = Manifest
    for part in pointer.split("/")[1:]:
        kind = get_args(kind)[-1 if get_origin(kind) is Mapping else 0] if part == "*" else get_type_hints(kind)[part]
        kind = next((member for member in get_args(kind) if is_dataclass(member)), kind) if part == "*" else kind
    assert is_dataclass(kind)
    return {field.name for field in fields(kind)}


@pytest.mark.parametrize("pointer", sorted({*NOT_YET_VALUES, "/kind"}))
def test_values_that_are_not_supported_yet_belong_to_a_field_that_is(pointer: str) -> None:
    parent, _, field = pointer.rpartition("/")
    assert field in fields_at(parent)
