"""Events of a watch, and how they are read from either encoding; whatever is not exactly that is a violation."""

import json
from dataclasses import dataclass, field
from typing import Any

NDJSON, SSE = "application/x-ndjson", "text/event-stream"
ENCODINGS = (NDJSON, SSE)


class Violation(AssertionError):
    """The server does not keep what a watch promises."""


@dataclass(frozen=True)
class Event:
    """One event; ``body`` is its JSON, whole."""

    body: dict[str, Any]

    @property
    def type(self) -> str:
        return self.body["type"]

    @property
    def revision(self) -> str:
        return self.body["revision"]

    @property
    def place(self) -> tuple[int, int]:
        """Its revision, comparable."""
        return place_of(self.revision)

    @property
    def changes(self) -> list[dict[str, Any]]:
        return self.body.get("changes", [])

    @property
    def keys(self) -> list[tuple[str, str]]:
        """What it is about: kinds and keys, in order."""
        return [(change["kind"], change["key"]) for change in self.changes or self.body.get("items", [])]

    def __repr__(self) -> str:
        return json.dumps(self.body)[:400]


def place_of(revision: str) -> tuple[int, int]:
    """The incarnation and the number of a revision."""
    incarnation, mark, number = str(revision).partition(".")
    if not (mark and incarnation.isdigit() and number.isdigit()):
        raise Violation(f"{revision!r} is no revision")
    return int(incarnation), int(number)


@dataclass
class Parser:
    """Makes events of bytes, however they are cut up."""

    encoding: str
    rest: bytes = b""
    #: Of SSE: how long to wait before coming back.
    retry_ms: int | None = None
    pieces: list[bytes] = field(default_factory=list)

    def feed(self, data: bytes) -> list[Event]:
        end = b"\n" if self.encoding == NDJSON else b"\n\n"
        # Only the seam and what is new can hold an end: long events come in many pieces.
        if end not in self.rest[-1:] + data:
            self.rest += data
            return []
        *blocks, self.rest = (self.rest + data).split(end)
        read = self._line if self.encoding == NDJSON else self._block
        return [event for block in blocks if (event := read(block)) is not None]

    def _line(self, line: bytes) -> Event:
        return _event(line)

    def _block(self, block: bytes) -> Event | None:
        fields: dict[str, str] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            if name in fields:
                raise Violation(f"{name!r} stands twice in {block[:300]!r}")
            fields[name] = value.removeprefix(" ")
        if set(fields) == {"retry"}:
            self.retry_ms = int(fields["retry"])
            return None
        if fields == {"": "bye"}:
            return Event({"type": "bye"})
        if not set(fields) <= {"id", "event", "data"}:
            raise Violation(f"fields that nobody knows: {block[:300]!r}")
        event = _event(fields.get("data", "").encode())
        if fields.get("event") != event.type or fields.get("id") != event.body.get("revision"):
            raise Violation(f"its lines tell another type or id than its data: {block[:300]!r}")
        return event


def _event(data: bytes) -> Event:
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Violation(f"this is no JSON: {data[:300]!r}") from error
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise Violation(f"this is no event: {data[:300]!r}")
    return Event(body)


def written(event: Event, encoding: str) -> bytes:
    """An event as a server writes it; what reads it back is `Parser`."""
    data = json.dumps(event.body, separators=(",", ":")).encode()
    if encoding == NDJSON:
        return data + b"\n"
    if event.type == "bye":
        return b": bye\n\n"
    id_line = f"id: {event.revision}\n" if "revision" in event.body else ""
    return f"{id_line}event: {event.type}\ndata: ".encode() + data + b"\n\n"
