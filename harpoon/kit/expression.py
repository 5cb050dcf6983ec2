"""Expressions, and templates made of them: ``${…}`` anywhere in a JSON value stands for what the expression gives.

The language is CEL, Google's Common Expression Language: no loops without end, no effects, types that are checked
before anything runs. A text that is one whole ``${…}`` becomes the value, of whatever type; within other text, the
value's text. ``$${`` is a literal ``${``. Names of fields are taken as they are.

Rules beside the language's own.

1. Named are ``inputs``, ``ops``, ``run``, and where there are such, ``item`` and ``index``; each input and
   each operation must be known when the expression is compiled. ``run.callbacks`` is absent where nothing is called.
2. An operation that has not closed is absent. ``has(ops.a.output)`` tells, and is false wherever something on the way
   is missing.
3. A number of JSON that is an input of type ``number`` is a number with a point, however it is written.
4. Everything is bounded: see `kit.expression_program` and `kit.expression_cost`.

Nothing is read or written but what is handed in. Equal scopes give equal values, but for the order of a list that is
made of the fields of a mapping that is itself made here, or part of an element: such a mapping has none.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.expression_names import Names, Type
from harpoon.kit.expression_names import type_of as type_of_schema
from harpoon.kit.expression_parts import (
    RESULT_MAX,
    Expression,
    Fields,
    Fixed,
    Items,
    Joined,
    Json,
    Part,
    Room,
    expressions,
    fill,
    quoted,
    type_of,
)
from harpoon.kit.expression_places import Wrong
from harpoon.kit.expression_program import Failed, prepare
from harpoon.kit.expression_text import Broken, split
from harpoon.kit.strict import Location, check_text, pointer

__all__ = ["Expression", "Failed", "Json", "Names", "Template", "Type", "compile_template", "type_of_schema"]

#: Lists and mappings within each other, of a template.
DEPTH_MAX: Final = 64
#: Problems of one template that are listed.
_PROBLEMS_MAX: Final = 100

_NO_TEXT: Final = {
    **dict.fromkeys((Type.LIST, Type.TEXTS, Type.NUMBERS, Type.BOOLEANS), "a list"),
    Type.MAPPING: "a mapping",
    Type.NULL: "null",
}
_WORDS: Final = {
    **_NO_TEXT,
    Type.TEXT: "text",
    Type.NUMBER: "a number",
    Type.WHOLE: "a whole number",
    Type.BOOLEAN: "true or false",
    Type.TIME: "a point in time",
    Type.SPAN: "a span of time",
}


class Template:
    """A JSON value with expressions in it; made by `compile_template`."""

    __slots__ = ("_part", "_size", "expressions", "is_constant", "refs", "type")

    def __init__(self, part: Part, size: int) -> None:
        self._part, self._size = part, size
        #: All of them, in the order of the value.
        self.expressions = tuple(expressions(part))
        self.is_constant = not self.expressions
        #: What they use, all together.
        self.refs = frozenset[str]().union(*(expression.refs for expression in self.expressions))
        #: What it gives, as far as is known before there is a scope.
        self.type = type_of(part)

    def value(self, scope: Mapping[str, Json]) -> Json:
        """Return the value for a scope: ``{"inputs": {…}, "ops": {name: {"output", "label", "visits"}}, "run": {…}}``.

        Operations that have not closed are left out of ``ops``; ``run`` has ``started_ms``. Mappings and lists within
        must be plain ones. What comes out shares parts with the scope and with the template: do not change it.

        Raises:
            Failed: An expression could not be evaluated, or the value is too large.
        """
        return fill(self._part, scope, Room(RESULT_MAX - self._size))


def compile_template(value: Json, names: Names, at: Location = (), *, expects: Type | None = None) -> Template:
    """Compile all expressions in a JSON value.

    Args:
        value: The value, such as an operation's ``input``.
        names: What its expressions may name.
        at: Where it stands in its document, for messages.
        expects: The type it must have, where only one will do; what is known only later is let through.

    Raises:
        Invalid: Something is wrong with it; ``problems`` tell all of it, each with what would be right.
    """
    compiler = _Compiler(names)
    part = compiler.part(value, at)
    size = compiler.size_of(value, at) if not isinstance(part, Fixed) else 0
    kind = type_of(part)
    if expects is not None and kind not in (expects, Type.ANY) and not compiler.problems:
        compiler.refuse(at, f"expected {_WORDS[expects]}, got {_WORDS.get(kind, 'a value of another type')}")
    if not compiler.problems:
        return Template(part, size)
    first, count = compiler.problems[0], len(compiler.problems)
    more = f" (and {count - 1} more)" if count > 1 else ""
    raise Invalid(f"{first.pointer or '/'}: {first.detail}{more}", compiler.problems[:_PROBLEMS_MAX])


class _Compiler:
    """Compiles one value, and notes what is wrong with it."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.problems: list[Problem] = []

    def refuse(self, at: Location, detail: str) -> Part:
        self.problems.append(Problem(pointer=pointer(at), detail=detail))
        return Fixed(None)

    def size_of(self, value: Json, at: Location) -> int:
        """Return how much of the room the value takes without what its expressions give; roughly."""
        try:
            return len(orjson.dumps(value))
        except TypeError:
            self.refuse(at, "it holds something that JSON does not, or numbers beyond 64 bits")
            return 0

    def part(self, value: Json, at: Location) -> Part:
        """Compile a value in the template, the template itself included."""
        if isinstance(value, str):
            return self._text(value, at) if "${" in value else Fixed(value)
        if not isinstance(value, list | dict):
            return Fixed(value)
        if len(at) >= DEPTH_MAX:
            return self.refuse(at, f"nested deeper than {DEPTH_MAX} lists and mappings; make it flatter")
        return self._items(value, at) if isinstance(value, list) else self._fields(value, at)

    def _items(self, value: list[Json], at: Location) -> Part:
        items = tuple(self.part(item, (*at, number)) for number, item in enumerate(value))
        if _are_same(items, value):
            return Fixed(value)
        return Items(items)

    def _fields(self, value: dict[str, Json], at: Location) -> Part:
        for name in value:
            if "${" in name:
                self.refuse((*at, name), "the name of a field takes no ${…}; only values do")
        parts = tuple(self.part(field, (*at, name)) for name, field in value.items())
        if _are_same(parts, list(value.values())):
            return Fixed(value)
        return Fields(tuple(zip(value, parts, strict=True)))

    def _text(self, text: str, at: Location) -> Part:
        if fault := check_text(text):
            return self.refuse(at, fault)
        try:
            pieces = split(text)
        except Broken as error:
            return self.refuse(at, str(error))
        if not any(piece.is_expression for piece in pieces):
            return Fixed("".join(piece.text for piece in pieces))
        parts = tuple(self._expression(piece.text, at) if piece.is_expression else piece.text for piece in pieces)
        if len(parts) == 1:
            return parts[0] if isinstance(parts[0], Expression) else Fixed(None)
        for part in parts:
            if isinstance(part, Expression) and (kind := _NO_TEXT.get(part.program.type)):
                self.refuse(
                    at, f"{quoted(part.text)}: {kind} has no place in text; name a field of it, or let it stand alone"
                )
        return Joined(parts)

    def _expression(self, text: str, at: Location) -> Expression | str:
        try:
            return Expression(text, prepare(text, self._names), pointer(at))
        except Wrong as error:
            for fault in error.faults:
                self.refuse(at, f"{quoted(text)}: {fault}")
            return text


def _are_same(parts: tuple[Part, ...], values: list[Json]) -> bool:
    """Whether compiling changed nothing, so that the value can be given as it is."""
    return all(isinstance(part, Fixed) and part.value is value for part, value in zip(parts, values, strict=True))
