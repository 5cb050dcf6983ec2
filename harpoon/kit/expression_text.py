"""Where expressions begin and end within text: ``${…}``, with ``$${`` for a literal ``${``.

An expression ends at the brace that closes it; braces of its own mappings, and those in its texts and comments, do not.
"""

import re
from typing import Final, NamedTuple

#: Characters of one expression that are looked at.
_LENGTH_MAX: Final = 4 << 10
_BEGIN: Final = re.compile(r"\$?\$\{")
_TOKEN: Final = re.compile(
    r"""
    [bB]?[rR][bB]?(?: \"{3} [\s\S]*? \"{3} | '{3} [\s\S]*? '{3} | "[^"\n\r]*" | '[^'\n\r]*' )
    | \"{3} (?: \\[\s\S] | [^\\] )*? \"{3} | '{3} (?: \\[\s\S] | [^\\] )*? '{3}
    | (?P<open> \"{3} | '{3} )
    | "(?: \\. | [^"\\\n\r] )*" | '(?: \\. | [^'\\\n\r] )*'
    | (?P<quote> ["'] )
    | //[^\n]*
    | [A-Za-z0-9_]+
    | [\s\S]
    """,
    re.VERBOSE,
)


class Broken(ValueError):
    """An expression does not end; the message says what would be right."""


class Piece(NamedTuple):
    """A part of a text: an expression, without its braces, or what stands for itself."""

    text: str
    is_expression: bool


def split(text: str) -> list[Piece]:
    """Return the parts of a text, in their order; none is empty but an empty expression.

    Raises:
        Broken: An expression is not closed.
    """
    pieces, literal, at = list[Piece](), "", 0
    while begin := _BEGIN.search(text, at):
        literal += text[at : begin.start()]
        if len(begin[0]) == 3:
            literal, at = literal + "${", begin.end()
            continue
        if literal:
            pieces.append(Piece(literal, is_expression=False))
        end = _end(text, begin.end())
        pieces.append(Piece(text[begin.end() : end], is_expression=True))
        literal, at = "", end + 1
    literal += text[at:]
    return [*pieces, Piece(literal, is_expression=False)] if literal else pieces


def _end(text: str, start: int) -> int:
    """Return where the brace stands that closes an expression."""
    open_braces = 0
    for token in _TOKEN.finditer(text, start, start + _LENGTH_MAX + 1):
        if token["open"] or token["quote"]:
            break
        if token[0] == "}" and open_braces == 0:
            return token.start()
        open_braces += {"{": 1, "}": -1}.get(token[0], 0)
    else:
        if len(text) > start + _LENGTH_MAX:
            raise Broken(f"an expression is not closed by '}}' within {_LENGTH_MAX >> 10} KiB")
        raise Broken("'${' is not closed; add '}', or write '$${' for a literal '${'")
    raise Broken("a text within '${…}' is not closed; add the quotation mark")
