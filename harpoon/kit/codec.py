"""Nouns to bytes and back: strict for what users write, lenient for what is stored or comes from a peer.

Outside, a noun is a JSON object of its fields; a field's trailing underscore is dropped (``in_`` is ``in``), units
have their text form, and a field at its default is left out, unless a person is to read it or it says which noun
of several this is (``kind``). An absent ``v`` means schema 1.

It is not a place for defaults, checks or migrations: nouns have those themselves. What a newer peer wrote into
fields that this release does not know is ignored on loading, so it is lost when the noun is written again.

*Why* reading and writing differ: pydantic checks types in Rust as it reads, and nothing was faster; its writer is
no faster than `kit.plain`, but drops ``kind`` with the other defaults and writes equal floats in two ways.
"""

import json
from contextlib import suppress
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Final, Literal, TypeVar, cast

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError

from harpoon.kit.complaint import complain, fields_of, wire_name
from harpoon.kit.errors import Invalid
from harpoon.kit.plain import plain, plain_full, writer_of
from harpoon.kit.strict import DEPTH_MAX, INT_MAX, INT_MIN, TOO_LARGE, VALUES_MAX, Fault, pointer, read

T = TypeVar("T")

#: Documents up to here cannot hold too many values: a value takes two bytes at least.
_PLAIN_BYTES_MAX: Final = 2 * VALUES_MAX
#: Whether so many digits fit into 64 bits, `strict.read` tells.
_LONG_NUMBER: Final = b"0" * 19
_OPENING: Final = b"{["
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)


def decode(kind: type[T], data: bytes) -> T:
    """Read what a user wrote: unknown fields, repeated fields and near misses are refused, nothing is guessed.

    Args:
        kind: The noun to make.
        data: One JSON document in UTF-8.

    Raises:
        Invalid: It is not JSON, or not a ``kind``; ``problems`` tells all that is wrong, by JSON pointer.
    """
    if _is_plain(data):
        with suppress(ValidationError):
            noun = _validate(kind, "forbid", data)
            if noun is not None:
                return cast("T", noun)
    document, faults = read(data)
    if document is None:
        raise complain(kind, None, faults or [Fault((), "expected a mapping, got null")], None)
    try:
        noun = _validate(kind, "forbid", orjson.dumps(document) if faults else data)
    except ValidationError as error:
        raise complain(kind, document, faults, error) from error
    if faults:
        raise complain(kind, document, faults, None)
    return cast("T", noun)


def read_value(data: bytes) -> object:
    """Read any JSON value, of whoever wrote it: what `decode` refuses in a document has no place in a value either.

    Raises:
        Invalid: It is not JSON, or holds what is refused.
    """
    if _is_plain(data):
        return orjson.loads(data)
    value, faults = read(data)
    if faults:
        first = faults[0]
        raise Invalid(f"{pointer(first.location) or 'the document'}: {first.detail}")
    return value


def load(kind: type[T], data: bytes) -> T:
    """Read what is stored or comes from a peer; unknown fields are ignored, absent ones have their default.

    Raises:
        Invalid: It is not JSON, or not a ``kind``.
    """
    try:
        noun = _validate(kind, "ignore", data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Invalid(f"not a {_name(kind)}: {pointer(first['loc'])}: {first['msg']}") from error
    if noun is None:
        raise Invalid(f"not a {_name(kind)}: null")
    if _LONG_NUMBER in data.translate(_DIGITS):
        _check_numbers(kind, data)
    return cast("T", noun)


def dump(value: object) -> bytes:
    """Write a noun, or lists and mappings of nouns, as compact JSON: for the store and for peers."""
    return orjson.dumps(value, default=plain, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def dump_around(value: object, part: object, written: bytes) -> bytes:
    """Write a noun as `dump` does, of which a part was written already."""

    def around(noun: object) -> object:
        return orjson.Fragment(written) if noun is part else plain(noun)

    return orjson.dumps(value, default=around, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def dump_full(value: object) -> bytes:
    """Write a noun with the fields at their defaults too: for those who read the REST API."""
    return orjson.dumps(value, default=plain_full, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def defaults(kind: Any) -> dict[str, object]:
    """Return what the fields have that may be left out, by their names outside, as it is written."""
    told = {}
    for field in fields(kind):
        if field.default is not MISSING or field.default_factory is not MISSING:
            name = wire_name(field.name)
            value = field.default if field.default_factory is MISSING else field.default_factory()
            write = writer_of(fields_of(kind)[name])
            told[name] = orjson.loads(dump(value if write is None else write(value)))
    return told


def canonical(value: object) -> bytes:
    """Write a noun so that equal nouns give equal bytes, however they were spelled: for hashing."""
    return orjson.dumps(value, default=plain, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_SORT_KEYS)


def _is_plain(data: bytes) -> bool:
    """Return whether a document is sure to hold nothing that `strict.read` refuses; that costs a tenth of reading it.

    Without escaped code points, which may be quotation marks or no characters at all, each text has as many of these
    marks here as when it is written again; a field that stands twice is written once, so it has less. A number out of
    range is written as null. Brackets are counted first, for there are no more levels than that.
    """
    if len(data) > _PLAIN_BYTES_MAX or b"\\u" in data or _LONG_NUMBER in data.translate(_DIGITS):
        return False
    try:
        again = orjson.dumps(orjson.loads(data))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # What is nested very deep can be read, but not written.
        return False
    if any(again.count(mark) != data.count(mark) for mark in (b'"', b"null")):
        return False
    return data.count(b"{") + data.count(b"[") <= DEPTH_MAX or _depth(data) <= DEPTH_MAX


def _depth(data: bytes) -> int:
    """Return how deep lists and mappings stand in each other, in a document that is JSON."""
    # What is between quotation marks is text.
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    depth = deepest = 0
    for mark in outside.translate(None, _NO_BRACKETS):
        depth += 1 if mark in _OPENING else -1
        deepest = max(deepest, depth)
    return deepest


def _check_numbers(kind: Any, data: bytes) -> None:
    """Refuse numbers beyond 64 bits: what has been read must be fit to be written."""

    def check(digits: str) -> None:
        if len(digits) > 20 or not INT_MIN <= int(digits) <= INT_MAX:
            raise Invalid(f"not a {_name(kind)}: {TOO_LARGE}")

    json.loads(data, parse_int=check)


def _validate(kind: Any, extra: Literal["forbid", "ignore"], data: bytes) -> object:
    return _reader(kind, extra).validate_json(data)


@cache
def _reader(kind: Any, extra: Literal["forbid", "ignore"]) -> TypeAdapter[Any]:
    # Settings are taken for a type that is not itself a dataclass, and handed down to those in it; so None is let
    # in here and refused above.
    settings = ConfigDict(strict=True, extra=extra, alias_generator=wire_name, hide_input_in_errors=True)
    return TypeAdapter(kind | None, config=settings)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
