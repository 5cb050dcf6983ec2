"""Bodies of answers from the world outside, unpacked no further than they are taken."""

import zlib
from collections.abc import Mapping
from typing import Final

import aiohttp

#: Bytes that are unpacked at a time, and streams behind one another that an answer is packed as: each costs a copy of
#: what follows it, and may stand for nothing.
_PIECE: Final = 16 << 10
STREAMS_MAX: Final = 1000
#: Any of gzip and zlib.
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
_ENCODINGS: Final[Mapping[str, int]] = {
    "gzip": _GZIP_OR_ZLIB,
    "x-gzip": _GZIP_OR_ZLIB,
    "deflate": _GZIP_OR_ZLIB,
}


class Unreadable(Exception):
    """The answer is not to be read; the message tells how it is encoded."""


async def read_body(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """Read a body, up to so many bytes as it is decoded; whether there is more.

    Raises:
        Unreadable: It cannot be decoded.
        zlib.error: It is not encoded as it says.
        aiohttp.ClientError: It broke off.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        pieces, size = [], 0
        async for piece in response.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > most:
                # What is left unread is not to be waited for: the connection ends with it.
                response.close()
                return b"".join(pieces)[:most], True
        return b"".join(pieces), False
    if encoding not in _ENCODINGS:
        response.close()
        raise Unreadable(f"the answer is encoded as {encoding[:40]!r}; gzip and deflate are read")
    unpacked = _Unpacked(_ENCODINGS[encoding], most)
    try:
        async for piece in response.content.iter_any():
            if unpacked.is_more_after(piece):
                response.close()
                return bytes(unpacked.body[:most]), True
    except Unreadable:
        response.close()
        raise
    unpacked.check_end()
    return bytes(unpacked.body), False


class _Unpacked:
    """What packed pieces stand for, and no more of it than is taken and one byte.

    Args:
        wbits: How it is packed, as zlib calls it.
        most: Bytes that are taken.
    """

    def __init__(self, wbits: int, most: int) -> None:
        self.body = bytearray()
        self._wbits = wbits
        self._most = most
        self._stream = zlib.decompressobj(wbits)
        self._streams = 0

    def is_more_after(self, piece: bytes) -> bool:
        """Add a piece; whether it is more than is taken now.

        Raises:
            Unreadable: There are too many streams behind one another.
            zlib.error: It is not packed so.
        """
        for start in range(0, len(piece), _PIECE):
            packed = piece[start : start + _PIECE]
            while packed:
                if self._stream.eof or not self._streams:
                    self._begin()
                self.body += self._stream.decompress(packed, self._most + 1 - len(self.body))
                if len(self.body) > self._most:
                    return True
                packed = self._stream.unused_data
        return False

    def check_end(self) -> None:
        """Check that it ends where a stream does.

        Raises:
            zlib.error: It does not.
        """
        if self._streams and not self._stream.eof:
            raise zlib.error("it ends too early")

    def _begin(self) -> None:
        self._streams += 1
        if self._streams > STREAMS_MAX:
            raise Unreadable(f"the answer is packed as more than {STREAMS_MAX} streams")
        self._stream = zlib.decompressobj(self._wbits)
