"""Serving the application: an address, the limits of connections, and a stop that leaves no one in the dark.

What aiohttp itself catches ends here: requests that are no HTTP, and faults of ours. The former are answered with
what is wrong; the latter without details, and logged with their traceback.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from harpoon.api.app import stamp
from harpoon.api.doors import DOORS
from harpoon.api.limits import Limits
from harpoon.api.problem import problem, request_id
from harpoon.kit.address import is_loopback
from harpoon.kit.errors import Invalid, Unavailable

#: Connections that wait to be accepted: a thousand agents or watchers that come back at once.
_BACKLOG = 1024

_log = structlog.get_logger(__name__)


class Connection(web.RequestHandler):
    """One connection; it tells the request that stays open on it when the client has left."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._when_lost: Callable[[], None] | None = None

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Call back when the client has left; None: no more. Requests of one connection follow one another."""
        self._when_lost = callback

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the request that stays open."""
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
                "request_failed", request_id=request_id.get(), method=request.method, path=request.path, exc_info=exc
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

    def __call__(self) -> Connection:
        """Make a connection."""
        limits = self._limits
        return Connection(
            self,
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


async def run_site(
    app: web.Application, host: str, port: int, *, grace_s: float = 5.0, on_ready: Callable[[int], None] | None = None
) -> None:
    """Serve until `Doors.drain` is set or the caller cancels; then stop in peace.

    Stopping: no connection is accepted any more, streams and waits end with a last word, and requests under way have
    ``grace_s`` to be answered.

    Args:
        app: Of `harpoon.api.app.make_app`.
        host: To listen at.
        port: To listen at; 0 takes a free one.
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
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
        try:
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
