"""Objects as lines of text, for eyes: no braces, no quotes, nothing that is not set."""

from collections.abc import Iterator, Mapping
from typing import Any

from harpoon.cli import figures, terminal


def lines(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each field, and one for each entry of a list."""
    width = max((len(key) for key in value), default=0)
    for key, inner in value.items():
        title = f"{_word(key).capitalize()}:".ljust(width + 3)
        if isinstance(inner, list) and inner:
            yield title.rstrip()
            for one in inner:
                yield f"  - {inline(one)}"
        else:
            yield (title + _field(key, inner)).rstrip()


def inline(value: Any) -> str:
    """Write a value on one line, without braces and quotes."""
    if isinstance(value, Mapping):
        told = {key: inner for key, inner in value.items() if inner not in (None, "", {}, [])}
        return ", ".join(f"{_word(key)} {_field(key, inner)}" for key, inner in told.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(inline, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return terminal.plain(str(value)) if value not in (None, "") else "-"


def _word(key: str) -> str:
    return terminal.plain(key).removesuffix("_ms").replace("_", " ")


def _field(key: str, value: Any) -> str:
    if key.endswith("_ms"):
        return f"{figures.age(value) or '-'} ago"
    return inline(value)
