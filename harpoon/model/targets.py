"""How the targets of an edge, and shares of a clock, are written."""

import re
from typing import Annotated, Final

from harpoon.model.units import Unit

#: Operations that one label may open, or one ``needs`` may join.
TARGETS_MAX: Final = 10_000
_PERCENT: Final = re.compile(r"([1-9][0-9]?)%", re.ASCII)


def check_each_once(what: str, names: tuple[str, ...]) -> None:
    """Check that each of some names is there once.

    Raises:
        ValueError: One is there twice.
    """
    if len(names) != len(set(names)):
        seen = set[str]()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{what} names {twice[:80]} twice; name it once")


def parse_targets(text: object) -> tuple[str, ...]:
    """Read the name of one operation, or a list of them.

    Raises:
        ValueError: It is neither, empty, or names one twice.
    """
    names = [text] if isinstance(text, str) else text
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("write the name of an operation, or a list of at least one: next: {done: tell, fail: [a, b]}")
    if len(names) > TARGETS_MAX:
        raise ValueError(f"one label opens at most {TARGETS_MAX} operations")
    check_each_once("an edge", tuple(names))
    return tuple(names)


def format_targets(targets: tuple[str, ...]) -> str | list[str]:
    """Write targets as they are written by hand: one as its name."""
    return targets[0] if len(targets) == 1 else list(targets)


def parse_percent(text: object) -> int:
    """Read ``80%``.

    Raises:
        ValueError: It is not 1% to 99%.
    """
    match = _PERCENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('write a share of a clock as "1%" to "99%", such as "80%"')
    return int(match[1])


def format_percent(percent: int) -> str:
    """Write a share of a hundred; the inverse of `parse_percent`."""
    return f"{percent}%"


Targets = Annotated[
    tuple[str, ...],
    Unit(
        parse_targets,
        format_targets,
        tuple,
        "name or list of names",
        {
            "type": ["string", "array"],
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": TARGETS_MAX,
            "uniqueItems": True,
            "examples": ["tell", ["a", "b"]],
        },
    ),
]
Percent = Annotated[
    int,
    Unit(
        parse_percent,
        format_percent,
        int,
        "percent",
        {"type": "string", "pattern": "^[1-9][0-9]?%$", "examples": ["80%"]},
    ),
]
