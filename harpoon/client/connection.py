"""One connection to a server: h11 says what the bytes mean, asyncio's streams carry them.

It follows no redirect, speaks to no proxy, and puts a limit on everything: h11 on what it has to keep in one piece, the
caller on time and on size.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import h11

from harpoon.client.origin import Origin
from harpoon.client.request import Request
from harpoon.kit.errors import HarpoonError, Unreachable

#: Bytes of an answer's head, all header fields together.
HEAD_BYTES_MAX: Final = 64 << 10
#: Bytes read at once.
READ_BYTES: Final = 256 << 10
#: Answers of the 100s before the one that counts; servers send none or one.
INTERIM_MAX: Final = 8


class Broken(Exception):
    """The connection ended before the answer was whole."""

    def __init__(self, reason: str, *, is_answered: bool) -> None:
        super().__init__(reason)
        #: Whether something of the answer had come, so that the request has surely arrived.
        self.is_answered = is_answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How an answer begins."""

    status: int
    #: Names in lower case; of fields that stand twice, the first.
    headers: Mapping[str, str]


class Connection:
    """Sends one request at a time, and reads its answer."""

    def __init__(self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._url = origin.url
        self._reader = reader
        self._writer = writer
        self._machine = _machine()
        self._has_answered = False
        #: Answers that have come over it whole.
        self.served = 0
        #: When it was given back, by the loop's clock.
        self.idle_since = 0.0

    @property
    def is_open(self) -> bool:
        """Whether another request could be sent; False also once the other side is known to have closed it."""
        states = self._machine.states
        return states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE} and not (
            self._reader.at_eof() or self._writer.is_closing()
        )

    def close(self) -> None:
        """Close it at once, whatever it is doing."""
        self._writer.transport.abort()

    async def send(self, request: Request) -> Head:
        """Send a request, and return how its answer begins.

        Raises:
            Broken: The connection ended first.
            HarpoonError: What came is not HTTP.
        """
        self._has_answered = False
        sent = h11.Request(method=request.method, target=request.target, headers=list(request.headers))
        parts = [self._machine.send(sent), self._machine.send(h11.Data(data=request.body)), self._machine.send(_END)]
        self._writer.write(b"".join(part for part in parts if part))
        with suppress(OSError):  # a server may refuse a body that it has not read; its answer is what counts
            await self._writer.drain()
        for _ in range(INTERIM_MAX):
            event = await self._event()
            if isinstance(event, h11.Response):
                return Head(status=event.status_code, headers=_fields(event))
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                break
        raise self._foreign()

    async def read(self, silence: timedelta | None = None) -> AsyncIterator[bytes]:
        """Yield the answer's body as it comes, until it is whole.

        Raises:
            Broken: The connection ended first, or was silent for that long.
            HarpoonError: What came is not HTTP.
        """
        while True:
            try:
                async with asyncio.timeout(None if silence is None else silence.total_seconds()):
                    event = await self._event()
            except TimeoutError as error:
                raise Broken("no answer in time", is_answered=True) from error
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._finish()
                return
            else:
                raise self._foreign()

    def _finish(self) -> None:
        self.served += 1
        with suppress(h11.LocalProtocolError):  # it is to be closed: `is_open` tells
            if not self._machine.trailing_data[0]:
                self._machine.start_next_cycle()

    async def _event(self) -> object:
        """Return the answer's next event."""
        while True:
            try:
                event = self._machine.next_event()
            except h11.RemoteProtocolError as error:
                if self._reader.at_eof():
                    raise Broken(_CUT, is_answered=self._has_answered) from error
                raise self._foreign() from error
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise Broken(reason_of(error), is_answered=self._has_answered) from error
            if not data and not self._has_answered:
                raise Broken("it closed the connection", is_answered=False)
            self._has_answered = True
            self._machine.receive_data(data)

    def _foreign(self) -> HarpoonError:
        return HarpoonError(f"{self._url} does not speak HTTP/1.1 as harpoon does; is another service listening there?")


_END: Final = h11.EndOfMessage()
_CUT: Final = "the connection broke in the middle of an answer"


async def connect(origin: Origin, context: ssl.SSLContext | None, within: timedelta) -> Connection:
    """Open a connection.

    Raises:
        Unreachable: Nobody answers there in time, or it is not who it should be.
    """
    try:
        async with asyncio.timeout(within.total_seconds()):
            reader, writer = await asyncio.open_connection(
                origin.host, origin.port, ssl=context if origin.is_tls else None, limit=READ_BYTES
            )
    except (OSError, ValueError) as error:  # a name may be one that cannot be looked up at all
        raise unreachable(origin, reason_of(error)) from error
    plain: socket.socket | None = writer.get_extra_info("socket")
    if plain is not None:
        plain.setsockopt(
            socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
        )  # a log may be silent for days; a host that died is not
    return Connection(origin, reader, writer)


def unreachable(origin: Origin, reason: str) -> Unreachable:
    """Return the error that says so."""
    return Unreachable(f"cannot reach {origin.url}: {reason}")


def reason_of(error: Exception) -> str:
    """Say in a few words why a connection failed."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _machine() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)


def _fields(event: h11.Response) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for name, value in event.headers:
        fields.setdefault(name.decode("ascii"), value.decode("latin-1"))
    return fields
