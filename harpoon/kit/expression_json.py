"""Values of the library as JSON, and as text."""

import ctypes
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final, NoReturn

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
    convert = _KINDS.get(type(value))
    if convert is None:
        raise NoJson("is a type, not a value")
    return convert(value, depth)


def _same(value: Any, _depth: int) -> Any:
    return value


def _whole(value: int, _depth: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise NoJson("is a number beyond 64 bits")
    return value


def _number(value: float, _depth: int) -> float:
    if not isfinite(value):
        raise NoJson("is not a number that JSON has")
    return value


def _list(value: list[Any], depth: int) -> list[Any]:
    _check_depth(depth)
    return [item if type(item) in _SAFE else _json(item, depth + 1) for item in value]


def _mapping(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    if not all(isinstance(key, str) for key in value):
        raise NoJson("has a mapping whose fields are not named by text; convert them with string()")
    # The library's order is another one in each process.
    return {key: _json(value[key], depth + 1) for key in sorted(value)}


def _check_depth(depth: int) -> None:
    if depth >= _DEPTH_MAX:
        raise NoJson(f"is nested deeper than {_DEPTH_MAX} lists and mappings")


def _time(value: datetime, _depth: int) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _span(value: timedelta, _depth: int) -> float:
    seconds = value / _SECOND
    return int(seconds) if seconds.is_integer() else seconds


def _bytes(_value: bytearray, _depth: int) -> NoReturn:
    raise NoJson("is bytes; convert them with string()")


_KINDS: Final[Mapping[type, Callable[[Any, int], Any]]] = {
    type(None): _same,
    bool: _same,
    str: _same,
    int: _whole,
    float: _number,
    list: _list,
    dict: _mapping,
    datetime: _time,
    timedelta: _span,
    bytearray: _bytes,
}
#: Of these every value is one of JSON.
_SAFE: Final = frozenset({type(None), bool, str})
