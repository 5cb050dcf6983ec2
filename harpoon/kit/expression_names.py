"""What an expression may name, and the type of each: from the JSON schemas of inputs, and the names of operations."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from harpoon.kit.expression_tree import Part, Use
from harpoon.kit.strict import quote

Schema = Mapping[str, Any]

#: Names among which a near one is looked for; listed beside an unknown one, when there are no more.
_NEAR_MAX: Final = 1_000
_LISTED_MAX: Final = 20


class Type(StrEnum):
    """What a value is, as far as is known before there is one."""

    MAPPING = "mapping"
    ANY = "any"
    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole"
    BOOLEAN = "boolean"
    TIME = "time"
    SPAN = "span"
    NULL = "null"
    LIST = "list"
    TEXTS = "texts"
    NUMBERS = "numbers"
    BOOLEANS = "booleans"
    #: What JSON has no word for: bytes, types.
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an expression may name."""

    #: ``inputs.<name>`` → its JSON schema. None: there are no inputs here.
    inputs: Mapping[str, Schema] | None = field(default_factory=dict)
    #: ``ops.<name>``: operations. None: there are none here.
    ops: Collection[str] | None = frozenset()
    #: ``run.id``, ``run.namespace``, ``run.workflow``, ``run.started``.
    has_run: bool = True
    #: ``run.callbacks.<name>``: operations that wait to be called back.
    callbacks: Collection[str] = frozenset()
    #: ``item`` and ``index``.
    has_item: bool = False
    #: JSON schema of ``item``; empty: it may be anything.
    item: Schema = field(default_factory=dict)
    #: Expressions that have been compiled with these names.
    compiled: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def roots(self) -> tuple[str, ...]:
        """Return the first words of what may be named."""
        there = {
            "inputs": self.inputs is not None,
            "ops": self.ops is not None,
            "run": self.has_run,
            "item": self.has_item,
            "index": self.has_item,
        }
        return tuple(root for root, is_there in there.items() if is_there)


class Place(NamedTuple):
    """How much of what is named has one value of a known type; the rest is taken of that value by the library."""

    #: How many of the parts.
    parts: int
    type: Type


CALLBACKS: Final = "callbacks"
#: Of ``run.``: where in the scope it is, and its type.
RUN: Final[Mapping[str, tuple[str, Type]]] = {
    "id": ("id", Type.TEXT),
    "namespace": ("namespace", Type.TEXT),
    "workflow": ("workflow", Type.TEXT),
    "started": ("started_ms", Type.TIME),
    "callbacks": (CALLBACKS, Type.MAPPING),
}
#: Of ``ops.<name>.``.
_OP: Final[Mapping[str, Schema]] = {"output": {}, "label": {"type": "string"}, "visits": {"type": "integer"}}
_TYPES: Final = {
    "string": Type.TEXT,
    "number": Type.NUMBER,
    "integer": Type.WHOLE,
    "boolean": Type.BOOLEAN,
    "object": Type.MAPPING,
    "array": Type.LIST,
    "null": Type.NULL,
}
#: Lists by the type of their elements. Those of whole numbers may hold 5.0, which the library has no such list for.
_LISTS: Final = {Type.TEXT: Type.TEXTS, Type.NUMBER: Type.NUMBERS, Type.BOOLEAN: Type.BOOLEANS}
_ANY: Final[Schema] = {}


def locate(names: Names, use: Use, count_max: int) -> Place:
    """Return how much of what is named can be given to the library as one value.

    Args:
        names: What there is; the root is in it.
        use: What is named.
        count_max: So many of its parts can be taken out of the text.

    Raises:
        ValueError: There is no such thing; the message says what would be right.
    """
    _check(names, use)
    match use.root:
        case "inputs":
            root: Schema = {"type": "object", "properties": names.inputs}
        case "ops":
            _check_plain(use, count_max)
            root = {"type": "object", "additionalProperties": {"type": "object", "properties": _OP}}
        case "run":
            _check_plain(use, count_max)
            if count_max > 1 and use.parts[0] == CALLBACKS:
                return Place(2, Type.TEXT)
            count = min(count_max, 1)
            return Place(count, RUN[str(use.parts[0])][1] if count else Type.MAPPING)
        case "index":
            return Place(0, Type.WHOLE)
        case _:
            root = names.item
    place, schema = Place(0, type_of(root)), root
    for count, part in enumerate(use.parts[:count_max], 1):
        inner = _within(schema, place.type, part)
        if inner is None:
            break
        schema = inner
        place = Place(count, type_of(schema))
    return place


def type_of(schema: Schema) -> Type:
    """Return the type of what a JSON schema describes; `Type.ANY` where it may be of several."""
    kind = schema.get("type")
    found = _TYPES.get(kind, Type.ANY) if isinstance(kind, str) else Type.ANY
    if found is Type.LIST and isinstance(items := schema.get("items"), Mapping):
        return _LISTS.get(type_of(items), Type.LIST)
    return Type.ANY if found is Type.NULL else found


def type_of_value(value: object) -> Type:
    """Return the type of a value of JSON."""
    kinds: Mapping[type, Type] = {
        str: Type.TEXT,
        float: Type.NUMBER,
        int: Type.WHOLE,
        bool: Type.BOOLEAN,
        list: Type.LIST,
        dict: Type.MAPPING,
        type(None): Type.NULL,
    }
    return kinds.get(type(value), Type.OTHER)


def _within(schema: Schema, kind: Type, part: Part) -> Schema | None:
    """Return the schema of a part; None: the library is to say whether there is such a part."""
    if kind is Type.ANY:
        return _ANY
    if kind is Type.MAPPING and isinstance(part, str):
        properties, others = schema.get("properties", _ANY), schema.get("additionalProperties", _ANY)
        known = properties.get(part, others) if isinstance(properties, Mapping) else others
        return known if isinstance(known, Mapping) else _ANY
    if kind in (Type.LIST, *_LISTS.values()) and isinstance(part, int):
        items = schema.get("items", _ANY)
        return items if isinstance(items, Mapping) else _ANY
    return None


def _check(names: Names, use: Use) -> None:
    """Refuse what is not there."""
    told = (*use.parts, *([] if use.asked is None else [use.asked]))
    match use.root:
        case "inputs":
            _check_inputs(names.inputs or {}, told)
        case "ops":
            if not told:
                raise ValueError("name an operation, such as ops.NAME.output; all of them at once cannot be had")
            _check_one("operation", "ops", told[0], names.ops or ())
            if len(told) > 1:
                _check_one("field", f"ops.{told[0]}", told[1], _OP)
        case "run":
            if not told:
                raise ValueError(f"name a field of the run: {', '.join(f'run.{name}' for name in RUN)}")
            _check_one("field", "run", told[0], RUN)
            if told[0] == CALLBACKS:
                _check_callbacks(names.callbacks, told[1:])
        case _:
            pass


def _check_plain(use: Use, count_max: int) -> None:
    """Refuse what would need all operations, or the whole run, for not being written plainly."""
    if use.parts and count_max == 0:
        raise ValueError(f"write {use.root}.{use.parts[0]} plainly, without brackets or escapes in it")


def _check_inputs(inputs: Mapping[str, Schema], told: tuple[Part, ...]) -> None:
    where, schema = "inputs", {"properties": inputs, "additionalProperties": False}
    for number, part in enumerate(told):
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or schema.get("additionalProperties") is not False:
            return
        _check_one("field" if number else "input", where, part, properties)
        where, inner = f"{where}.{part}", properties[str(part)]
        schema = dict(inner) if isinstance(inner, Mapping) else {}


def _check_callbacks(callbacks: Collection[str], told: tuple[Part, ...]) -> None:
    if not callbacks:
        raise ValueError("run.callbacks is empty: no operation waits for a callback, or this is seen by too many")
    if not told:
        raise ValueError("name an operation that waits for a callback, such as run.callbacks.NAME")
    _check_one("operation that waits for a callback", "run.callbacks", told[0], callbacks)


def _check_one(what: str, where: str, part: Part, known: Collection[str]) -> None:
    if part in known:
        return
    name = str(part)
    near = difflib.get_close_matches(name, known, n=1) if len(known) <= _NEAR_MAX and len(name) <= _NEAR_MAX else []
    listed = f"; known here: {', '.join(known) or 'none'}" if len(known) <= _LISTED_MAX else ""
    hint = f"; did you mean {near[0]!r}?" if near else listed
    raise ValueError(f"{where} has no {what} {quote(name)}{hint}")
