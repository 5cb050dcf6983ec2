"""An answer that goes on: its headers, its writes, its last word.

Every write is of whole events, unless it says otherwise, so a stream that is ended from outside ends between two of
them, and its last word can be read. One that is ended within an event is aborted: a truncated answer, not a lie.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import orjson
from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.frames import Encoding, bye_frame, error_frame
from harpoon.api.meters import METERS
from harpoon.api.stay import Ending, Stay
from harpoon.kit.errors import HarpoonError
from harpoon.store.port import StoreUnavailable

_SLOW = (
    b'{"type":"error","code":"slow_reader","detail":"events came faster than they were read; resume from the last id"}'
)

#: A reader for whom more bytes than that are buffered is behind; where aiohttp, too, begins to wait.
_BEHIND: Final = 1 << 16


class Form(NamedTuple):
    """How a stream is written: those of one form are written the same bytes."""

    encoding: Encoding
    #: Sent in pieces that say their length, as since HTTP/1.1.
    is_chunked: bool

    def framed(self, data: bytes) -> bytes:
        """Return ``data`` as a piece of the answer."""
        return b"%x\r\n%s\r\n" % (len(data), data) if self.is_chunked and data else data


class Stream:
    """One streamed answer."""

    def __init__(self, request: web.Request, stay: Stay, encoding: Encoding | None) -> None:
        """Make one; without an encoding it is plain text, not events."""
        self._request = request
        self._stay = stay
        self._encoding = encoding
        self._transport = request.transport
        self._farewell_s = request.app[DOORS].limits.farewell_s
        self._is_torn = False
        view = request.app[DOORS].view
        headers = {
            "Content-Type": encoding or "text/plain",
            # For proxies that would gather the stream before they pass it on.
            "X-Accel-Buffering": "no",
            "Harpoon-Revision": view.external(view.revision),
        }
        self._response = web.StreamResponse(headers=headers)
        self._response.force_close()

    @property
    def encoding(self) -> Encoding:
        """How events are written."""
        assert self._encoding is not None, "plain text has no events"
        return self._encoding

    @property
    def form(self) -> Form:
        """How it is written; known once the headers are sent."""
        return Form(self.encoding, hdrs.TRANSFER_ENCODING in self._response.headers)

    @property
    def is_torn(self) -> bool:
        """Whether what was written last is not whole, so that nothing else may follow it."""
        return self._is_torn

    async def serve(self, work: Callable[[], Awaitable[None]]) -> web.StreamResponse:
        """Send the headers, do ``work``, which writes, and say the last word; for HEAD, send the headers only."""
        await self._response.prepare(self._request)
        if self._request.method == "HEAD":
            return self._response
        fault: bytes | None = None
        try:
            await self._stay.run(work)
        except (HarpoonError, StoreUnavailable) as error:
            # The status was sent long ago, so the stream itself has to tell.
            fault = orjson.dumps({"type": "error", "code": "unavailable", "detail": str(error)})
        except ConnectionError:
            self._stay.end(Ending.GONE)
        await self._part(fault)
        return self._response

    async def begin(self) -> None:
        """Write what comes before all events: to a browser, how soon to come back."""
        if self._encoding is Encoding.SSE:
            await self.write(b"retry: 1000\n\n")

    async def write(self, data: bytes, *, is_whole: bool = True) -> None:
        """Write events; wait while the reader has not taken enough of the former ones.

        Raises:
            ConnectionResetError: The client has left.
        """
        self._is_torn = not is_whole
        self._stay.writing_since = asyncio.get_running_loop().time()
        await self._response.write(data)
        self._stay.writing_since = None

    def push(self, framed: bytes) -> bool:
        """Write a piece of whole events without waiting, if the reader keeps up; return whether that is so."""
        transport = self._transport
        if transport is None or transport.is_closing():
            # Whoever left need not be told.
            return True
        if transport.get_write_buffer_size() > _BEHIND:
            return False
        transport.write(framed)
        return True

    async def _part(self, fault: bytes | None) -> None:
        ending = self._stay.ending
        if ending is Ending.SLOW:
            self._request.app[METERS].slow_readers.inc()
        # What cannot tell that it breaks off must not seem whole.
        is_torn = self._is_torn or (fault is not None and self._encoding is None)
        word = b"" if self._encoding is None else _last_word(self._encoding, ending, fault)
        if ending is None and not is_torn:
            await self._response.write(word)
            await self._response.write_eof()
        elif self._transport is not None:
            self._break_off(self._transport, None if is_torn or ending is Ending.GONE else word)

    def _break_off(self, transport: asyncio.Transport, word: bytes | None) -> None:
        """Close the connection of a reader who may not have taken what was written, without waiting for that.

        The server's own writer is not used: ended while it waited for this reader, it would not write again.
        """
        if word is None:
            transport.abort()
            return
        is_chunked = hdrs.TRANSFER_ENCODING in self._response.headers
        last = Form(Encoding.NDJSON, is_chunked).framed(word) + (b"0\r\n\r\n" if is_chunked else b"")
        transport.write(last)
        transport.close()
        # What it still has not taken by then is dropped.
        asyncio.get_running_loop().call_later(self._farewell_s, transport.abort)


def _last_word(encoding: Encoding, ending: Ending | None, fault: bytes | None) -> bytes:
    if ending is Ending.BYE:
        return bye_frame(encoding)
    error = _SLOW if ending is Ending.SLOW else fault
    return b"" if error is None else error_frame(encoding, error)
