"""Values of the library as JSON, and as text."""

import ctypes
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final

from cel_expr_python import cel

from harpoon.kit.strict import INT_MAX, INT_MIN

#: Characters of a list or mapping as the library writes it. What JSON can hold in a MiB is shorter.
_WRITTEN_MAX: Final = 4 << 20
#: Lists and mappings within each other; more than that cannot be written.
_DEPTH_MAX: Final = 128
#: Whole numbers that are written without exponent.
_WHOLE_MAX: Final = 1e15

_SECOND: Final = timedelta(seconds=1)
_NULL: Final = ctypes.py_object(None)


class NoJson(ValueError):
    """A value that JSON does not have; the message says which kind."""


def to_json(value: cel.Value) -> Any:
    """Return a value as JSON has it: points in time as RFC 3339, spans of time in seconds.

    Raises:
        NoJson: There is no such value, or it is too large.
    """
    if value.type() == cel.Type.NULL:
        return None
    if value.type().name().startswith(("LIST", "MAP")):
        written = repr(value)
        if len(written) > _WRITTEN_MAX:
            raise NoJson("is larger than 1 MiB")
        _keep_null(written.count("null"))
    return _json(value.plain_value(), 0)


def to_text(value: object) -> str:
    """Return a value as it stands within other text.

    Raises:
        NoJson: It is null, a list or a mapping.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < _WHOLE_MAX:
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            kind = "null" if value is None else "a list or a mapping"
            raise NoJson(f"is {kind}, which has no place in text")


def _keep_null(count: int) -> None:
    """Give the library the references to None that it forgets to take.

    For each null in a list or mapping, cel-expr-python 0.1.3 gives away one that it does not have; before Python 3.12,
    where None is not immortal, that ends the process after some thousands. One too many does no harm.
    """
    for _ in range(count):
        ctypes.pythonapi.Py_IncRef(_NULL)


def _json(value: Any, depth: int) -> Any:
    match value:
        case None | str() | bool():
            return value
        case int() if INT_MIN <= value <= INT_MAX:
            return value
        case float() if isfinite(value):
            return value
        case list() if depth < _DEPTH_MAX:
            return [_json(item, depth + 1) for item in value]
        case dict() if depth < _DEPTH_MAX:
            return _mapping(value, depth)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case timedelta():
            seconds = value / _SECOND
            return int(seconds) if seconds.is_integer() else seconds
        case _:
            raise NoJson(_refusal(value))


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in value):
        raise NoJson("has a mapping whose fields are not named by text; convert them with string()")
    # The library's order is another one in each process.
    return {key: _json(value[key], depth + 1) for key in sorted(value)}


def _refusal(value: object) -> str:
    match value:
        case int():
            return "is a number beyond 64 bits"
        case float():
            return "is not a number that JSON has"
        case list() | dict():
            return f"is nested deeper than {_DEPTH_MAX} lists and mappings"
        case bytearray():
            return "is bytes; convert them with string()"
        case _:
            return "is a type, not a value"
