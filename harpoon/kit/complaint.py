"""What the author of a manifest is told: the findings of the readers in plain words, each saying what would be right.

A value is quoted only where a number, a boolean or one of a few words was expected, cut short; free text and
whole bodies never are, for they may hold secrets.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from heapq import nsmallest
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.strict import QUOTE_MAX, Fault, Location, pointer, quote

#: Problems listed; the message counts them all.
PROBLEMS_MAX = 100
#: Findings among which those are chosen; of more, only their number is told.
LOOKED_AT_MAX = 10_000
#: Known fields that are listed beside an unknown one, when there are no more.
FIELDS_LISTED_MAX = 20

#: Expected where the value may be quoted.
_QUOTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}
#: Expected where it may not.
_UNQUOTED = {
    "string_type": "text",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}
_ABSENT = object()


def wire_name(name: str) -> str:
    """Return the name that a field has outside: without the underscore that keeps it apart from a keyword."""
    return name.removesuffix("_")


@cache
def fields_of(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a dataclass, by the names they have outside, with their types."""
    return {wire_name(name): hint for name, hint in get_type_hints(kind, include_extras=True).items()}


def complain(kind: Any, document: object, faults: Sequence[Fault], error: ValidationError | None) -> Invalid:
    """Make the error that tells what both readers found, at least one fault, in the order of their pointers.

    ``faults`` come first where they stand: what pydantic says there is about the null put in their place.
    """
    found = error.errors(include_url=False, include_input=False) if error is not None else []
    looked_at, beyond = found[:LOOKED_AT_MAX], max(len(found) - LOOKED_AT_MAX, 0)
    found = [details for details in looked_at if _is_meant(kind, document, details["loc"])]
    nearest = nsmallest(PROBLEMS_MAX, found, key=lambda details: _order(details["loc"]))
    told = {fault.location for fault in faults}
    explained = [_explain(kind, document, details) for details in nearest]
    own = [fault for fault in explained if not any(fault.location[:n] in told for n in range(len(fault.location) + 1))]
    ordered = sorted({*faults, *_one_each(own)}, key=lambda fault: _order(fault.location))
    problems = [Problem(pointer=pointer(fault.location), detail=fault.detail) for fault in ordered[:PROBLEMS_MAX]]
    count = len(ordered) + len(found) - len(nearest) + beyond
    more = f" (and {count - 1} more)" if count > 1 else ""
    return Invalid(f"{problems[0].pointer or 'the document'}: {problems[0].detail}{more}", problems)


def _one_each(faults: Sequence[Fault]) -> list[Fault]:
    """Tell one fault where one value was taken for several kinds in turn, and is none of them."""
    told, ways = [], dict[tuple[Location, str], list[str]]()
    for fault in faults:
        expected, _, got = fault.detail.partition(", got ")
        if expected.startswith("expected ") and got:
            ways.setdefault((fault.location, got), []).append(expected.removeprefix("expected "))
        else:
            told.append(fault)
    for (location, got), all_kinds in ways.items():
        kinds = [kind for kind in dict.fromkeys(all_kinds) if kind != "a whole number" or "a number" not in all_kinds]
        told.append(Fault(location, f"expected {', or '.join(kinds)}, got {got}"))
    return told


def _order(location: Location) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in location]


def _explain(kind: Any, document: object, details: ErrorDetails) -> Fault:
    location, parent = _resolve(kind, details["loc"])
    if details["type"] == "unexpected_keyword_argument":
        return Fault(location, _unknown(str(location[-1]), parent))
    return Fault(location, _detail(details, _look_up(document, location)))


def _resolve(kind: Any, parts: Location) -> tuple[Location, Any]:
    """Follow pydantic's path through the types: (path in the document, type that the last part belongs to).

    They differ where a union of several nouns is passed: pydantic names the one it tried, the document does not.
    """
    location: list[str | int] = []
    parent = kind
    for part in parts:
        kind, members = _strip(kind)
        if members:
            kind = next((member for member in members if getattr(member, "__name__", "") == part), Any)
            continue
        location.append(part)
        parent, kind = kind, _child(kind, part)
    return tuple(location), parent


def _is_meant(kind: Any, document: object, parts: Location) -> bool:
    """Return whether a finding is about what was meant: of a text or a noun, the one that the value looks like."""
    value = document
    for part in parts:
        kind, members = _strip(kind)
        if members:
            kind = next((member for member in members if getattr(member, "__name__", "") == part), Any)
            has_nouns = any(is_dataclass(member) for member in members)
            if has_nouns and str in members and is_dataclass(kind) is not isinstance(value, dict):
                return False
            if isinstance(value, dict) and is_dataclass(kind) and kind is not _likeliest(members, value):
                return False
            continue
        kind, value = _child(kind, part), _look_up(value, (part,))
    return True


def _likeliest(members: Sequence[Any], value: Mapping[str, object]) -> Any:
    """Return the noun that a mapping looks most like: by the ``kind`` that it says, then by the names of its fields."""
    nouns: list[Any] = [member for member in members if is_dataclass(member)]
    names = [name for name in value if len(name) <= QUOTE_MAX]

    def likeness(noun: Any) -> tuple[bool, int]:
        known = fields_of(noun)
        is_said = value.get("kind") in get_args(known.get("kind"))
        return is_said, sum(bool(difflib.get_close_matches(name, list(known), n=1)) for name in names)

    return max(nouns, key=likeness)


def _strip(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take ``| None`` and annotations off; (the type, its members if it still is a union)."""
    if get_origin(kind) is Annotated:
        return _strip(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        members = tuple(member for member in get_args(kind) if member is not type(None))
        return _strip(members[0]) if len(members) == 1 else (kind, members)
    return kind, ()


def _child(kind: Any, part: str | int) -> Any:
    if is_dataclass(kind):
        return fields_of(cast("Any", kind)).get(str(part), Any)
    arguments = get_args(kind)
    if not arguments:
        return Any
    return arguments[0] if isinstance(part, int) else arguments[-1]


def _look_up(document: Any, location: Location) -> object:
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return document


def _unknown(name: str, parent: Any) -> str:
    known = list(fields_of(parent))
    near = difflib.get_close_matches(name, known, n=1) if len(name) <= QUOTE_MAX else []
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    listed = f"; known here: {', '.join(known)}" if len(known) <= FIELDS_LISTED_MAX else ""
    return f"unknown field {quote(name)}{suggestion or listed}"


def _detail(details: ErrorDetails, value: object) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "required, but missing"
    if kind in _UNQUOTED:
        advice = "; put it in quotes" if kind == "string_type" and isinstance(value, bool | int | float) else ""
        return f"expected {_UNQUOTED[kind]}, got {_kind(value)}{advice}"
    expected = context.get("expected") if kind in ("enum", "literal_error") else _QUOTED.get(kind)
    # As JSON and YAML write it.
    expected = "true" if expected == "True" else expected
    return f"expected {expected}, got {_quoted(value)}" if expected else details["msg"]


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _quoted(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"text {quote(value)}"
        case _:
            return _kind(value)
