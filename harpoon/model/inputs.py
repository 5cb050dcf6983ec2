"""What a run may be started with: a small part of JSON Schema, and the check of values against it.

The part: ``type`` (one, or several), ``enum``, ``minimum``, ``maximum``, ``minLength``, ``maxLength``, ``pattern``,
``items``, ``properties``, ``required``, ``additionalProperties`` (true or false), ``default`` and ``description``; each
means what it means there. Whatever else is written is refused, so that nothing is declared that is not checked.

A value must be given unless it has a default or may be null, which it then is.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Final, NamedTuple

from harpoon.model.pattern import Pattern
from harpoon.model.units import Unit

#: Any value that JSON has.
Json = Any

INPUTS_MAX: Final = 100
ENUM_MAX: Final = 100
PROPERTIES_MAX: Final = 100
#: Bytes of all values of one run together, as JSON.
VALUES_BYTES_MAX: Final = 256 << 10
#: Characters of a text that is held against a pattern, unless its schema says fewer.
PATTERN_TEXT_MAX: Final = 1024
#: Schemas within each other.
SCHEMA_DEPTH_MAX: Final = 16
#: Problems that are told of one start.
PROBLEMS_MAX: Final = 50

TYPES: Final = ("string", "integer", "number", "boolean", "object", "array", "null")

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """What is wrong with a value, and where."""

    #: From the inputs on, such as ``("order", "lines", 0)``.
    path: Path
    message: str


class WrongInputs(ValueError):
    """Values do not fit their schemas; ``problems`` tells all, up to `PROBLEMS_MAX`."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        place = written(problems[0].path).removeprefix(".")
        super().__init__(f"{f'{place}: ' if place else ''}{problems[0].message}{more}")
        self.problems = problems


def parse_types(text: object) -> tuple[str, ...]:
    """Read the name of a type, or a list of them.

    Raises:
        ValueError: It names none, or one that there is not.
    """
    names = [text] if isinstance(text, str) else text
    if not isinstance(names, list | tuple) or not names or any(name not in TYPES for name in names):
        raise ValueError(f"type is one of {', '.join(TYPES)}, or a list of them")
    return tuple(dict.fromkeys(names))


def format_types(types: tuple[str, ...]) -> str | list[str]:
    """Write types as they are written by hand: one as its name."""
    return types[0] if len(types) == 1 else list(types)


Types = Annotated[
    tuple[str, ...],
    Unit(
        parse_types,
        format_types,
        tuple,
        " or ".join(TYPES),
        {"anyOf": [{"enum": list(TYPES)}, {"type": "array", "items": {"enum": list(TYPES)}, "minItems": 1}]},
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSchema:
    """What values an input takes: a small part of JSON Schema."""

    #: One type, or a list of them; left out: any.
    type: Types | None = None
    description: str = ""
    #: Its value, unless one is given.
    default: Json = None
    #: The values that it takes; empty: any.
    enum: tuple[Json, ...] = ()
    #: Of a number.
    minimum: int | float | None = None
    #: Of a number.
    maximum: int | float | None = None
    #: Of a text, in characters.
    minLength: int | None = None  # noqa: N815 the field's name on the wire
    #: Of a text, in characters.
    maxLength: int | None = None  # noqa: N815 the field's name on the wire
    #: Of a text: a regular expression that matches somewhere in it, unless it says ``^`` and ``$``.
    pattern: str | None = None
    #: Of a list: what each of its items is.
    items: "InputSchema | None" = None
    #: Of a mapping: what the values of these keys are.
    properties: "Mapping[str, InputSchema]" = field(default_factory=dict)
    #: Of a mapping: keys that it must have.
    required: tuple[str, ...] = ()
    #: Of a mapping: whether it may have other keys than ``properties``.
    additionalProperties: bool = True  # noqa: N815 the field's name on the wire

    def __post_init__(self) -> None:
        for name, kinds in _OF_TYPES.items():
            if self.type is not None and not kinds & set(self.type) and getattr(self, name) != _DEFAULTS[name]:
                raise ValueError(f"{name} is for type: {' or '.join(sorted(kinds))}; leave it out")
        _check_bounds("minimum", self.minimum, "maximum", self.maximum)
        _check_bounds("minLength", self.minLength, "maxLength", self.maxLength)
        if any(length is not None and length < 0 for length in (self.minLength, self.maxLength)):
            raise ValueError("minLength and maxLength are 0 or more")
        if self.pattern is not None:
            Pattern.of(self.pattern)
        if len(self.enum) > ENUM_MAX or len(self.properties) > PROPERTIES_MAX or len(self.required) > PROPERTIES_MAX:
            raise ValueError(f"enum, properties and required hold at most {ENUM_MAX} each")
        if self.default is not None and (problem := next(_problems((), self, self.default), None)) is not None:
            raise ValueError(f"default{written(problem.path)}: {problem.message}")

    @property
    def is_needed(self) -> bool:
        """Whether a value must be given: it has no default, and may not be null."""
        return self.default is None and not self.is_nullable

    @property
    def is_nullable(self) -> bool:
        """Whether null is said to be a value of it."""
        return self.type is not None and "null" in self.type


#: What values of each type are here. That true is a whole number in Python, is not so in JSON.
_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (Mapping,),
    "array": (list,),
    "null": (type(None),),
}
_OF_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "minimum": frozenset({"integer", "number"}),
    "maximum": frozenset({"integer", "number"}),
    "minLength": frozenset({"string"}),
    "maxLength": frozenset({"string"}),
    "pattern": frozenset({"string"}),
    "items": frozenset({"array"}),
    "properties": frozenset({"object"}),
    "required": frozenset({"object"}),
    "additionalProperties": frozenset({"object"}),
}
_DEFAULTS: Final[Mapping[str, object]] = {
    **dict.fromkeys(_OF_TYPES),
    "properties": {},
    "required": (),
    "additionalProperties": True,
}


def check_inputs(schemas: Mapping[str, InputSchema], values: Mapping[str, Json]) -> dict[str, Json]:
    """Return the values that a run goes on with: those given, and the defaults of those left out, in properties too.

    Raises:
        WrongInputs: A value is missing, unknown, wrong, or all are too large together.
    """
    size = len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode())
    if size > VALUES_BYTES_MAX:
        raise WrongInputs((Problem((), f"all together have {size} bytes; {VALUES_BYTES_MAX} at most"),))
    problems = []
    for problem in _problems_of(schemas, values):
        problems.append(problem)
        if len(problems) == PROBLEMS_MAX:
            break
    if problems:
        raise WrongInputs(tuple(problems))
    return {name: _filled(schema, values.get(name, schema.default)) for name, schema in schemas.items()}


def written(path: Path) -> str:
    """Write where a value stands: ``.lines[0].id``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in path)


def as_json_schema(schema: InputSchema) -> dict[str, Json]:
    """Return what a schema says of the types of values, as JSON Schema has it."""
    told: dict[str, Json] = {"additionalProperties": schema.additionalProperties}
    if schema.type is not None:
        told["type"] = format_types(schema.type)
    if schema.items is not None:
        told["items"] = as_json_schema(schema.items)
    if schema.properties:
        told["properties"] = {name: as_json_schema(inner) for name, inner in schema.properties.items()}
    return told


def depth_of(schema: InputSchema) -> int:
    """Return how many schemas stand within each other there, itself included."""
    deepest, open_ = 0, [(schema, 1)]
    while open_:
        one, depth = open_.pop()
        deepest = max(deepest, depth)
        inner = [*one.properties.values(), *(() if one.items is None else (one.items,))]
        open_ += [(child, depth + 1) for child in inner]
    return deepest


def _problems_of(schemas: Mapping[str, InputSchema], values: Mapping[str, Json]) -> Iterator[Problem]:
    for name in values:
        if name not in schemas:
            yield Problem((name,), _unknown("input", name, schemas))
    for name, schema in schemas.items():
        if name in values:
            yield from _problems((name,), schema, values[name])
        elif schema.is_needed:
            yield Problem((name,), "it has no value; give it one, or a default")


def _unknown(what: str, name: str, known: Mapping[str, InputSchema]) -> str:
    near = get_close_matches(name, known, n=1) if len(name) <= 80 else []
    listed = ", ".join(list(known)[:20]) or "none"
    return f"there is no such {what}; " + (f"did you mean {near[0]!r}?" if near else f"there is {listed}")


def _problems(path: Path, schema: InputSchema, value: Json) -> Iterator[Problem]:
    """Tell what is wrong with a value, in the order of the document."""
    if schema.type is not None and not any(_is_of(kind, value) for kind in schema.type):
        yield Problem(path, f"it is of type {' or '.join(schema.type)}; got {_kind(value)}")
        return
    if schema.enum and not any(_same(value, one) for one in schema.enum):
        yield Problem(path, f"it is one of {', '.join(_short(one) for one in schema.enum)[:500]}; got {_short(value)}")
    match value:
        case bool():
            pass
        case int() | float():
            yield from _of_number(path, schema, value)
        case str():
            yield from _of_text(path, schema, value)
        case list() if schema.items is not None:
            for index, item in enumerate(value):
                yield from _problems((*path, index), schema.items, item)
        case Mapping():
            yield from _of_mapping(path, schema, value)
        case _:
            pass


def _of_number(path: Path, schema: InputSchema, value: float) -> Iterator[Problem]:
    if schema.minimum is not None and value < schema.minimum:
        yield Problem(path, f"it is at least {schema.minimum}; got {value}")
    if schema.maximum is not None and value > schema.maximum:
        yield Problem(path, f"it is at most {schema.maximum}; got {value}")


def _of_text(path: Path, schema: InputSchema, value: str) -> Iterator[Problem]:
    longest = schema.maxLength
    if schema.pattern is not None:
        longest = PATTERN_TEXT_MAX if longest is None else min(longest, PATTERN_TEXT_MAX)
    if schema.minLength is not None and len(value) < schema.minLength:
        yield Problem(path, f"it has at least {schema.minLength} characters; got {len(value)}")
    if longest is not None and len(value) > longest:
        yield Problem(path, f"it has at most {longest} characters; got {len(value)}")
    elif schema.pattern is not None and not Pattern.of(schema.pattern).is_in(value):
        yield Problem(path, f"it matches {schema.pattern}")


def _of_mapping(path: Path, schema: InputSchema, value: Mapping[str, Json]) -> Iterator[Problem]:
    for name in schema.required:
        inner = schema.properties.get(name)
        if name not in value and (inner is None or inner.is_needed):
            yield Problem((*path, name), "it has no value; give it one")
    for name, item in value.items():
        if name in schema.properties:
            yield from _problems((*path, name), schema.properties[name], item)
        elif not schema.additionalProperties:
            yield Problem((*path, name), _unknown("key", name, schema.properties))


def _filled(schema: InputSchema, value: Json) -> Json:
    """Return a value with the defaults of what it leaves out."""
    if isinstance(value, Mapping) and schema.properties:
        given = {
            name: _filled(schema.properties[name], one) if name in schema.properties else one
            for name, one in value.items()
        }
        left = {
            name: one.default
            for name, one in schema.properties.items()
            if name not in value and one.default is not None
        }
        return given | left
    if isinstance(value, list) and schema.items is not None:
        return [_filled(schema.items, item) for item in value]
    return value


def _is_of(kind: str, value: Json) -> bool:
    return isinstance(value, _PYTHON[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _same(one: Json, other: Json) -> bool:
    """Whether two values are equal in JSON, where true is not 1 and 1 is 1.0."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


def _short(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def _kind(value: Json) -> str:
    return next(kind for kind in TYPES if _is_of(kind, value))


def _check_bounds(low_name: str, low: float | None, high_name: str, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"{low_name} is at most {high_name}")
