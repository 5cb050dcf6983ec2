"""Calls that leave the house: to URLs that users write, and to nothing that `kit.destination` does not let through.

Names are resolved here, every answer is checked, and what was checked is what is connected to: so a name that comes to
something else a moment later changes nothing. The host's name stays in the request, and in TLS. Connections are kept
for the next call to the same host; each was checked when it was made. Proxies of the environment, cookies and whatever
else a client brings along by itself are not used. Redirects are not followed: whoever calls decides, and calls again.
"""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from harpoon.client.unpacking import read_body
from harpoon.kit.destination import Address, Forbidden, Guard, literal
from harpoon.model.http import URL_MAX

#: A host has so long to be resolved, and to take a connection.
CONNECT_S: Final = 10.0
#: Names that are resolved at once.
RESOLVED_AT_ONCE: Final = 16
#: A connection that is not used is kept for so long.
KEEP_S: Final = 15.0
#: Bytes of one line of an answer's head, and of one header.
LINE_MAX: Final = 16 << 10
#: Characters of a host and its port: more than any name has.
_HOST_MAX: Final = 300

#: Host and port → all its addresses; raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Request(NamedTuple):
    """What is sent."""

    method: str
    url: str
    #: Text without control characters.
    headers: Mapping[str, str]
    body: bytes | None = None


class Answer(NamedTuple):
    """What came back."""

    status: int
    #: As they came; names in lower case.
    headers: tuple[tuple[str, str], ...]
    #: Decoded, as far as its caller takes it.
    body: bytes
    #: There is more of it.
    is_cut: bool = False
    #: What its text is written in, as it says.
    charset: str = "utf-8"
    #: What the URL came to, without user and fragment.
    url: str = ""


class NotReached(Exception):
    """There was no answer, or no whole one; the message tells nothing but what the URL says. Later there may be one."""


class OutwardCaller:
    """Makes calls to the world outside; close it when none is to be made any more.

    Args:
        guard: Says what may be called.
        resolve: Finds the addresses of a name; None: as the host does.
        tls: What certificates are checked with; None: by the host's authorities.
    """

    def __init__(self, guard: Guard, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._of_host = _OfHost()
        connector = aiohttp.TCPConnector(
            resolver=_Checked(guard, resolve or self._of_host),
            use_dns_cache=False,
            # What is sent at once is bounded by who calls.
            limit=0,
            keepalive_timeout=KEEP_S,
            ssl=True if tls is None else tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
            auto_decompress=False,
            trust_env=False,
            max_line_size=LINE_MAX,
            max_field_size=LINE_MAX,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        self._of_host.close()

    async def call(self, request: Request, most: int) -> Answer:
        """Send a request, and read up to ``most`` bytes of the body of the answer.

        It takes as long as it takes; whoever calls cancels it when that is too long.

        Raises:
            Forbidden: It may not be called.
            NotReached: There was no answer.
            Unreadable: There was one that cannot be decoded.
        """
        url = _read(request.url)
        host, port = url.host or "", url.port or 0
        self._guard.check_host(host, port)
        where = f"{host}:{port}"
        try:
            async with self._session.request(
                request.method, url, headers=request.headers, data=request.body, allow_redirects=False
            ) as response:
                body, is_cut = await read_body(response, most)
                return Answer(
                    response.status,
                    tuple((name.lower(), value) for name, value in response.headers.items()),
                    body,
                    is_cut,
                    response.charset or "utf-8",
                    str(url),
                )
        except (aiohttp.ClientError, OSError, zlib.error) as error:
            raise NotReached(f"{where} {_what(error)}") from None
        except ValueError:
            # What is sent was looked at before: so it is what came.
            raise NotReached(f"{where} gave an answer that is no HTTP") from None


def _read(text: str) -> URL:
    """Read a URL; what is called is what was read here, so nobody reads it otherwise.

    Raises:
        Forbidden: It is none that may be called.
    """
    if len(text) > URL_MAX:
        raise Forbidden(f"the URL has {len(text)} characters; {URL_MAX} at most")
    if len(re.split(r"[/?#]", text.partition("//")[2], maxsplit=1)[0]) > _HOST_MAX:
        # Names of other alphabets take long to be read.
        raise Forbidden(f"{text[:200]!r} names no host")
    if any(c < " " or c in "\\\x7f" for c in text):
        raise Forbidden("the URL holds backslashes or control characters; write them as %5C and so on")
    try:
        url = URL(text)
        host = url.host
    except ValueError:
        raise Forbidden(f"{text[:200]!r} is no URL") from None
    if url.scheme not in ("http", "https"):
        raise Forbidden(f"only http:// and https:// are called; got {(url.scheme or text)[:80]!r}")
    if not host or not url.port or any(c in host for c in " @/?#,"):
        raise Forbidden(f"{text[:200]!r} names no host")
    if url.user is not None or url.password is not None:
        raise Forbidden("the URL holds a user or a password; send them by a header, from a secret")
    return url.with_fragment(None)


class _Checked(AbstractResolver):
    """Resolves names to addresses that may be connected to, at one port, and to no others."""

    def __init__(self, guard: Guard, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 of any family
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            Forbidden: One of them may not be called.
            OSError: There are none.
        """
        written = literal(host)
        found: list[Address] = []
        if written is not None:
            found = [written]
        else:
            try:
                found = [ip_address(one) for one in await self._resolve(host, port)]
            except ValueError as error:
                # An address that is bound to an interface, for one.
                raise Forbidden(f"{host} comes to what is no address") from error
        if not found:
            raise OSError(f"{host} has no address")
        self._guard.check(host, found, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(one),
                port=port,
                family=socket.AF_INET if one.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for one in dict.fromkeys(found)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class _OfHost:
    """Resolves names as the host does, on threads of its own: one that takes long keeps nobody else waiting."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVED_AT_ONCE, "resolve")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        find = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, find)
        return [str(address[0]) for *_, address in found]

    def close(self) -> None:
        """Wait for no thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _what(error: BaseException) -> str:
    """Say what went wrong without a word of what was sent or came."""
    for kind, told in _WORDS.items():
        if isinstance(error, kind):
            return told
    return "could not be reached"


_WORDS: Final[Mapping[type[BaseException], str]] = {
    aiohttp.ClientConnectorDNSError: "could not be resolved",
    aiohttp.ClientConnectorCertificateError: "shows a certificate that is not valid for it",
    aiohttp.ClientSSLError: "could not be talked to over TLS",
    aiohttp.ServerTimeoutError: f"took no connection within {CONNECT_S:g}s",
    aiohttp.ClientConnectorError: "took no connection",
    aiohttp.ServerDisconnectedError: "closed the connection without an answer",
    aiohttp.ClientPayloadError: "broke off its answer",
    aiohttp.ClientResponseError: "gave an answer that is no HTTP",
    aiohttp.InvalidURL: "is no host",
    zlib.error: "gave an answer that is not encoded as it says",
    ConnectionError: "broke the connection off",
    TimeoutError: f"took no connection within {CONNECT_S:g}s",
}
