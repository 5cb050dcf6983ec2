"""Bodies of requests: JSON only, bounded in size and in the time they take to arrive."""

import asyncio

from aiohttp import hdrs, web

from harpoon.api.doors import DOORS
from harpoon.api.problem import Refused


async def read_json(request: web.Request) -> bytes:
    """Return the body's bytes, which say they are JSON; whether they are, the codec tells.

    Raises:
        Refused: 415 for another type or any compression, 413 when too large, 408 when too slow, 400 when broken.
    """
    limits = request.app[DOORS].limits
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refused(415, "send JSON in UTF-8, with the header Content-Type: application/json")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise Refused(415, "send the body uncompressed")
    if (request.content_length or 0) > limits.body_bytes:
        raise _too_large(limits.body_bytes)
    try:
        async with asyncio.timeout(limits.body_s):
            return await request.read()
    except TimeoutError as error:
        raise Refused(408, f"the body did not arrive within {limits.body_s:g} s") from error
    except web.RequestPayloadError as error:
        raise Refused(400, "the body breaks off, or is not framed as HTTP frames it") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(limits.body_bytes) from error


def _too_large(limit: int) -> Refused:
    return Refused(413, f"a body is at most {limit} bytes")
