"""Durations, sizes and processor shares as users write them, and their canonical spelling.

The annotated types tell ``kit.codec`` how to read and write a field. A marker describes its schema with the
plain dictionaries that pydantic takes, so that this floor needs nothing but the standard library.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)", re.ASCII)
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_SIZE = re.compile(r"(\d{1,19})(Ki|Mi|Gi|Ti|k|M|G|T)?", re.ASCII)
_BYTES = {
    "Ti": 1 << 40,
    "Gi": 1 << 30,
    "Mi": 1 << 20,
    "Ki": 1 << 10,
    "T": 10**12,
    "G": 10**9,
    "M": 10**6,
    "k": 10**3,
}
_CPU = re.compile(r"(\d{1,9})m|(\d{1,6})(?:\.(\d{1,3}))?", re.ASCII)

#: Modes that a file of a secret may have: its owner reads it, and nobody else writes it.
_MODES = {f"{mode:04o}": mode for mode in (0o400, 0o440, 0o444, 0o600, 0o640, 0o644)}

#: Longest duration that a manifest may name.
DURATION_MAX = timedelta(days=3650)
#: Largest size that a manifest may name: one exbibyte.
SIZE_MAX = 1 << 60


def parse_duration(text: object) -> timedelta:
    """Read ``250ms``, ``10s``, ``5m``, ``2h`` or ``7d``.

    Raises:
        ValueError: Anything else; the message says what would be right.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("write a duration as a whole number and a unit: 250ms, 10s, 5m, 2h, or at most 3650d")
    milliseconds = int(match[1]) * _MILLISECONDS[match[2]]
    if milliseconds > DURATION_MAX / timedelta(milliseconds=1):
        raise ValueError("a duration is at most 3650d")
    return timedelta(milliseconds=milliseconds)


@lru_cache(maxsize=1024)
def format_duration(span: timedelta) -> str:
    """Write ``span`` with the largest unit that leaves a whole number; the inverse of `parse_duration`."""
    milliseconds = round(span / timedelta(milliseconds=1))
    for unit, factor in _MILLISECONDS.items():
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return "0s"


def parse_size(text: object) -> int:
    """Read ``64Mi``, ``1Gi``, ``500M`` or a plain number of bytes.

    Raises:
        ValueError: Anything else; the message says what would be right.
    """
    plain = str(text) if isinstance(text, int) and not isinstance(text, bool) else text
    match = _SIZE.fullmatch(plain) if isinstance(plain, str) else None
    if match is None:
        raise ValueError('write a size as a number and a unit, such as "64Mi", "1Gi" or a plain number of bytes')
    size = int(match[1]) * _BYTES.get(match[2] or "", 1)
    if size > SIZE_MAX:
        raise ValueError("a size is at most 1048576Ti")
    return size


@lru_cache(maxsize=1024)
def format_size(size: int) -> str:
    """Write ``size`` (bytes) with the largest binary unit that leaves a whole number."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def parse_cpu(text: object) -> int:
    """Read ``500m``, ``0.5`` or ``2`` as thousandths of a processor.

    Raises:
        ValueError: Anything else; the message says what would be right.
    """
    plain = str(text) if isinstance(text, int | float) and not isinstance(text, bool) else text
    match = _CPU.fullmatch(plain) if isinstance(plain, str) else None
    if match is None:
        raise ValueError('write cpu as "500m" (thousandths of a processor) or as a number such as 0.5')
    if match[1] is not None:
        return int(match[1])
    return int(match[2]) * 1000 + int((match[3] or "").ljust(3, "0"))


@lru_cache(maxsize=1024)
def format_cpu(millicores: int) -> str:
    """Write thousandths of a processor as ``500m``."""
    return f"{millicores}m"


def parse_mode(text: object) -> int:
    """Read ``0400``: octal digits, as text or as a number, which loses the zero. None reads as another one.

    Raises:
        ValueError: Anything else; the message says what would be right.
    """
    plain = str(text) if isinstance(text, int) and not isinstance(text, bool) else text
    mode = _MODES.get(plain.rjust(4, "0")) if isinstance(plain, str) else None
    if mode is None:
        raise ValueError(f"a mode is one of {', '.join(_MODES)}; put it in quotes")
    return mode


def format_mode(mode: int) -> str:
    """Write a mode in octal digits; the inverse of `parse_mode`."""
    return f"{mode:04o}"


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Marks a field whose text form is not its value: how to parse and how to write it. It equals itself alone."""

    parse: Callable[[object], Any]
    format: Callable[[Any], str]
    #: What the value is inside the process, such as ``timedelta`` or ``int``.
    inner: type
    #: What it is called.
    name: str
    #: What may be written, as JSON Schema.
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> dict[str, Any]:
        """Describe parsing and writing to pydantic, in its own plain dictionaries."""
        return {
            "type": "function-plain",
            "function": {"type": "no-info", "function": self._accept},
            "serialization": {"type": "function-plain", "function": self.format},
        }

    def _accept(self, value: object) -> object:
        is_parsed = isinstance(value, timedelta) and self.inner is timedelta
        return value if is_parsed else self.parse(value)


Duration = Annotated[
    timedelta,
    Unit(
        parse_duration,
        format_duration,
        timedelta,
        "duration",
        {"type": "string", "pattern": "^[0-9]{1,12}(ms|s|m|h|d)$", "examples": ["250ms", "10s", "5m"]},
    ),
]
Size = Annotated[
    int,
    Unit(
        parse_size,
        format_size,
        int,
        "size",
        {
            "type": ["string", "integer"],
            "pattern": "^[0-9]{1,19}(Ki|Mi|Gi|Ti|k|M|G|T)?$",
            "minimum": 0,
            "maximum": SIZE_MAX,
            "examples": ["64Mi", "1Gi"],
        },
    ),
]
FileMode = Annotated[
    int,
    Unit(
        parse_mode,
        format_mode,
        int,
        "mode",
        {"type": ["string", "integer"], "examples": list(_MODES)},
    ),
]
Cpu = Annotated[
    int,
    Unit(
        parse_cpu,
        format_cpu,
        int,
        "cpu",
        {
            "type": ["string", "number"],
            "pattern": r"^([0-9]{1,9}m|[0-9]{1,6}(\.[0-9]{1,3})?)$",
            "minimum": 0,
            "maximum": 999_999.999,
            "examples": ["500m", 0.5],
        },
    ),
]
