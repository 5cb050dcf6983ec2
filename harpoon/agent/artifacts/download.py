"""Fetching one file over HTTP, or from the host, into a file of the agent's: with limits, and checked as it comes."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from harpoon.agent.artifacts.addresses import Resolver, check_host
from harpoon.agent.paths import Allowed, open_file
from harpoon.core.blockers import about_size
from harpoon.kit.errors import Unavailable
from harpoon.model.volumes import Artifact, check_url

REDIRECTS_MAX: Final = 5
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_CHUNK: Final = 1 << 20
#: A server may be silent for so long, and take so long in all; whoever waits for others to be done does not count.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=3600, sock_connect=15, sock_read=30)
_MIB: Final = 1 << 20

#: Is told how many bytes have come, and of how many, if that is known.
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be fetched."""

    bytes_max: int = 1 << 30
    #: Names of hosts, or with a leading dot of all below; none: any.
    hosts: tuple[str, ...] = ()
    #: Of this host.
    allowed: Allowed = field(default_factory=Allowed)


def download_session() -> aiohttp.ClientSession:
    """Make a session for a `Downloader`: it shows nobody any cookie, and takes no proxy from the environment."""
    connector = aiohttp.TCPConnector(resolver=Resolver(), use_dns_cache=False, limit=16, force_close=True)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        # As it is served: what is compressed stays so, and is no larger than it is told.
        headers={"User-Agent": "harpoon-agent", "Accept-Encoding": "identity"},
        auto_decompress=False,
        timeout=_TIMEOUT,
    )


class Downloader:
    """Fetches files."""

    def __init__(self, session: aiohttp.ClientSession, rules: Rules) -> None:
        """Make one; ``session`` is one of `download_session`."""
        self._session = session
        self._rules = rules

    async def fetch(self, artifact: Artifact, path: str, progress: Progress) -> None:
        """Write what an artifact is to a new file. When this returns, it is what its digest says.

        Raises:
            Invalid: It is a file of the host that tasks may not have.
            Unavailable: It cannot be had now, or is not what it should be; the message is one sentence.
            OSError: The agent's disk cannot take it.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            digest = await (self._copy if artifact.host is not None else self._load)(artifact, descriptor, progress)
        finally:
            os.close(descriptor)
        if digest != artifact.sha256:
            raise Unavailable(f"its sha256 is {digest}, not {artifact.sha256}")

    async def _load(self, artifact: Artifact, descriptor: int, progress: Progress) -> str:
        digest, count = hashlib.sha256(), 0
        try:
            async with self._answer(artifact.url) as response:
                size = response.content_length
                self._check_size(size or 0)
                async for chunk in response.content.iter_chunked(_CHUNK):
                    count += len(chunk)
                    self._check_size(count)
                    await asyncio.to_thread(_take, descriptor, chunk, digest.update)
                    progress(count, size)
        except TimeoutError:
            raise Unavailable("its server did not answer in time") from None
        except aiohttp.ClientPayloadError:
            raise Unavailable("its server ended the connection before the file was whole") from None
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or str(error.os_error)
            raise Unavailable(f"{error.host} port {error.port}: {reason[:1].lower()}{reason[1:]}") from None
        except aiohttp.ClientError as error:
            raise Unavailable(f"its server cannot be asked: {str(error)[:200] or type(error).__name__}") from None
        return digest.hexdigest()

    @asynccontextmanager
    async def _answer(self, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and go where the answer sends; each place is judged like the first."""
        target = URL(url, encoded=True)
        for _ in range(REDIRECTS_MAX + 1):
            assert target.host is not None, "its URL was checked"
            check_host(target.host, self._rules.hosts)
            async with self._session.get(target, allow_redirects=False) as response:
                if response.status == 200:
                    yield response
                    return
                location = response.headers.get("Location", "")
                if response.status not in _REDIRECTS or not location:
                    raise Unavailable(f"its server answered {response.status}")
                target = _next(target, location)
        raise Unavailable(f"it was redirected more than {REDIRECTS_MAX} times")

    async def _copy(self, artifact: Artifact, descriptor: int, progress: Progress) -> str:
        assert artifact.host is not None, "it is of the host"
        source = await asyncio.to_thread(open_file, artifact.host, self._rules.allowed)
        try:
            size = os.fstat(source).st_size
            self._check_size(size)
            digest, count = hashlib.sha256(), 0
            while chunk := await asyncio.to_thread(os.read, source, _CHUNK):
                count += len(chunk)
                # It may be growing.
                self._check_size(count)
                await asyncio.to_thread(_take, descriptor, chunk, digest.update)
                progress(count, size)
        finally:
            os.close(source)
        return digest.hexdigest()

    def _check_size(self, size: int) -> None:
        if size > self._rules.bytes_max:
            most = about_size(self._rules.bytes_max)
            raise Unavailable(f"it is larger than {most}, which is the most this agent fetches; see --artifact-max")


def told(name: str, count: int, size: int | None) -> str:
    """Say how far the fetching of a file has come."""
    of = "" if size is None else f" of {-(-size // _MIB)}"
    return f"fetching {name}: {count // _MIB}{of} MB"


def name_of(artifact: Artifact) -> str:
    """Return what an artifact is called where people read of it: without what may be secret in its URL."""
    last = check_url(artifact.url).path.rpartition("/")[2]
    return (last or check_url(artifact.url).hostname or "")[:80]


def _next(target: URL, location: str) -> URL:
    try:
        there = target.join(URL(location, encoded=True))
        check_url(str(there.with_fragment(None)))
    except ValueError as error:
        raise Unavailable(f"it was redirected to where nothing can be fetched from: {error}") from None
    if there.scheme not in ("http", "https") or (target.scheme == "https" and there.scheme == "http"):
        raise Unavailable(f"it was redirected from {target.scheme} to {there.scheme}, which is not followed")
    return there


def _take(descriptor: int, chunk: bytes, update: Callable[[bytes], None]) -> None:
    update(chunk)
    left = memoryview(chunk)
    while left:
        left = left[os.write(descriptor, left) :]
