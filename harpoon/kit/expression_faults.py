"""What the library says is wrong with an expression, in plain words; never a value."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final

from harpoon.kit.expression_cost import ROUNDS_MAX
from harpoon.kit.strict import quote

#: Characters of what the library says, where there are no words of our own for it.
_TOLD_MAX: Final = 200
#: Expressions within each other; the library's.
_DEPTH: Final = 32

_FAULT: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\n \||\nERROR|\Z| \[[A-Z_]+\]\Z)", re.DOTALL)
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'", re.DOTALL)
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_SYNTAX: Final = re.compile(r"Syntax error: (.*)", re.DOTALL)
_SELECT: Final = re.compile(
    r"expression of type '(.*)' cannot be the operand of a select operation|"
    r"type '(.*)' does not support field selection"
)
_DEEP: Final = re.compile(r"recursion depth|recursion limit")
_UNEXPECTED: Final = re.compile(
    r"(?:mismatched|extraneous) input '(.*?)' expecting|no viable alternative at input '(.*)'|"
    r"token recognition error at: '(.*)'",
    re.DOTALL,
)

_FUNCTIONS: Final = (
    *("all", "bool", "contains", "double", "duration", "dyn", "endsWith", "exists", "exists_one", "filter", "has"),
    *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds"),
    *("getMinutes", "getMonth", "getSeconds", "int", "map", "matches", "size", "startsWith", "string", "timestamp"),
    *("type", "uint"),
)
_TYPES: Final[Mapping[str, str]] = {
    "bool": "true or false",
    "bytes": "bytes",
    "double": "a number",
    "dyn": "anything",
    "google.protobuf.Duration": "a span of time",
    "google.protobuf.Timestamp": "a point in time",
    "int": "a whole number",
    "null_type": "null",
    "string": "text",
    "uint": "a whole number without sign",
}
_OPERATORS: Final[Mapping[str, str]] = {"_?_:_": "? :", "_[_]": "[]", "@in": "in"}

#: Of what it says when an evaluation fails → what we say.
_FAILURES: Final = (
    ("Iteration budget exceeded", f"more than {ROUNDS_MAX} rounds of map, filter, all and exists"),
    ("divide by zero", "a division by zero"),
    ("modulus by zero", "a division by zero"),
    ("Index error: index=", "an element that the list does not have"),
    ("Index error: expected", "an element of a list by something that is not a whole number"),
    ("duplicate key", "a mapping with the same field twice"),
    ("overflow", "a result too large for its type"),
    ("OUT_OF_RANGE", "a number too large for its type"),
    ("out of range", "a number beyond 64 bits"),
    ("cannot convert string", "text that is not a number"),
    ("conversion error", "a value that cannot be converted"),
    ("conversion failed", "text that is not a time"),
    ("malformed UTF-8", "bytes that are not text"),
    ("No matching overload", "a value of a type that is not fit for what is done with it"),
    ("SELECT to non-message", "a field of something that is not a mapping"),
    ("Invalid container type", "an element of something that is neither list nor mapping"),
    ("Unexpected value type", "a value that is not of its declared type"),
    ("cannot be interpreted as", "a value that is not of its declared type"),
    ("regular expression", "a wrong pattern"),
    ("timezone", "an unknown time zone"),
    ("Invalid map key", "a field's name that is not text"),
)
_NO_KEY: Final = re.compile(r"Key not found in map : \"(.*)\"", re.DOTALL)
_NO_VALUE: Final = re.compile(r"No value with name \"(_[0-9]+)\"")


def wrong(said: str) -> str:
    """Return what is wrong with an expression that the library does not compile."""
    if _DEEP.search(said):
        return f"nested deeper than {_DEPTH}, or as many operators in a row; make it shorter"
    match = _FAULT.search(said)
    if match is None:
        return f"not an expression: {said[:_TOLD_MAX]}"
    line, column, detail = int(match[1]), int(match[2]), match[3]
    place = f"character {column}" if line == 1 else f"line {line}, character {column}"
    return f"at {place}: {_explain(detail)}"


def failed(said: str, words: Collection[str], values: Mapping[str, str]) -> str:
    """Return why an evaluation failed.

    Args:
        said: By the library.
        words: Texts that stand in the expression, and so may be told.
        values: Names of values, as the library knows them → what they are in the expression.
    """
    if match := _NO_VALUE.search(said):
        return f"{values[match[1]]} is not there"
    if match := _NO_KEY.search(said):
        return f"there is no field {quote(match[1])}" if match[1] in words else "there is no such field"
    return next((told for part, told in _FAILURES if part in said), "it could not be evaluated")


def _explain(detail: str) -> str:
    if match := _OVERLOAD.fullmatch(detail):
        return _mismatch(match[1], match[2])
    if match := _UNDECLARED.search(detail):
        if match[1] in _FUNCTIONS:
            return f"{match[1]}() does not take so many values"
        near = difflib.get_close_matches(match[1], _FUNCTIONS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_FUNCTIONS)}"
        return f"there is no function {quote(match[1])}; {hint}"
    if match := _SELECT.search(detail):
        return f"{_type(match[1] or match[2])} has no fields"
    if match := _SYNTAX.match(detail):
        return _syntax(match[1])
    if "invalid int literal" in detail:
        return "a number beyond 64 bits"
    return detail[:_TOLD_MAX]


def _syntax(detail: str) -> str:
    match = _UNEXPECTED.search(detail)
    if match is None:
        return f"not an expression: {detail[:_TOLD_MAX]}"
    text = next(group for group in match.groups() if group is not None)
    return "it ends too early" if text == "<EOF>" else f"did not expect {quote(text)}"


def _mismatch(name: str, given: str) -> str:
    """Tell that a function or operator does not take what it is given, and what would be right."""
    operator = _OPERATORS.get(name, name.strip("_"))
    types = _split(given.replace(".(", ", ", 1) if ".(" in given else given)
    told = " and ".join(_type(one) for one in types) or "nothing"
    if name == "_?_:_":
        if types[0] not in ("bool", "dyn"):
            return f"what stands before '?' is {_type(types[0])}; expected true or false"
        return f"the outcomes of '? :' are {_type(types[1])} and {_type(types[2])}; put one of them in dyn()"
    advice = ""
    if {"int", "double"} <= set(types):
        advice = "; write 1.0 for 1, or convert with double() or int()"
    elif "string" in types and name == "_+_":
        advice = "; convert with string()"
    return f"{quote(operator)} does not take {told}{advice}"


def _split(given: str) -> list[str]:
    """Return the types in a list of them; those in brackets belong together."""
    types, depth = [""], 0
    for character in given.strip("()") if given.startswith("(") else given.removesuffix(")"):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            types.append("")
        else:
            types[-1] += character
    return [one.strip() for one in types if one.strip()]


def _type(name: str) -> str:
    if name.startswith("list"):
        return "a list"
    if name.startswith("map"):
        return "a mapping"
    if name.startswith("wrapper"):
        return _type(name.removeprefix("wrapper(").removesuffix(")"))
    return _TYPES.get(name, "a type" if name.startswith("type") else "a value")
