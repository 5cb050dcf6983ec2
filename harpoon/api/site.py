"""Serving the application: an address, the limits of connections, and a stop that leaves no one in the dark.

What aiohttp itself catches ends here: requests that are no HTTP, and faults of ours. The former are answered with
what is wrong; the latter without details, and logged with their traceback.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from harpoon.api.app import stamp
from harpoon.api.doors import DOORS
from harpoon.api.limits import Limits
from harpoon.api.problem import logged_path, problem, request_id
from harpoon.kit.address import is_loopback
from harpoon.kit.errors import Invalid, Unavailable

#: Connections that wait to be accepted: a thousand agents or watchers that come back at once.
_BACKLOG = 1024
#: One read of a connection may bring 256 KiB. When it is made of more lines than this, such as a body sent in chunks
#: of a byte, it is taken apart so many bytes at a time, and others get their turn in between.
_LINES = 2_000
_PIECE_BYTES = 16 << 10
#: On, for no seconds: what was not taken is dropped, and the peer told so.
_NO_LINGER = struct.pack("ii", 1, 0)

#: Said to a connection that is one too many, before it has said anything.
_TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: 140\r\n\r\n"
    b'{"type":"urn:harpoon:problem:too_many","title":"Too Many Requests","status":429,"code":"too_many",'
    b'"detail":"there are too many connections"}'
)

_log = structlog.get_logger(__name__)


class Connection(web.RequestHandler):
    """One connection; it tells the request that stays open on it when the client has left.

    A client that does not read its answer is cut off, here if it is an ordinary answer: a stream sees to it itself, for
    it has a last word to say.
    """

    def __init__(self, listener: "Listener", limits: Limits, **options: Any) -> None:
        super().__init__(listener, **options)
        self._listener = listener
        self._limits = limits
        self._when_lost: Callable[[], None] | None = None
        #: Has been received, and waits to be taken apart.
        self._rest = b""
        self._socket: asyncio.Transport | None = None
        self._is_lost = False
        #: While more is to be written than is taken: when that is looked at again.
        self._look_again: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the client, or tell it that there are too many."""
        super().connection_made(transport)
        self._socket = self.transport
        if not self._listener.take(self) and self.transport is not None:
            self.transport.write(_TOO_MANY)
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """Take apart what has come: at once, or bit by bit where that would make others wait."""
        if not self._rest and data.count(b"\n") <= _LINES:
            self._take(data)
            return
        is_under_way = bool(self._rest)
        self._rest += data
        if not is_under_way:
            self._go_on()

    def _go_on(self) -> None:
        if self.transport is None:
            self._rest = b""
            return
        piece, self._rest = self._rest[:_PIECE_BYTES], self._rest[_PIECE_BYTES:]
        self._take(piece)
        if self._rest:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)
        elif not self._reading_paused:
            self.transport.resume_reading()

    def _take(self, data: bytes) -> None:
        """Have received data taken apart; after the end has begun, only the rest of a body that is being read."""
        before = self._close, self._force_close
        if any(before) and self._current_request is not None and not self._current_request.content.is_eof():
            # What closes takes nothing, and the request would wait for its body until it is given up.
            self._close = self._force_close = False
            super().data_received(data)
            self._close, self._force_close = self._close or before[0], self._force_close or before[1]
        else:
            super().data_received(data)

    async def start(self) -> None:
        """Answer requests until the connection ends; what was answered is still to be taken then, but not for ever."""
        try:
            await super().start()
        finally:
            if self._socket is not None and self._socket.get_write_buffer_size():
                # A stream's last word has its own time, and is over by then.
                patience_s = self._limits.stall_s + self._limits.farewell_s
                asyncio.get_running_loop().call_later(patience_s, self._cut_off)

    def pause_writing(self) -> None:
        """Begin to watch a reader who is slower than the answer."""
        super().pause_writing()
        self._watch(asyncio.get_running_loop().time() + self._limits.answer_s)

    def resume_writing(self) -> None:
        """The reader has taken what there was."""
        super().resume_writing()
        self._watch_no_more()

    def _watch(self, until: float) -> None:
        assert self._socket is not None, "writing is paused on a connection that was made"
        left = self._socket.get_write_buffer_size()
        self._look_again = asyncio.get_running_loop().call_later(self._limits.stall_s, self._look, left, until)

    def _look(self, left: int, until: float) -> None:
        assert self._socket is not None, "writing is paused on a connection that was made"
        is_stalled = self._socket.get_write_buffer_size() >= left or asyncio.get_running_loop().time() >= until
        # A stream has its own eyes on its reader, and one that has said its last word is closing already.
        if is_stalled and self._when_lost is None and not self._socket.is_closing():
            _log.info("reader_cut_off", left_bytes=left)
            self._cut_off()
        else:
            self._watch(until)

    def _cut_off(self) -> None:
        """Drop the connection with all that was not taken, also what the kernel still has of it."""
        if self._socket is None or self._is_lost:
            return
        peer = self._socket.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._socket.abort()

    def _watch_no_more(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Call back when the client has left; None: no more. Requests of one connection follow one another."""
        self._when_lost = callback

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the request that stays open."""
        self._is_lost = True
        self._watch_no_more()
        self._listener.leave(self)
        super().connection_lost(exc)
        if self._when_lost is not None:
            self._when_lost()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 it may quote what was sent, a token among it
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and faults of ours."""
        if isinstance(exc, ConnectionError):
            # The client left while its request was read or answered.
            raise exc
        if status < 500:
            # Not the message: it may quote what was sent, a token among it.
            _log.info("request_unreadable", remote=request.remote, reason=type(exc).__name__)
            response = problem(status, f"this is no request that can be read: {type(exc).__name__}", code="unreadable")
        else:
            _log.error(
                "request_failed",
                request_id=request_id.get(),
                method=request.method,
                path=logged_path(request.path),
                exc_info=exc,
            )
            response = problem(status, "a fault of the server; its log tells more under the id of this request")
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; it cannot become another one")
        response.headers.update(stamp())
        response.force_close()
        return response


class Listener(web.Server):
    """Makes the connections, with the limits that hold for each."""

    def __init__(self, server: web.Server, limits: Limits) -> None:
        super().__init__(server.request_handler, request_factory=server.request_factory)
        self._limits = limits
        self._open: set[Connection] = set()

    def take(self, connection: Connection) -> bool:
        """Count a connection, and return whether it is not one too many."""
        self._open.add(connection)
        return len(self._open) <= self._limits.connections

    def leave(self, connection: Connection) -> None:
        """Count it no more."""
        self._open.discard(connection)

    def __call__(self) -> Connection:
        """Make a connection."""
        limits = self._limits
        return Connection(
            self,
            limits,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=limits.idle_s,
            max_line_size=limits.line_bytes,
            max_field_size=limits.line_bytes,
            max_headers=limits.headers,
            lingering_time=limits.linger_s,
            # Compressed bodies are refused; unpacking them first would be the harm.
            auto_decompress=False,
        )


class Runner(web.AppRunner):
    """Runs an application on connections of ours."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return Listener(server, self.app[DOORS].limits)


def check_bind(host: str, token: str | None) -> None:
    """Check that who can reach ``host`` can be asked for a token.

    Raises:
        Invalid: Other machines can, and there is none. Whoever may schedule a job may run anything.
    """
    if token is None and not is_loopback(host):
        raise Invalid(
            f"{host or 'every address'} can be reached from other machines, and there is no token: "
            "give --token-file, or listen at 127.0.0.1"
        )


def own_socket(host: str) -> socket.socket:
    """Return a socket bound to a free port of ``host``; it is listened at by `run_site`.

    Raises:
        Unavailable: There is no such address here.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        own = socket.socket(family, kind, protocol)
        own.bind(address)
    except OSError as error:
        raise Unavailable(f"cannot listen at {host}: {error.strerror or error}") from error
    return own


async def run_site(
    app: web.Application,
    host: str,
    port: int,
    *,
    own: socket.socket | None = None,
    grace_s: float = 5.0,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serve until `Doors.drain` is set or the caller cancels; then stop in peace.

    Stopping: no connection is accepted any more, streams and waits end with a last word, and requests under way have
    ``grace_s`` to be answered.

    Args:
        app: Of `harpoon.api.app.make_app`.
        host: To listen at.
        port: To listen at; 0 takes a free one.
        own: Listened at as well; the port is then shared with other processes that are told so.
        grace_s: Seconds.
        on_ready: Called with the port once connections are accepted.

    Raises:
        Invalid: The address can be reached from other machines, and there is no token.
        Unavailable: The address cannot be listened at.
    """
    doors = app[DOORS]
    check_bind(host, doors.token)
    runner = Runner(app, shutdown_timeout=grace_s)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG, reuse_port=own is not None or None)
        try:
            if own is not None:
                await web.SockSite(runner, own, backlog=_BACKLOG).start()
            await site.start()
        except OSError as error:
            raise Unavailable(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
        _log.info("site_opened", host=host, port=site.port)
        if on_ready is not None:
            on_ready(site.port)
        await doors.drain.wait()
    finally:
        doors.drain.set()
        await runner.cleanup()
        _log.info("site_closed", host=host)
