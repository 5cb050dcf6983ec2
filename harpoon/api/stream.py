"""An answer that goes on: its headers, its writes, its last word.

Every write is of whole events, unless it says otherwise, so a stream that is ended from outside ends between two of
them, and its last word can be read. One that is ended within an event is aborted: a truncated answer, not a lie.
"""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from harpoon.api.doors import DOORS
from harpoon.api.frames import Encoding, bye_frame, error_frame
from harpoon.api.meters import METERS
from harpoon.api.stay import Ending, Stay
from harpoon.kit.errors import HarpoonError
from harpoon.store.port import StoreUnavailable

_SLOW = (
    b'{"type":"error","code":"slow_reader","detail":"events came faster than they were read; resume from the last id"}'
)


class Stream:
    """One streamed answer."""

    def __init__(self, request: web.Request, stay: Stay, content_type: str) -> None:
        self._request = request
        self._stay = stay
        self._content_type = content_type
        self._farewell_s = request.app[DOORS].limits.farewell_s
        self._is_torn = False
        view = request.app[DOORS].view
        headers = {
            "Content-Type": content_type,
            # For proxies that would gather the stream before they pass it on.
            "X-Accel-Buffering": "no",
            "Harpoon-Revision": view.external(view.revision),
        }
        self._response = web.StreamResponse(headers=headers)
        self._response.force_close()

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

    async def write(self, data: bytes, *, is_whole: bool = True) -> None:
        """Write events; wait while the reader has not taken enough of the former ones.

        Raises:
            ConnectionResetError: The client has left.
        """
        self._is_torn = not is_whole
        self._stay.writing_since = asyncio.get_running_loop().time()
        await self._response.write(data)
        self._stay.writing_since = None

    async def _part(self, fault: bytes | None) -> None:
        if self._stay.ending is Ending.SLOW:
            self._request.app[METERS].slow_readers.inc()
        word = self._last_word(fault)
        transport = self._request.transport
        if self._stay.ending is Ending.GONE or self._is_torn:
            if transport is not None:
                transport.abort()
            return
        try:
            async with asyncio.timeout(self._farewell_s):
                if word is not None:
                    await self._response.write(word)
                await self._response.write_eof()
        except (TimeoutError, ConnectionError):
            # It reads nothing at all, or has left: what is buffered for it is dropped with the connection.
            if transport is not None:
                transport.abort()

    def _last_word(self, fault: bytes | None) -> bytes | None:
        if self._content_type not in tuple(Encoding):
            return None
        encoding = Encoding(self._content_type)
        if self._stay.ending is Ending.BYE:
            return bye_frame(encoding)
        error = _SLOW if self._stay.ending is Ending.SLOW else fault
        return None if error is None else error_frame(encoding, error)
