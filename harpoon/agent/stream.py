"""The bytes of an agent's event stream: made at the agent, read at the server."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.wire import Changed, Snapshot

#: A snapshot of some 100,000 tasks.
EVENT_BYTES_MAX: Final = 64 << 20
#: Says that the agent is there, and no more.
KEEPALIVE: Final = b": \n\n"


def encode(name: str, noun: object) -> bytes:
    """Make an event of a noun."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), codec.dump(noun))


async def blocks_of(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Cut an event stream at its empty lines; each byte is searched once, however large an event is.

    Raises:
        Unavailable: An event is longer than any that is meant.
    """
    buffer = bytearray()
    async for chunk in chunks:
        searched = max(0, len(buffer) - 1)
        buffer += chunk
        start = 0
        while (end := buffer.find(b"\n\n", max(start, searched))) >= 0:
            yield bytes(buffer[start:end])
            start = end + 2
        del buffer[:start]
        if len(buffer) > EVENT_BYTES_MAX:
            raise Unavailable(f"an event is longer than {EVENT_BYTES_MAX} bytes")


def event_of(block: bytes) -> Snapshot | Changed | None:
    """Read one event; whatever is not one of ours is a sign of life and no more.

    Raises:
        Unavailable: It is one of ours, and cannot be read.
    """
    name, _, rest = block.partition(b"\n")
    if not rest.startswith(b"data: "):
        return None
    data = rest.removeprefix(b"data: ")
    try:
        if name == b"event: snapshot":
            return codec.load(Snapshot, data)
        if name == b"event: changed":
            return codec.load(Changed, data)
    except Invalid as error:
        raise Unavailable(f"an event cannot be read: {error}") from error
    return None
