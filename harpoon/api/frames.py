"""How events are written into a stream: server-sent events, or one JSON object a line. Both carry the same JSON."""

from collections.abc import Sequence
from enum import StrEnum

from aiohttp import web

from harpoon.api.problem import Refused


class Encoding(StrEnum):
    """The media types of streams."""

    SSE = "text/event-stream"
    NDJSON = "application/x-ndjson"


def negotiate(request: web.Request, *, among: Sequence[str]) -> str:
    """Return the media type to answer with: the first that ``Accept`` names and ``among`` has; its first for ``*/*``.

    Raises:
        Refused: 406, when it wants none of them.
    """
    accepted = ",".join(request.headers.getall("Accept", ["*/*"]))
    for part in accepted.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in among:
            return kind
        if kind == "*/*":
            return among[0]
    raise Refused(406, f"this is told as {' or '.join(among)}; put one of them into Accept")


def event_json(type_: str, revision: str, **members: bytes) -> bytes:
    """Return the JSON of an event; members are JSON already."""
    more = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in members.items())
    return b'{"type":"%s","revision":"%s"%s}' % (type_.encode(), revision.encode(), more)


def frame(encoding: Encoding, type_: str, revision: str, body: bytes) -> bytes:
    """Write one event, given its JSON, which holds no line break."""
    return frame_head(encoding, type_, revision) + body + frame_tail(encoding)


def frame_head(encoding: Encoding, type_: str, revision: str) -> bytes:
    """Return what comes before the JSON of an event; without a revision it cannot be resumed from."""
    if encoding is Encoding.NDJSON:
        return b""
    id_line = f"id: {revision}\n" if revision else ""
    return f"{id_line}event: {type_}\ndata: ".encode()


def frame_tail(encoding: Encoding) -> bytes:
    """Return what comes after the JSON of an event."""
    return b"\n" if encoding is Encoding.NDJSON else b"\n\n"


def error_frame(encoding: Encoding, body: bytes) -> bytes:
    """Write the event that tells why the stream ends; nothing can be resumed from it, so it has no id."""
    return frame(encoding, "error", "", body)


def gone_frame(encoding: Encoding, oldest: str) -> bytes:
    """Write the event that tells that the history is gone which comes next, and from which revision on it is kept."""
    return error_frame(encoding, b'{"type":"error","code":"gone","oldest":"%s"}' % oldest.encode())


def bye_frame(encoding: Encoding) -> bytes:
    """Write the last word of an instance that drains; a reader may come back at once, elsewhere or here."""
    return b'{"type":"bye"}\n' if encoding is Encoding.NDJSON else b": bye\n\n"
