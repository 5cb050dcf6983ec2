"""What is found out about an expression before it is checked or evaluated: what it uses, and what it does with it."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

#: What an expression may name beside its own variables and types; which of them there are, the caller says.
ROOTS: Final = frozenset({"inputs", "ops", "run", "item", "index"})

Part = str | int

_PATH: Final = re.compile(r"([ \t\r\n]*)([a-z]+)((?:\.[A-Za-z_][A-Za-z0-9_]*)*)[ \t\r\n]*", re.ASCII)
#: Words that the language keeps for itself; where fields may be called so, the library says.
_RESERVED: Final = frozenset(
    (
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"),
        *("namespace", "null", "package", "return", "true", "var", "void", "while"),
    )
)


class Use(NamedTuple):
    """A place where a root is named, with the fields and elements taken of it."""

    root: str
    parts: tuple[Part, ...]
    #: In ``has(inputs.order.id)``: ``id``; the rest is in ``parts``.
    asked: str | None
    #: Where it begins, in characters of the text.
    offset: int
    #: How many loops it is in the body of.
    depth: int
    #: How often it is copied on its way up.
    copies: int
    #: It is what a loop goes over.
    is_range: bool = False


class Turn(NamedTuple):
    """A place where the variable of a loop is named."""

    #: How many loops there are between, and how often it is copied on its way up.
    depth: int
    copies: int


class Loop(NamedTuple):
    """A loop."""

    #: How many it is in the body of.
    depth: int
    #: It makes a list.
    is_list: bool
    #: What it goes over is a part of an element of the loop around it.
    is_of_element: bool


class Fixed(NamedTuple):
    """Work that does not depend on values: so many bytes a round of so many loops."""

    depth: int
    bytes: int


class Tree(NamedTuple):
    """What was found in one expression."""

    uses: tuple[Use, ...]
    turns: tuple[Turn, ...]
    loops: tuple[Loop, ...]
    fixed: tuple[Fixed, ...]
    #: Elements of the longest list or mapping that is written out; how often lists may be joined that loops go over.
    longest: int
    joins: int
    #: Names of fields and texts that stand in the expression, so that messages may tell them.
    words: frozenset[str]
    #: What is wrong with it.
    faults: tuple[str, ...]


def plain(text: str, roots: Iterable[str]) -> Tree | None:
    """Find it out at once, for an expression that is one path and nothing else, as most are; None: it is not."""
    match = _PATH.fullmatch(text)
    if match is None or match[2] not in roots:
        return None
    parts = tuple(match[3].split(".")[1:])
    if not _RESERVED.isdisjoint(parts):
        return None
    use = Use(match[2], parts, None, len(match[1]), 0, 0)
    return Tree((use,), (), (), (), 0, 0, frozenset(parts), ())
