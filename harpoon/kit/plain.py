"""Nouns as plain dictionaries, ready to be written as JSON: one function a kind, compiled when it is first needed.

As `dataclasses` itself does, the function is made as text: read field by field in a loop, writing took twice as long,
and every answer and every record is written here. It takes nothing from outside: names of fields are identifiers, and
values are handed in by reference.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from harpoon.kit.complaint import fields_of, wire_name
from harpoon.model.units import Unit

Plain = Callable[[Any], dict[str, object]]
_Writer = Callable[[Any], object]


def plain(noun: object) -> dict[str, object]:
    """Return a noun's fields by their names outside, those at their defaults left out; nouns in it are left to it."""
    kind: Any = type(noun)
    return _compiled(kind, is_full=False)(noun)


def plain_full(noun: object) -> dict[str, object]:
    """Return a noun's fields by their names outside, all of them."""
    kind: Any = type(noun)
    return _compiled(kind, is_full=True)(noun)


def writer_of(hint: Any) -> _Writer | None:
    """Return what makes a value of this type plain, or None where it is so already."""
    if hint is float:
        return _float
    unit = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Unit)), None)
    if unit is not None:
        return unit.format
    inner = [write for argument in get_args(hint) if (write := writer_of(argument)) is not None]
    if not inner:
        return None
    write = inner[0]
    origin = get_origin(hint)
    if origin in (Union, UnionType) and write is _float:
        # Beside a number there may stand a text, say.
        return lambda value: write(value) if isinstance(value, float) else value
    if origin in (Union, UnionType):
        return lambda value: None if value is None else write(value)
    if origin is tuple:
        return lambda value: [write(item) for item in value]
    return lambda value: {key: write(item) for key, item in value.items()}


@cache
def _compiled(kind: Any, *, is_full: bool) -> Plain:
    lines, known = ["def plain(noun):", "    told = {}"], dict[str, object]()
    for number, field in enumerate(fields(kind)):
        name = wire_name(field.name)
        hint = fields_of(kind)[name]
        write = writer_of(hint)
        lines.append(f"    value = noun.{field.name}")
        lead = "    "
        if not is_full and _is_optional(field, hint):
            known[f"default_{number}"] = field.default if field.default_factory is MISSING else field.default_factory()
            lines.append(f"    if value is not default_{number} and value != default_{number}:")
            lead = "        "
        if write is not None:
            known[f"write_{number}"] = write
        lines.append(f"{lead}told[{name!r}] = " + ("value" if write is None else f"write_{number}(value)"))
    exec("\n".join([*lines, "    return told"]), known)  # noqa: S102 see above
    return known["plain"]  # type: ignore[return-value]


def _is_optional(field: Field[Any], hint: Any) -> bool:
    """Whether a field is left out at its default; one that says which noun of several this is never is."""
    has_default = field.default is not MISSING or field.default_factory is not MISSING
    return has_default and get_origin(hint) is not Literal


def _float(value: float) -> float:
    """Make equal numbers equal bytes: 2 is 2.0, and minus zero is zero."""
    return float(value) + 0.0
