"""What templates are made of: expressions, texts with expressions in them, lists and mappings of such."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, assert_never

import orjson

from harpoon.kit.expression_json import NoJson, to_text
from harpoon.kit.expression_names import Type, type_of_value
from harpoon.kit.expression_program import Failed, Program
from harpoon.kit.strict import QUOTE_MAX

#: Bytes of JSON that one template gives at most.
RESULT_MAX: Final = 1 << 20

Json = Any


class Expression(NamedTuple):
    """One ``${…}``."""

    text: str
    program: Program
    #: Where it stands, as a JSON pointer.
    pointer: str

    @property
    def refs(self) -> frozenset[str]:
        """What it uses, such as ``inputs.order``, ``ops.pay_back.output``, ``run.id`` and ``item``."""
        return self.program.refs

    def value(self, scope: Mapping[str, Json]) -> Json:
        """Return what it gives.

        Raises:
            Failed: It gives nothing, or nothing that JSON has, or too much.
        """
        return self.measured(scope)[0]

    def measured(self, scope: Mapping[str, Json]) -> tuple[Json, int]:
        """Return what it gives, and how many bytes of JSON that is."""
        try:
            value = self.program.value(scope)
            size = len(orjson.dumps(value))
        except Failed as error:
            raise self.failed(str(error)) from error
        except TypeError as error:
            raise self.failed("the result is no JSON") from error
        if size > RESULT_MAX:
            raise self.failed(f"the result is larger than {RESULT_MAX >> 20} MiB")
        return value, size

    def failed(self, why: str) -> Failed:
        """Return the error that tells where it failed, and why."""
        return Failed(f"{self.pointer or '/'}: {quoted(self.text)}: {why}")


class Joined(NamedTuple):
    """Text with expressions in it."""

    parts: tuple[str | Expression, ...]


class Items(NamedTuple):
    """A list in which there are expressions."""

    items: tuple["Part", ...]


class Fields(NamedTuple):
    """A mapping in which there are expressions."""

    fields: tuple[tuple[str, "Part"], ...]


class Fixed(NamedTuple):
    """What has no expression in it."""

    value: Json


Part = Fixed | Expression | Joined | Items | Fields


class Room:
    """How many bytes of JSON a value may still take."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, size: int, expression: Expression) -> None:
        """Take room for what an expression gives.

        Raises:
            Failed: There is none left.
        """
        self.left -= size
        if self.left < 0:
            raise expression.failed(f"what it is part of is larger than {RESULT_MAX >> 20} MiB")


def fill(part: Part, scope: Mapping[str, Json], room: Room) -> Json:
    """Put values in place of expressions."""
    match part:
        case Fixed(value):
            return value
        case Expression():
            value, size = part.measured(scope)
            room.take(size, part)
            return value
        case Joined(parts):
            return "".join(one if isinstance(one, str) else _text_of(one, scope, room) for one in parts)
        case Items(items):
            return [fill(item, scope, room) for item in items]
        case Fields(fields):
            return {name: fill(field, scope, room) for name, field in fields}
        case _:
            assert_never(part)


def _text_of(expression: Expression, scope: Mapping[str, Json], room: Room) -> str:
    value, size = expression.measured(scope)
    room.take(size, expression)
    try:
        return to_text(value)
    except NoJson as error:
        raise expression.failed(f"it {error}") from error


def expressions(part: Part) -> Iterator[Expression]:
    """Give the expressions in a part, in their order."""
    match part:
        case Expression():
            yield part
        case Joined(parts):
            yield from (one for one in parts if isinstance(one, Expression))
        case Items(items):
            for item in items:
                yield from expressions(item)
        case Fields(fields):
            for _, field in fields:
                yield from expressions(field)
        case _:
            pass


def type_of(part: Part) -> Type:
    """Return the type of what a part gives, as far as is known."""
    match part:
        case Expression():
            return part.program.type
        case Joined():
            return Type.TEXT
        case Items():
            return Type.LIST
        case Fields():
            return Type.MAPPING
        case Fixed(value):
            return type_of_value(value)
        case _:
            assert_never(part)


def quoted(text: str) -> str:
    """Return an expression as messages tell it: cut short, on one line."""
    shown = text.strip()
    shown = shown if len(shown) <= QUOTE_MAX else f"{shown[:QUOTE_MAX]}…"
    return f"${{{shown if shown.isprintable() else repr(shown)[1:-1]}}}"
