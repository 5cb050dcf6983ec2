"""Bodies of requests: JSON only, bounded in size and in the time they take to arrive."""

import asyncio
from typing import Final, TypeVar

from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.problem import Refused
from harpoon.kit import codec

T = TypeVar("T")

#: Held while a large body is taken apart, so that however many come at once leave the event loop its share.
DECODING: web.AppKey[asyncio.Lock] = web.AppKey("decoding", asyncio.Lock)
#: What is larger may take so long to be taken apart that it does not happen on the event loop.
SMALL_BYTES: Final = 16 << 10

#: The rest of a body that was not read cannot be told from the next request.
_LAST: Final = {"Connection": "close"}


async def read_json(request: web.Request) -> bytes:
    """Return the body's bytes, which say they are JSON; whether they are, the codec tells.

    Raises:
        Refused: 415 for another type or any compression, 413 when too large, 408 when too slow, 400 when broken.
    """
    limits = request.app[DOORS].limits
    check_type(request, "application/json")
    if (request.content_length or 0) > limits.body_bytes:
        raise _too_large(limits.body_bytes)
    try:
        if request.content.is_eof():
            # It came with the head, as small ones do.
            return await request.read()
        async with asyncio.timeout(limits.body_s):
            return await request.read()
    except TimeoutError as error:
        raise Refused(408, f"the body did not arrive within {limits.body_s:g} s", headers=_LAST) from error
    except web.RequestPayloadError as error:
        raise Refused(400, "the body breaks off, or is not framed as HTTP frames it") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(limits.body_bytes) from error


async def read_large(request: web.Request, most: int) -> bytes:
    """Return the bytes of a body that may be larger than others; see `read_json`.

    Raises:
        Refused: As there.
    """
    check_type(request, "application/json")
    if (request.content_length or 0) > most:
        raise _too_large(most)
    read = bytearray()
    try:
        async with asyncio.timeout(request.app[DOORS].limits.body_s):
            while chunk := await request.content.readany():
                read += chunk
                if len(read) > most:
                    raise _too_large(most)
    except TimeoutError as error:
        raise Refused(408, "the body did not arrive in time", headers=_LAST) from error
    except web.RequestPayloadError as error:
        raise Refused(400, "the body breaks off, or is not framed as HTTP frames it") from error
    return bytes(read)


def check_type(request: web.Request, media_type: str) -> None:
    """Check that the body is of a type of JSON, in UTF-8, and not compressed.

    Raises:
        Refused: It is not.
    """
    if request.content_type != media_type or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refused(415, f"send JSON in UTF-8, with the header Content-Type: {media_type}")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise Refused(415, "send the body uncompressed")


async def decode(request: web.Request, kind: type[T], body: bytes) -> T:
    """Read a body as `codec.decode` does, without making others wait for a large one.

    Raises:
        Invalid: It is not JSON, or not a ``kind``.
    """
    if len(body) <= SMALL_BYTES:
        return codec.decode(kind, body)
    async with request.app[DECODING]:
        return await asyncio.to_thread(codec.decode, kind, body)


def _too_large(limit: int) -> Refused:
    return Refused(413, f"a body is at most {limit} bytes", headers=_LAST)
