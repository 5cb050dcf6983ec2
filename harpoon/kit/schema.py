"""JSON Schema (2020-12) of nouns, as the codec reads and writes them: the published form of the language.

Names, units, words and defaults are those of the wire; descriptions are the docstrings and comments of the source.
What users write is *closed*, as the codec refuses what it does not know; what is told is open, as others ignore it.
A schema is never stricter than the codec. It may let something through that a noun's own check then refuses.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

from harpoon.kit import codec
from harpoon.kit.bounds import FIELDS, NOUNS, Schema
from harpoon.kit.comments import comments, description
from harpoon.kit.complaint import fields_of, wire_name
from harpoon.model.units import Unit

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}


class Definitions:
    """Schemas of nouns by their names; each refers to others."""

    def __init__(self, at: str = "#/$defs/") -> None:
        """Begin without any.

        Args:
            at: Where they will stand in their document.
        """
        self._at = at
        self._kinds: dict[str, Any] = {}
        self.schemas: dict[str, dict[str, Any]] = {}

    def refer(self, hint: Any, *, is_closed: bool) -> dict[str, Any]:
        """Return the schema of a type, and define the nouns that it refers to.

        A noun is defined once: what users write comes first, so that it is closed.
        """
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
        if isinstance(hint, NewType):
            return self.refer(hint.__supertype__, is_closed=is_closed)
        if is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, Enum)):
            return self._named(hint, is_closed=is_closed)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            unit = next((mark for mark in hint.__metadata__ if isinstance(mark, Unit)), None)
            return dict(unit.schema) if unit is not None else self.refer(arguments[0], is_closed=is_closed)
        if origin is Literal:
            return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
        if origin in (Union, UnionType):
            return _either([self.refer(member, is_closed=is_closed) for member in arguments])
        if origin is tuple:
            return {"type": "array", "items": self.refer(arguments[0], is_closed=is_closed)}
        assert origin is not None, f"{hint} has no schema"
        assert issubclass(origin, Mapping), f"{hint} has no schema"
        return {"type": "object", "additionalProperties": self.refer(arguments[1], is_closed=is_closed)}

    def _named(self, kind: Any, *, is_closed: bool) -> dict[str, Any]:
        name = kind.__name__
        if self._kinds.setdefault(name, kind) is not kind:
            raise ValueError(f"two nouns are called {name}")
        if name not in self.schemas:
            # A noun may hold its like, so the name is taken before the schema is made.
            self.schemas[name] = {}
            made = self._object(kind, is_closed=is_closed) if is_dataclass(kind) else _words(kind)
            self.schemas[name].update(made)
        return {"$ref": self._at + name}

    def _object(self, kind: Any, *, is_closed: bool) -> dict[str, Any]:
        said, hints, defaults = comments(kind), fields_of(kind), codec.defaults(kind)
        properties = {}
        for field in fields(kind):
            name = wire_name(field.name)
            schema = self.refer(hints[name], is_closed=is_closed)
            bounds = dict(FIELDS.get((kind, name), {}))
            if values := bounds.pop("values", None):
                schema["additionalProperties"] = schema["additionalProperties"] | values
            schema |= bounds
            if field.name in said:
                schema["description"] = said[field.name]
            if name in defaults:
                schema["default"] = defaults[name]
            properties[name] = schema
        made: dict[str, Any] = {"type": "object", "description": description(kind), "properties": properties}
        if required := [wire_name(field.name) for field in fields(kind) if _is_required(field)]:
            made["required"] = required
        if is_closed:
            made["additionalProperties"] = False
        made.update(NOUNS.get(kind, {}))
        return made


def schema_of(kind: Any, *, title: str, identity: str) -> dict[str, Any]:
    """Return the whole schema of documents that users write.

    Args:
        kind: The noun that a document is.
        title: What a document is called.
        identity: The schema's ``$id``.
    """
    definitions = Definitions()
    definitions.refer(kind, is_closed=True)
    root = definitions.schemas.pop(kind.__name__)
    return {
        "$schema": DIALECT,
        "$id": identity,
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.schemas.items())),
    }


def _words(kind: Any) -> dict[str, Any]:
    said = comments(kind)
    told = [f"- `{member.value}`: {said[member.name]}" for member in kind if member.name in said]
    text = "\n".join([description(kind), "", *told]).rstrip()
    return {"type": "string", "enum": [member.value for member in kind], "description": text}


def _either(members: list[dict[str, Any]]) -> dict[str, Any]:
    plain = [member for member in members if member.keys() == {"type"} and isinstance(member["type"], str)]
    if len(plain) == len(members):
        return {"type": [member["type"] for member in members]}
    # Null is told last: what may be there is of more interest.
    return {"anyOf": sorted(members, key=lambda member: member == {"type": "null"})}


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
