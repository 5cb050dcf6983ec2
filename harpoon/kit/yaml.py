"""Files of YAML documents, or of one JSON document, read so that nothing in them means two things.

Scalars are those of YAML 1.2's core schema: ``no``, ``on`` and ``22:22`` are text, ``012`` is twelve, only ``0o12`` is
octal. Repeated keys, tags, merge keys, keys that are not text and numbers that JSON lacks are refused; anchors may be
used, but not to make a small file large. It knows no noun: what the documents ought to hold is `kit.codec`'s to say,
and `locate` turns its pointers into places in the file.

*Why* on PyYAML's events: its own constructors follow YAML 1.1 and keep the last of two equal keys.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import orjson
import yaml

from harpoon.kit.errors import Invalid, Problem
from harpoon.kit.scalar import resolve
from harpoon.kit.strict import DEPTH_MAX, TOO_DEEP, check_text, quote

#: Bytes of one file.
SIZE_MAX = 1 << 20
#: Values of one file, and how many more of them aliases may stand for. 100 characters of text count as one more.
NODES_MAX = 200_000
ALIASED_MAX = 10_000
#: Faults listed; the reader gives up there.
FAULTS_MAX = 100

Position = tuple[int, int]

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Refused before parsing, which takes quadratic time in their number.
_TAG_DIRECTIVE = re.compile(r"(?:\A|[\r\n])%TAG")
_SURROGATES = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)", re.IGNORECASE | re.DOTALL)
#: What the parser says → what would be right.
_ADVICE = {
    "could not find expected ':'": "expected ':' after the name of a field",
    "did not find expected '-' indicator": "expected '- ' and another item of the list; check the indentation",
    "did not find expected <document start>": "expected the end of the document, or '---' before another",
    "did not find expected key": "expected a field; check the indentation",
    "found character that cannot start any token": "this character cannot start a value; put the text in quotes",
    "found unexpected end of stream": "a text is not closed before the end of the file",
    "mapping values are not allowed in this context": "a ':' in the wrong place; put the text in quotes, or indent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a file; ``value`` is what JSON can hold, and may share parts with itself: do not change it."""

    value: object
    #: The file's name, as in messages.
    source: str
    #: JSON pointer → (line, column) from 1; of a field where its name stands. Inside of what an alias stands for: none.
    positions: Mapping[str, Position]


def load_documents(text: str | bytes, source: str) -> list[Document]:
    """Read all documents of a file; empty ones are left out.

    Raises:
        Invalid: It cannot be read in exactly one way. The message begins with ``file:line:column``; such are also the
            pointers of the problems.
    """
    checked = _check(text, source)
    reader = _Reader(source, checked)
    try:
        documents = reader.documents()
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reader.note(*_syntax(error, checked))
        documents = []
    except _HopelessError:
        documents = []
    if reader.problems:
        more = f" (and {len(reader.problems) - 1} more)" if len(reader.problems) > 1 else ""
        raise Invalid(f"{reader.problems[0].pointer}: {reader.problems[0].detail}{more}", reader.problems)
    return documents


def locate(document: Document, pointer: str) -> str:
    """Return ``file:line:column`` of what a JSON pointer names, or of the nearest thing around it that is there."""
    while pointer and pointer not in document.positions:
        pointer = pointer.rpartition("/")[0]
    line, column = document.positions.get(pointer, (1, 1))
    return f"{document.source}:{line}:{column}"


def to_json(document: Document) -> bytes:
    """Write the document as JSON, such as `kit.codec.decode` and servers read."""
    return orjson.dumps(document.value)


def _check(text: str | bytes, source: str) -> str:
    """Return what is left to be parsed, once it is small enough and made of characters that can be seen."""
    if len(text) > SIZE_MAX:
        raise _refusal(source, (1, 1), f"larger than {SIZE_MAX >> 20} MiB; split the file")
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        raise _refusal(source, _position(before, len(before)), "not UTF-8 text; save the file as UTF-8") from error
    text = decoded.removeprefix("\ufeff")
    if match := _UNPRINTABLE.search(text):
        detail = f"the character U+{ord(match[0]):04X}; remove it, or write it as an escape in double quotes"
        raise _refusal(source, _position(text, match.start()), detail)
    if "%TAG" in text and (match := _TAG_DIRECTIVE.search(text)):
        raise _refusal(source, _position(text, match.end()), "tags are not read; remove the %TAG line")
    # JSON writes a character beyond 16 bits as a pair of escapes, which YAML does not know. It moves columns by two.
    return _SURROGATES.sub(_join_pair, text) if text.lstrip()[:1] in ("{", "[") else text


def _position(text: str, index: int) -> Position:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _refusal(source: str, position: Position, detail: str) -> Invalid:
    place = f"{source}:{position[0]}:{position[1]}"
    return Invalid(f"{place}: {detail}", [Problem(pointer=place, detail=detail)])


def _join_pair(match: re.Match[str]) -> str:
    if not match[1]:
        return match[0]
    return f"\\U{0x10000 + ((int(match[1], 16) - 0xD800) << 10) + int(match[2], 16) - 0xDC00:08x}"


def _syntax(error: Exception, text: str) -> tuple[Position, str]:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "cannot be read as YAML"
    if mark is None:
        return (1, 1), problem
    is_tab = text[mark.index : mark.index + 1] == "\t"
    problem = "a tab; indent with spaces" if is_tab else _ADVICE.get(problem, problem)
    context, start = getattr(error, "context", None), getattr(error, "context_mark", None)
    if context and start and start.line != mark.line:
        problem += f" ({context} that starts in line {start.line + 1})"
    return (mark.line + 1, mark.column + 1), problem


class _HopelessError(Exception):
    """What is wrong makes reading on useless; it has been noted."""


class _Anchor(NamedTuple):
    value: object
    #: Values in it, those behind aliases and itself too.
    size: int
    #: Lists and mappings within each other in it.
    height: int


class _Reader:
    """Makes documents of events; goes on after a fault where that makes sense, to tell more of them."""

    def __init__(self, source: str, text: str) -> None:
        self.problems: list[Problem] = []
        self._source = source
        # The C parser is in every wheel; without it the same events come slower.
        parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self._next: Callable[[], Any] = parser.get_event
        #: None while what it names is still being read.
        self._anchors: dict[str, _Anchor | None] = {}
        self._positions: dict[str, Position] = {}
        self._size = 0
        self._aliased = 0
        #: The deepest that this document, or the value being read for an anchor, has reached.
        self._deepest = 0

    def documents(self) -> list[Document]:
        """Read them all; raises what PyYAML raises, and `_HopelessError`."""
        documents = []
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if event.version not in (None, (1, 2)):
                self._note(event, "expected YAML 1.2; remove the %YAML line")
            root = self._next()
            self._anchors, self._deepest = {}, 0
            self._positions = {"": _start(root)}
            value = self._value(root, "", 1)
            if value is not None or root.start_mark.index != root.end_mark.index:
                documents.append(Document(value=value, source=self._source, positions=self._positions))
        return documents

    def note(self, position: Position, detail: str) -> None:
        """Add a problem."""
        place = f"{self._source}:{position[0]}:{position[1]}"
        self.problems.append(Problem(pointer=place, detail=detail))

    def _note(self, event: Any, detail: str) -> None:
        self.note(_start(event), detail)
        if len(self.problems) >= FAULTS_MAX:
            raise _HopelessError

    def _give_up(self, event: Any, detail: str) -> NoReturn:
        self.note(_start(event), detail)
        raise _HopelessError

    def _value(self, event: Any, pointer: str, depth: int) -> object:
        if event.anchor is None:
            return self._read(event, pointer, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._anchors[event.anchor] = None
        size, deepest = self._size, self._deepest
        self._deepest = depth - 1
        value = self._read(event, pointer, depth)
        self._anchors[event.anchor] = _Anchor(value, self._size - size, self._deepest - depth + 1)
        self._deepest = max(self._deepest, deepest)
        return value

    def _read(self, event: Any, pointer: str, depth: int) -> object:
        self._size += 1
        if self._size > NODES_MAX:
            self._give_up(event, f"more than {NODES_MAX} values; split the file")
        if event.tag is not None:
            tag = quote(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self._note(event, f"the tag {tag}; tags are not read, write the value plainly")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if depth > DEPTH_MAX:
            self._give_up(event, TOO_DEEP)
        self._deepest = max(self._deepest, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(pointer, depth + 1)
        return self._mapping(pointer, depth + 1)

    def _list(self, pointer: str, depth: int) -> list[object]:
        items: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            inner = f"{pointer}/{len(items)}"
            self._positions[inner] = _start(event)
            items.append(self._value(event, inner, depth))
        return items

    def _mapping(self, pointer: str, depth: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, pointer, depth)
            inner = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in mapping:
                line = self._positions[inner][0]
                self._note(event, f"the field {quote(key)} stands twice, first in line {line}; keep one")
            self._positions[inner] = _start(event)
            mapping[key] = self._value(self._next(), inner, depth)
        return mapping

    def _key(self, event: Any, pointer: str, depth: int) -> str:
        """Return the name of a field; when it is refused, one that no other has."""
        key = self._value(event, f"{pointer}/", depth)
        is_scalar = isinstance(event, yaml.ScalarEvent)
        if is_scalar and key == "<<" and event.implicit[0]:
            self._note(event, "merge keys (<<) are not read; write the fields out")
        elif isinstance(key, str):
            return key
        else:
            written = f", such as {quote(event.value)}" if is_scalar and event.value else ""
            self._note(event, f"the name of a field is text; put it in quotes{written}")
        return f"\x00{self._size}"

    def _alias(self, event: Any, depth: int) -> object:
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            is_open = event.anchor in self._anchors
            where = "stands inside of what it names" if is_open else "names nothing above it in this document"
            self._note(event, f"the alias *{quote(event.anchor)[1:-1]} {where}")
            return None
        self._size += anchor.size
        self._aliased += anchor.size
        if self._aliased > ALIASED_MAX:
            self._give_up(event, f"aliases stand for more than {ALIASED_MAX} values; write fewer of them")
        self._deepest = max(self._deepest, depth - 1 + anchor.height)
        if self._deepest > DEPTH_MAX:
            self._give_up(event, TOO_DEEP)
        return anchor.value

    def _scalar(self, event: Any) -> object:
        text: str = event.value
        self._size += len(text) // 100
        value, fault = resolve(text) if event.implicit[0] else (text, check_text(text))
        if fault is not None:
            self._note(event, fault)
        return value


def _start(event: Any) -> Position:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1
