"""What the source says of a noun: its docstring, and the comments before its fields and members that begin ``#:``.

The source is installed with the package. Where it is not, nouns have no descriptions, and nothing else changes.
"""

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

_MARK = "#:"
_NONE: Mapping[str, str] = MappingProxyType({})


def description(kind: Any) -> str:
    """Return a noun's docstring, in Markdown."""
    return _markdown(inspect.getdoc(kind) or "")


def comments(kind: Any) -> Mapping[str, str]:
    """Return what is said of the fields of a dataclass, or of the members of an enumeration, by their names."""
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        found |= _of_module(parent.__module__).get(parent.__qualname__, _NONE)
    return found


@cache
def _of_module(module: str) -> Mapping[str, Mapping[str, str]]:
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError):
        return {}
    lines = source.splitlines()
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return {node.name: dict(_of_class(node, lines)) for node in classes}


def _of_class(node: ast.ClassDef, lines: list[str]) -> list[tuple[str, str]]:
    found = []
    for statement in node.body:
        target: ast.expr | None = None
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        if isinstance(target, ast.Name) and (text := _before(statement.lineno - 1, lines)):
            found.append((target.id, text))
    return found


def _before(end: int, lines: list[str]) -> str:
    """Return the comment that ends right before a line."""
    start = end
    while lines[start - 1].strip().startswith(_MARK):
        start -= 1
    return _markdown(" ".join(line.strip().removeprefix(_MARK).strip() for line in lines[start:end]))


def _markdown(text: str) -> str:
    return text.replace("``", "`")
