"""One line of a segment: how it is written with its checksum, and what it says."""

import base64
import binascii
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from harpoon.store.cluster import Cluster
from harpoon.store.port import Change, Entry

FORMAT: Final = "harpoon-history"
#: Of the format; a segment with a higher one is of a later release.
V: Final = 1
#: Entries of a snapshot are written by about so many bytes a line.
PIECE_BYTES: Final = 64 << 10
#: Of one line: a revision writes at most 1 MiB in each commit, of which a store may put many into one.
LINE_BYTES_MAX: Final = 64 << 20
_SUM_BYTES: Final = 9
#: More than any revision or clock comes to.
_WHOLE_MAX: Final = 10**18


class Damaged(ValueError):
    """A line is not what was written there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a segment is of."""

    about: Cluster
    #: The snapshot's.
    revision: int
    #: When that was seen, UTC milliseconds.
    at_ms: int
    #: The segment before ends at this very revision. False: what lies between is missing.
    continues: bool
    #: Why it does not.
    reason: str = ""


class Whole(NamedTuple):
    """The snapshot is complete."""

    entries: int


class Record(NamedTuple):
    """One whole revision; without changes: that nothing else happened up to it, until that time."""

    revision: int
    #: When it was seen here, UTC milliseconds; never less than that of the record before.
    at_ms: int
    changes: tuple[Change, ...]
    #: It was asked for later, so all that is known of its time is that it lies between those of its neighbours.
    is_late: bool = False


class End(NamedTuple):
    """The segment goes on in another one."""

    revision: int
    at_ms: int


Item = Header | tuple[Entry, ...] | Whole | Record | End


def sealed(told: bytes) -> bytes:
    """Return a line with its checksum and its end."""
    return b"%08x %s\n" % (zlib.crc32(told), told)


def unsealed(line: bytes) -> bytes:
    """Return what a line says.

    Raises:
        Damaged: It is torn, or not what was written.
    """
    told = line[_SUM_BYTES:-1]
    if not line.endswith(b"\n") or line[:_SUM_BYTES] != b"%08x " % zlib.crc32(told):
        raise Damaged("it is torn or damaged: its checksum is not that of what it says")
    return told


def written(item: Item) -> bytes:
    """Return the JSON of a line; of a snapshot's piece, `pieces` makes those that fit."""
    match item:
        case Header():
            told: dict[str, Any] = {
                "format": FORMAT,
                "v": V,
                "cluster": item.about.id,
                "incarnation": item.about.incarnation,
                "revision": item.revision,
                "at_ms": item.at_ms,
                "continues": item.continues,
                "reason": item.reason,
            }
        case Whole():
            told = {"whole": item.entries}
        case End():
            told = {"end": item.revision, "t": item.at_ms}
        case Record():
            told = {"r": item.revision, "t": item.at_ms}
            if item.changes:
                told["c"] = [_changed(change) for change in item.changes]
            if item.is_late:
                told["l"] = True
        case _:
            told = {"s": [[key, _value(value), created, mod] for key, value, created, mod in item]}
    return orjson.dumps(told)


def pieces(entries: Iterable[Entry]) -> Iterable[tuple[Entry, ...]]:
    """Yield entries by so many that they make a line."""
    piece, size = list[Entry](), 0
    for entry in entries:
        piece.append(entry)
        size += len(entry.key) + len(entry.value)
        if size >= PIECE_BYTES:
            yield tuple(piece)
            piece, size = [], 0
    if piece:
        yield tuple(piece)


def read(told: bytes) -> Item:
    """Return what the JSON of a line says.

    Raises:
        Damaged: It is nothing that this release writes.
    """
    try:
        said = orjson.loads(told)
    except orjson.JSONDecodeError as error:
        raise Damaged("it holds no JSON") from error
    try:
        return _item(said)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        if isinstance(error, Damaged):
            raise
        raise Damaged("it is no line of a history") from error


def _item(said: Any) -> Item:
    match said:
        case {"r": revision, "t": at_ms, **more}:
            told: Any = more.get("c", ())
            changes = tuple([_change(one, revision) for one in told])
            return Record(_number(revision), _number(at_ms), changes, _flag(more.get("l", False)))
        case {"s": list(entries)}:
            return tuple([_entry(*one) for one in entries])
        case {"whole": entries}:
            return Whole(_number(entries))
        case {"end": revision, "t": at_ms}:
            return End(_number(revision), _number(at_ms))
        case {"format": str(form), "v": v, **more} if form == FORMAT:
            if v != V:
                raise Damaged(f"its format is v {v!r:.20}, and this release reads v {V}")
            return Header(
                about=Cluster(_text(more["cluster"]), _number(more["incarnation"])),
                revision=_number(more["revision"]),
                at_ms=_number(more["at_ms"]),
                continues=_flag(more["continues"]),
                reason=_text(more["reason"]),
            )
        case _:
            raise Damaged("it is no line of a history")


def _changed(change: Change) -> Sequence[Any]:
    key, entry = change
    return (key, None, 0) if entry is None else (key, _value(entry.value), entry.create_revision)


def _change(one: Any, revision: int) -> Change:
    key, value, created = one
    entry = None if value is None else _entry(key, value, created, revision)
    return Change(_text(key), entry)


def _entry(key: Any, value: Any, created: Any, mod: Any) -> Entry:
    return Entry(_text(key), _bytes(value), _number(created), _number(mod))


def _value(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _bytes(told: Any) -> bytes:
    return told.encode() if isinstance(told, str) else base64.b64decode(told["base64"], validate=True)


def _number(told: Any) -> int:
    if type(told) is not int or not 0 <= told < _WHOLE_MAX:
        raise Damaged("a number in it is none")
    return told


def _text(told: Any) -> str:
    if not isinstance(told, str):
        raise Damaged("a text in it is none")
    return told


def _flag(told: Any) -> bool:
    if not isinstance(told, bool):
        raise Damaged("a truth value in it is none")
    return told
