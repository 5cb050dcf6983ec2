"""The agent's HTTP API: what a server calls. Bodies are `model.wire`.

=============================  ========================================================================
``GET /v1/tasks``              a `Snapshot`; or, asked for ``text/event-stream``, one and all that follows
``POST /v1/adopt``             `Adopt` → `Snapshot`
``POST /v1/commands``          `Commands` → `Results`
``GET /v1/tasks/{id}/logs``    ``?stream=stdout|stderr&tail=N&follow=true|false`` → text
``GET /v1/agent``              who it is, as it registers itself: `Agent`; for servers that list it
``GET /v1/health``             open to all
``GET /metrics``               for Prometheus
=============================  ========================================================================
"""

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

import structlog
from aiohttp import web
from prometheus_client import generate_latest

from harpoon import __version__
from harpoon.agent.service import AgentService, OtherAgent
from harpoon.kit import codec
from harpoon.kit.address import is_local_name
from harpoon.kit.errors import Fenced, Invalid, NotFound, Unavailable
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.wire import Adopt, Commands

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: A thousand tasks with long commands and environments.
BODY_BYTES_MAX: Final = 64 << 20
#: A body that takes longer is a fault, or an attack.
BODY_TIMEOUT_S: Final = 20.0
#: Parameters in which people try to send a token. URLs end up in logs, so none is taken there.
_TOKEN_PARAMETERS: Final = frozenset({"token", "access_token", "auth", "authorization", "bearer", "api_key"})
TAIL_MAX: Final = 1_000_000
#: What was sent and not acknowledged for so long has nobody to read it.
_GONE_AFTER_MS: Final = 15_000
#: A follower that has not taken a snapshot, or some events, for so long is left.
_STUCK_S: Final = 60.0
_STATUS: Final = {Invalid: 400, NotFound: 404, Fenced: 409, Unavailable: 503}

_log = structlog.get_logger(__name__)


class Api:
    """The doors of one agent."""

    def __init__(self, service: AgentService, *, token: str | None, stop: asyncio.Event) -> None:
        """Make them.

        Args:
            service: What they lead to.
            token: What callers show; None: callers on this machine are let in without.
            stop: Once set, streams of logs end.
        """
        self._service = service
        self._token = token
        self._stop = stop

    def app(self) -> web.Application:
        """Make the application."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._guard])
        app.router.add_get("/v1/tasks", self._tasks)
        app.router.add_post("/v1/adopt", self._adopt)
        app.router.add_post("/v1/commands", self._commands)
        app.router.add_get("/v1/tasks/{id}/logs", self._logs)
        app.router.add_get("/v1/agent", self._agent)
        app.router.add_get("/v1/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask for the token, and make errors answers."""
        token = self._token
        if {name.lower() for name in request.query} & _TOKEN_PARAMETERS:
            return _answer({"title": "a token never goes into the URL; send it as Authorization: Bearer <token>"}, 400)
        if token is None and not is_local_name(request.host):
            return _answer({"title": "without a token this agent answers to localhost only"}, 403)
        if token is not None and request.path != "/v1/health":
            shown = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if not hmac.compare_digest(shown, f"Bearer {token}".encode()):
                headers = {"WWW-Authenticate": "Bearer"}
                return _answer({"title": "show the token: Authorization: Bearer …"}, 401, headers)
        try:
            return await handler(request)
        except (Fenced, OtherAgent) as error:
            self._service.metrics.fenced.inc()
            _log.warning("call_refused", path=request.path, reason=str(error))
            mark = self._service.fence.mark
            code = "fenced" if isinstance(error, Fenced) else "other_agent"
            return _answer({"title": str(error), "code": code, "mark": None if mark is None else mark.token}, 409)
        except (Invalid, NotFound, Unavailable) as error:
            return _answer({"title": str(error)}, _STATUS[type(error)])
        except TimeoutError:
            return _answer({"title": f"the body did not arrive within {BODY_TIMEOUT_S:g} s"}, 408)
        except web.HTTPException as error:
            return _answer({"title": error.reason}, error.status)

    async def _adopt(self, request: web.Request) -> web.Response:
        return _answer(await self._service.adopt(await self._body(request, Adopt)))

    async def _commands(self, request: web.Request) -> web.Response:
        return _answer(await self._service.command(await self._body(request, Commands)))

    async def _tasks(self, request: web.Request) -> web.StreamResponse:
        if "text/event-stream" not in request.headers.get("Accept", ""):
            return _answer(self._service.snapshot())
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        try:
            await response.prepare(request)
            _give_up_early(request)
            async with aclosing(self._service.stream()) as chunks:
                async for chunk in chunks:
                    await _write(response, chunk)
        except (ConnectionResetError, TimeoutError):
            pass
        return response

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        stream = request.query.get("stream", "stdout")
        follow = request.query.get("follow", "false")
        tail = request.query.get("tail")
        if stream not in ("stdout", "stderr"):
            raise Invalid("stream is stdout or stderr")
        if follow not in ("true", "false"):
            raise Invalid("follow is true or false")
        if tail is not None and not (tail.isascii() and tail.isdigit() and len(tail) < 8 and int(tail) <= TAIL_MAX):
            raise Invalid(f"tail is 0 to {TAIL_MAX} lines")
        log = self._service.tasks.log(TaskId(request.match_info["id"]), stream)
        if log is None:
            raise NotFound("this agent knows no such task")
        response = web.StreamResponse(
            headers={"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
        )
        try:
            await response.prepare(request)
            async with aclosing(log.read(None if tail is None else int(tail), follow=follow == "true")) as chunks:
                async for chunk in chunks:
                    if chunk:
                        await response.write(chunk)
                    elif self._stop.is_set() or request.transport is None or request.transport.is_closing():
                        break
        except ConnectionResetError:
            pass
        return response

    async def _agent(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        return _answer(self._service.describe(request.transport.get_extra_info("sockname")[1]))

    async def _health(self, _request: web.Request) -> web.Response:
        return _answer({"status": "ok", "agent": self._service.name, "version": __version__})

    async def _metrics(self, _request: web.Request) -> web.Response:
        metrics = self._service.metrics
        counts = self._service.tasks.count()
        for state in TaskState:
            metrics.tasks.labels(state).set(counts[state])
        return web.Response(
            body=generate_latest(metrics.registry),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _body(self, request: web.Request, kind: type[T]) -> T:
        # A page in a browser on this machine can send other types without asking first.
        if request.content_type != "application/json":
            raise Invalid("send application/json")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Invalid("send the body uncompressed")
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await request.read()
        except web.RequestPayloadError as error:
            raise Invalid("the body breaks off, or is not framed as HTTP frames it") from error
        return codec.load(kind, body)


def _answer(noun: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=codec.dump(noun), status=status, content_type="application/json", headers=headers)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write to a stream, unless its reader takes nothing for too long."""
    async with asyncio.timeout(_STUCK_S):
        await response.write(data)


def _give_up_early(request: web.Request) -> None:
    """Have the kernel end the connection when its far end is silent, instead of trying for many minutes."""
    peer = None if request.transport is None else request.transport.get_extra_info("socket")
    if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_AFTER_MS)
