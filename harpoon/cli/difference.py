"""What differs between two forms of a job, a line for each value: ``+`` new, ``-`` gone, ``~`` another."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from harpoon.cli import terminal

_SIGNS: Final[Mapping[str, tuple[str, str]]] = {"add": ("+", "green"), "remove": ("-", "red")}


def lines(changes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of these changes, each under the path that a manifest has it at."""
    for one in changes:
        path = path_of(one["pointer"])
        if one["op"] in _SIGNS:
            sign, colour = _SIGNS[one["op"]]
            value = one.get("new" if one["op"] == "add" else "old")
            for place, leaf in _leaves(path, value):
                yield terminal.paint(f"{sign} {terminal.plain(f'{place}: {leaf}')}", colour)
        else:
            # What is null may be left out of an edit.
            text = terminal.plain(f"{path}: {_written(one.get('old'))} -> {_written(one.get('new'))}")
            yield terminal.paint(f"~ {text}", "yellow")


def path_of(pointer: str) -> str:
    """Write a JSON pointer as paths are written: ``spec.task.checks[0].every``."""
    path = ""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        path += f"[{name}]" if name.isdigit() and path else f".{name}" if path else name
    return path


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the values within one that is new or gone as a whole; what is empty says nothing."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}[{index}]", inner)
    elif value not in (None, []):
        yield path, _written(value)


def _written(value: Any) -> str:
    """Write a value as a manifest in flow style has it; text only in quotes where it would be unclear without."""
    is_plain = isinstance(value, str) and value != "" and value.isprintable() and value == value.strip()
    return value if is_plain else json.dumps(value, ensure_ascii=False)
