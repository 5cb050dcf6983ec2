"""The way from one server instance to another: how it stands, and a request passed on to it. Never retried here.

An instance that is slow or dead is to cost nobody more than was agreed on, so everything has a deadline and a size.
"""

import errno
import os
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from harpoon.kit import codec
from harpoon.kit.errors import Conflict, Invalid, Unavailable
from harpoon.model.instance_shown import Health

#: How it stands is told within so long and in so many bytes.
HEALTH_WITHIN_S: Final = 1.0
HEALTH_BYTES_MAX: Final = 4 << 10
#: What is passed on is answered within so long and in so many bytes: a page is 4 MiB, or one item that is larger.
PASSED_WITHIN_S: Final = 2.0
PASSED_BYTES_MAX: Final = 16 << 20

_FAILURES: Final = (aiohttp.ClientError, OSError, ValueError)


class PassedOn(NamedTuple):
    """The answer of another instance, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PeerClient:
    """Asks other instances over HTTP.

    Args:
        session: Of the caller's; it shows no token by itself.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def health(self, url: str) -> Health:
        """Ask the instance at a URL how it stands; one that is about to stop tells it, too.

        Raises:
            Unavailable: It could not be asked, or nobody of ours answers there.
        """
        status, _, body = await self._ask("GET", url, "/v1/health", {}, HEALTH_WITHIN_S, HEALTH_BYTES_MAX)
        if status not in (200, 503):
            raise Unavailable(f"{url} answered {status}")
        try:
            return codec.load(Health, body)
        except Invalid as error:
            raise Unavailable(f"{url} does not answer as an instance does: {error}") from error

    async def pass_on(
        self,
        method: str,
        url: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        within_s: float = PASSED_WITHIN_S,
    ) -> PassedOn:
        """Have another instance answer a request.

        Args:
            method: Of HTTP.
            url: Where the instance is.
            path: With the query, encoded.
            headers: To be sent.
            body: Likewise; None: it has none.
            within_s: How long to wait for the whole answer.

        Raises:
            Unavailable: It did not answer within the time, or too much.
        """
        return await self._ask(method, url, path, headers, within_s, PASSED_BYTES_MAX, body)

    async def report_permits(self, url: str, body: bytes, token: str | None, within_s: float) -> bytes:
        """Bring a report of permits to another instance, and return its answer.

        Args:
            url: Where the instance is.
            body: The report, as JSON.
            token: Of the servers, if they have one.
            within_s: How long to wait for the answer.

        Raises:
            Unavailable: It did not answer.
            Conflict: It has heard a later one, or does not know of this instance.
        """
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        told = await self.pass_on("POST", url, "/v1/permits", headers, body=body, within_s=within_s)
        if told.status == 200:
            return told.body
        detail = f"{url} answered {told.status}"
        raise Conflict(detail) if told.status == 409 else Unavailable(detail)

    async def _ask(  # noqa: PLR0913, PLR0917 as above
        self,
        method: str,
        url: str,
        path: str,
        headers: Mapping[str, str],
        within_s: float,
        limit: int,
        data: bytes | None = None,
    ) -> PassedOn:
        timeout = aiohttp.ClientTimeout(total=within_s)
        try:
            async with self._session.request(
                method,
                URL(url + path, encoded=True),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                data=data,
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise Unavailable(f"{url} answers with more than {limit} bytes")
                return PassedOn(response.status, response.headers, bytes(body))
        except TimeoutError as error:
            raise Unavailable(f"{url} did not answer within {within_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"{url}: {os.strerror(error.os_error.errno or errno.EHOSTUNREACH)}") from error
        except _FAILURES as error:
            raise Unavailable(f"{url}: {error or type(error).__name__}") from error
