"""Parsed expressions as the library serializes them: `cel.expr.ParsedExpr`, in protobuf's wire format.

The library hands out no tree, only these bytes, so the few messages of that published format are read here. It is
not a reader of protobuf: of what a peer may send, nothing comes here.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

_PARSED: Final = 2
_SOURCE: Final = 3
_POSITIONS: Final = 4
_VARINT, _EIGHT_BYTES = 0, 1

Field = int | bytes


class Kind(IntEnum):
    """What a node is; the numbers are those of ``cel.expr.Expr``."""

    LITERAL = 3
    NAME = 4
    SELECT = 5
    CALL = 6
    LIST = 7
    MAPPING = 8
    LOOP = 9


class Node(NamedTuple):
    """One node: its number, and the fields of what it is."""

    id: int
    kind: Kind
    fields: dict[int, list[Field]]

    def text(self, field: int) -> str:
        """Return a field that is text; empty where it is absent."""
        value = self.fields.get(field, [b""])[0]
        return value.decode() if isinstance(value, bytes) else ""

    def child(self, field: int) -> "Node":
        """Return a field that is one node."""
        return node(_bytes(self.fields[field][0]))

    def children(self, field: int) -> list["Node"]:
        """Return a field that is any number of nodes."""
        return [node(_bytes(value)) for value in self.fields.get(field, [])]


class Source(NamedTuple):
    """What an expression was parsed to."""

    root: Node
    #: Number of a node → where in the text it stands, in characters.
    offsets: dict[int, int]


def parsed(serialized: bytes) -> Source:
    """Read what `Expression.serialize` gave for an expression that was compiled without being checked."""
    message = _message(_bytes(_message(serialized)[2][0]))
    offsets = {}
    for entry in _message(_bytes(message[_SOURCE][0])).get(_POSITIONS, []):
        pair = _message(_bytes(entry))
        offsets[_int(pair[1][0])] = _int(pair.get(2, [0])[0])
    return Source(node(_bytes(message[_PARSED][0])), offsets)


def node(data: bytes) -> Node:
    """Read a node; those in it are read as they are asked for."""
    fields = _message(data)
    kind = next(kind for kind in Kind if kind in fields)
    return Node(_int(fields[2][0]), kind, _message(_bytes(fields[kind][0])))


def entries(mapping: Node) -> Iterator[tuple[Node, Node]]:
    """Give the keys and values of a mapping that is written out."""
    for entry in mapping.fields.get(2, []):
        pair = _message(_bytes(entry))
        yield node(_bytes(pair[3][0])), node(_bytes(pair[4][0]))


def literal(value: Node) -> str | int | None:
    """Return the text or the whole number that is written out, or None where it is something else."""
    match value:
        case Node(kind=Kind.LITERAL, fields={6: [bytes() as text]}):
            return text.decode()
        case Node(kind=Kind.LITERAL, fields={3: [int() as number]}):
            return number - (1 << 64) if number >> 63 else number
        case _:
            return None


def _bytes(value: Field) -> bytes:
    assert isinstance(value, bytes)
    return value


def _int(value: Field) -> int:
    assert isinstance(value, int)
    return value


def _message(data: bytes) -> dict[int, list[Field]]:
    """Return the fields of one message by their numbers, in their order."""
    fields: dict[int, list[Field]] = {}
    at = 0
    while at < len(data):
        # Numbers of fields are below 16, so that a tag is one byte.
        tag = data[at]
        value: Field
        if tag & 7 == _VARINT:
            value, at = _varint(data, at + 1)
        else:
            size, at = (8, at + 1) if tag & 7 == _EIGHT_BYTES else _varint(data, at + 1)
            value, at = data[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
    return value | byte << shift, at + 1
