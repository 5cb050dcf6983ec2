"""JSON text as users write it, read so that nothing in it can mean two things.

The readers at hand keep the last of two equal keys, take ``NaN``, let halves of characters through, or fall over
deep nesting. `read` refuses those, says where each stands, and goes on with null in its place, so that whoever
checks the document further can report everything at once. It is not a schema check: `kit.codec` is.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

#: Lists and mappings within each other.
DEPTH_MAX = 32
#: Values in one document: a workflow of 10,000 operations has some ten for each. What a document costs is bounded by
#: its bytes first; this is for those of many tiny values, each of which takes far more room than its text.
VALUES_MAX = 120_000
#: Numbers that every reader of JSON keeps exact or refuses: 64 bits.
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
#: Characters of an input that a message may quote.
QUOTE_MAX = 80

TOO_DEEP = f"nested deeper than {DEPTH_MAX} lists and mappings; make it flatter"
TOO_LARGE = "a number beyond 64 bits; write it as text, or smaller"

Location = tuple[str | int, ...]

_SYNTAX = {
    "Expecting value": "expected a value",
    "Expecting property name enclosed in double quotes": "expected a field's name in double quotes",
    "Expecting ',' delimiter": "expected ',' or the closing bracket",
    "Expecting ':' delimiter": "expected ':' after a field's name",
    "Extra data": "expected nothing after the end of the document",
    "Unterminated string starting at": "a text that begins here is not closed",
    "Invalid control character at": "a control character inside text; write it as an escape such as \\n",
    "Invalid \\escape": "an unknown escape; write \\\\ for a backslash",
    "Invalid \\uXXXX escape": "\\u takes four hexadecimal digits",
}


class Fault(NamedTuple):
    """One thing wrong with a document: where, and what would be right."""

    location: Location
    detail: str


class _Refused(NamedTuple):
    """Stands in the document for a value that is refused, until the walk has noted where."""

    detail: str


class _Twice(dict[str, Any]):
    """A mapping in which keys stood more than once."""

    keys_twice: list[str]


def pointer(location: Location) -> str:
    """Write a location as a JSON pointer, fit for a terminal: long parts are cut, unprintable characters escaped."""
    return "".join(f"/{_cut(str(part)).replace('~', '~0').replace('/', '~1')}" for part in location)


def quote(text: str) -> str:
    """Put ``text`` in quotes, cut at `QUOTE_MAX` characters, with unprintable characters escaped."""
    return repr(text if len(text) <= QUOTE_MAX else f"{text[:QUOTE_MAX]}…")


def read(data: bytes) -> tuple[object, list[Fault]]:
    """Read one JSON document, with null in place of everything that is refused.

    Returns:
        The document and its faults, in no order. When it is not JSON at all: None and the one fault at the root.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return None, [Fault((), f"not UTF-8 text: byte {error.start + 1} is wrong")]
    if text.startswith("\ufeff"):
        return None, [Fault((), "starts with a byte order mark; save the file as UTF-8 without it")]
    if not text or text.isspace():
        return None, [Fault((), "empty; expected a JSON document")]
    try:
        document = json.loads(
            text, object_pairs_hook=_mapping, parse_int=_whole, parse_float=_number, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        what = _SYNTAX.get(error.msg, error.msg)
        return None, [Fault((), f"not JSON: line {error.lineno}, column {error.colno}: {what}")]
    except RecursionError:
        return None, [Fault((), TOO_DEEP)]
    root = [document]
    try:
        faults = list(_faults(root))
    except OverflowError:
        return None, [Fault((), f"more than {VALUES_MAX} values; split it")]
    return root[0], faults


def check_text(text: str) -> str | None:
    """Return what is wrong with ``text``, or None: halves of characters and NUL have no place in any text."""
    if "\x00" in text:
        return "holds a NUL character; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair (\\ud800 to \\udfff); write the whole character"
    return None


def _cut(part: str) -> str:
    shown = part if len(part) <= QUOTE_MAX else f"{part[:QUOTE_MAX]}…"
    return shown if shown.isprintable() else repr(shown)[1:-1]


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) == len(pairs):
        return mapping
    twice = _Twice(mapping)
    twice.keys_twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    return twice


def _whole(digits: str) -> int | _Refused:
    if len(digits) > 20 or not INT_MIN <= int(digits) <= INT_MAX:
        return _Refused(TOO_LARGE)
    return int(digits)


def _number(digits: str) -> float | _Refused:
    number = float(digits)
    return _Refused(TOO_LARGE) if number in (float("inf"), float("-inf")) else number


def _constant(name: str) -> _Refused:
    return _Refused(f"{name} is not a number that JSON has")


def _faults(root: list[Any]) -> Iterator[Fault]:
    """Walk everything in ``root``, which is no part of the document, and put null in place of what is refused."""
    stack: list[tuple[Any, Location]] = [(root, ())]
    count = 0
    while stack:
        container, location = stack.pop()
        count += len(container)
        if count > VALUES_MAX:
            raise OverflowError
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            here: Location = () if container is root else (*location, key)
            detail = _detail(value, here)
            if detail is not None:
                container[key] = None
                yield Fault(here, detail)
            elif isinstance(value, dict | list):
                stack.append((value, here))
            if isinstance(key, str) and (detail := check_text(key)) is not None:
                del container[key]
                yield Fault(here, f"a field's name {detail}")
        if isinstance(container, _Twice):
            yield from (Fault((*location, key), "the same field twice; keep one") for key in container.keys_twice)


def _detail(value: object, location: Location) -> str | None:
    match value:
        case _Refused(detail):
            return detail
        case str():
            return check_text(value)
        case dict() | list() if len(location) >= DEPTH_MAX:
            return TOO_DEEP
    return None
