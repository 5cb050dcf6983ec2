"""A client of its own making: bytes over a socket, read strictly; it shares no code with the server or its client."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.events import ENCODINGS, NDJSON, Event, Parser, Violation

PATIENCE_S = 20.0
#: Within an answer that is about to end, something is told so often.
SILENCE_S = 2.0


class Torn(Exception):
    """The stream ended without its end: whoever reads it has to come back."""


@dataclass(frozen=True)
class Answer:
    """A status, headers by their lower-case names, and a body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Address:
    """Where a server is reached, what it is called, and the token to show."""

    host: str
    port: int
    authority: str
    token: str | None = None
    is_tls: bool = False

    @classmethod
    def of(cls, url: str, token: str | None = None) -> "Address":
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https"), f"a server's URL begins with http:// or https://; got {url!r}"
        assert parts.hostname, f"{url!r} names no host"
        is_tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if is_tls else 80), parts.netloc, token, is_tls)

    def by(self, port: int) -> "Address":
        """The same server, reached by a port of this machine."""
        return replace(self, host="127.0.0.1", port=port)

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request and read the whole answer."""
        async with asyncio.timeout(PATIENCE_S), self._exchange(method, path, body, headers) as (head, read, _):
            if method == "HEAD":
                return head
            pieces = [piece async for piece in read]
            return replace(head, body=b"".join(pieces))

    async def get(self, path: str) -> Any:
        """Read a JSON answer; lists that come in pages are read to their end."""
        answer = await self.ask("GET", path)
        assert answer.status == 200, (path, answer)
        told = answer.json
        while isinstance(told, dict) and told.get("continue"):
            mark = "&" if "?" in path else "?"
            page = (await self.ask("GET", f"{path}{mark}continue={told['continue']}")).json
            told = page | {"items": told["items"] + page["items"]}
        return told

    @asynccontextmanager
    async def watch(
        self,
        query: str = "",
        encoding: str = NDJSON,
        *,
        after: str | None = None,
        last_id: str | None = None,
        buffer: int = 0,
    ) -> AsyncIterator["Stream"]:
        """Open a watch.

        Args:
            query: Of the selection.
            encoding: To ask for.
            after: The parameter.
            last_id: The header ``Last-Event-ID``.
            buffer: Bytes that this side takes before it is read from; 0: as the system likes.
        """
        parameters = "&".join(part for part in (query, f"after={after}" if after else "") if part)
        headers = {"Accept": encoding} | ({"Last-Event-ID": last_id} if last_id else {})
        async with self._exchange("GET", f"/v1/watch?{parameters}", None, headers, buffer) as (head, read, leave):
            if head.status != 200:
                raise Refusal(replace(head, body=b"".join([piece async for piece in read])))
            told = head.headers.get("content-type", "").partition(";")[0]
            if told not in ENCODINGS or encoding not in (told, "*/*"):
                raise Violation(f"asked for {encoding}, told {told}")
            yield Stream(head, Parser(told), read, leave)

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: object, headers: dict[str, str], buffer: int = 0
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes], Callable[[], None]]]:
        reader, writer = await self._connect(buffer)
        try:
            writer.write(self._request(method, path, body, headers))
            with _tearing():
                head = await _read_head(reader)
            yield head, _body(reader, head), writer.transport.abort
        finally:
            writer.transport.abort()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _connect(self, buffer: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = ssl.create_default_context() if self.is_tls else None
        name = self.authority.rpartition(":")[0] or self.authority if self.is_tls else None
        if not buffer:
            return await asyncio.open_connection(self.host, self.port, ssl=tls, server_hostname=name)
        family, kind, protocol, _, where = (
            await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        )[0]
        plain = socket.socket(family, kind, protocol)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, where)
        return await asyncio.open_connection(sock=plain, ssl=tls, server_hostname=name, limit=buffer)

    def _request(self, method: str, path: str, body: object, headers: dict[str, str]) -> bytes:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Host": self.authority, "Connection": "close"}
        if body is not None:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value), "", ""]
        return "\r\n".join(lines).encode() + data


class Refusal(Exception):
    """The answer is no stream."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status}: {answer.body[:300]!r}")
        self.answer = answer


@dataclass
class Stream:
    """Events as they come."""

    head: Answer
    parser: Parser
    read: AsyncIterator[bytes]
    leave: Callable[[], None]
    waiting: list[Event] = field(default_factory=list)

    async def next(self, within_s: float = PATIENCE_S) -> Event | None:
        """The next event, or None at an end that was said.

        Raises:
            Torn: The connection ended without one.
            TimeoutError: Nothing came.
        """
        async with asyncio.timeout(within_s):
            while not self.waiting:
                try:
                    self.waiting += self.parser.feed(await anext(self.read))
                except StopAsyncIteration:
                    if self.parser.rest:
                        raise Violation(
                            f"an answer that ended well ends within an event: {self.parser.rest!r}"
                        ) from None
                    return None
        return self.waiting.pop(0)

    async def until(self, is_it: Callable[[Event], bool], within_s: float = PATIENCE_S) -> list[Event]:
        """All events up to the one that is it."""
        told: list[Event] = []
        async with asyncio.timeout(within_s):
            while True:
                event = await self.next(within_s)
                if event is None:
                    raise Violation(f"the stream ended after {told[-3:]}")
                told.append(event)
                if is_it(event):
                    return told

    async def begun(self) -> list[Event]:
        """The snapshot and its ``synced``, with which a watch begins."""
        told = await self.until(lambda event: event.type != "snapshot")
        if [event.type for event in told] != ["snapshot", "synced"]:
            raise Violation(f"it does not begin with a snapshot and its synced: {told}")
        return told

    async def rest(self, within_s: float = PATIENCE_S) -> tuple[list[Event], bool]:
        """All events up to the end, and whether the end was said."""
        told: list[Event] = []
        async with asyncio.timeout(within_s):
            try:
                while (event := await self.next(SILENCE_S)) is not None:
                    told.append(event)
            except Torn:
                return told, False
        return told, True


async def _read_head(reader: asyncio.StreamReader) -> Answer:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, status = lines[0].split(" ")[:2]
    assert version == "HTTP/1.1", lines[0]
    headers = {}
    for line in lines[1:-2]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Answer(int(status), headers)


@contextmanager
def _tearing() -> Iterator[None]:
    """What breaks while it is read is torn."""
    try:
        yield
    except asyncio.IncompleteReadError as error:
        raise Torn("the connection ended within the answer") from error
    except OSError as error:
        raise Torn(f"the connection broke: {error!r}") from error


async def _body(reader: asyncio.StreamReader, head: Answer) -> AsyncIterator[bytes]:
    if head.headers.get("transfer-encoding") != "chunked":
        left = int(head.headers.get("content-length", "0"))
        if left:
            with _tearing():
                whole = await reader.readexactly(left)
            yield whole
        return
    while True:
        with _tearing():
            left = size = int((await reader.readuntil(b"\r\n")).strip(), 16)
        while left:
            with _tearing():
                piece = await reader.read(min(left, 1 << 16))
            if not piece:
                raise Torn("the connection ended within the answer")
            left -= len(piece)
            yield piece
        with _tearing():
            end = await reader.readexactly(2)
        if end != b"\r\n":
            raise Violation(f"a piece of the answer is longer than it says: {end!r}")
        if size == 0:
            return
