"""Connections to an agent: what is no HTTP, or a fault of ours, is answered without quoting what was sent.

What was sent may hold a token; aiohttp itself would quote it in the answer.
"""

import asyncio

import structlog
from aiohttp import web

_log = structlog.get_logger(__name__)


class Connection(web.RequestHandler):
    """One connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 it may quote what was sent, a token among it
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and faults of ours."""
        if status >= 500 and not isinstance(exc, ConnectionError):
            _log.error("request_failed", method=request.method, path=request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; it cannot become another one")
        what = "a fault of the agent; its log tells more" if status >= 500 else "this is no request that can be read"
        response = web.json_response({"title": what}, status=status)
        response.force_close()
        return response


class Listener(web.Server):
    """Makes the connections."""

    def __init__(self, server: web.Server) -> None:
        super().__init__(server.request_handler, request_factory=server.request_factory)

    def __call__(self) -> Connection:
        """Make a connection."""
        return Connection(self, loop=asyncio.get_running_loop(), access_log=None, auto_decompress=False)  # type: ignore[arg-type]  # none


class Runner(web.AppRunner):
    """Runs an application on connections of ours."""

    async def _make_server(self) -> web.Server:
        return Listener(await super()._make_server())
