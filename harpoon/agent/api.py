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
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from aiohttp import web
from prometheus_client import generate_latest

from harpoon import __version__
from harpoon.agent.feed import Feed, encode
from harpoon.agent.fence import Fence
from harpoon.agent.metrics import Metrics
from harpoon.agent.tasks import Tasks
from harpoon.kit import codec
from harpoon.kit.address import is_local_name
from harpoon.kit.errors import Fenced, HarpoonError, Invalid, NotFound, Unavailable
from harpoon.model.agent import Agent
from harpoon.model.command import Command, CommandResult, ForgetTask
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.wire import Adopt, Commands, Results, Snapshot

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: A thousand tasks with long commands and environments.
BODY_BYTES_MAX: Final = 64 << 20
#: A body that takes longer is a fault, or an attack.
BODY_TIMEOUT_S: Final = 20.0
#: Parameters in which people try to send a token. URLs end up in logs, so none is taken there.
_TOKEN_PARAMETERS: Final = frozenset({"token", "access_token", "auth", "authorization", "bearer", "api_key"})
#: A stream says something at least so often, so that its reader knows the agent is there.
KEEPALIVE_S: Final = 5.0
TAIL_MAX: Final = 1_000_000
#: What was sent and not acknowledged for so long has nobody to read it.
_GONE_AFTER_MS: Final = 15_000
#: A follower that has not taken a snapshot, or some events, for so long is left.
_STUCK_S: Final = 60.0
#: Commands carried out before others get their turn.
_SLICE: Final = 8
_STATUS: Final = {Invalid: 400, NotFound: 404, Fenced: 409, Unavailable: 503}

_log = structlog.get_logger(__name__)


class OtherAgent(HarpoonError):
    """The caller means an agent of another uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the API opens the doors to."""

    name: str
    uid: str
    token: str | None
    tasks: Tasks
    feed: Feed
    fence: Fence
    metrics: Metrics
    #: Once set, streams end.
    stop: asyncio.Event
    #: Tells who the agent is, given the port it listens at.
    describe: Callable[[int], Agent]


class Api:
    """The doors of one agent."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

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

    def snapshot(self) -> Snapshot:
        """Return all tasks as they are now."""
        parts = self._parts
        parts.feed.flush()
        return Snapshot(
            agent=parts.name,
            uid=parts.uid,
            seq=parts.feed.seq,
            boot=parts.feed.boot,
            tasks=tuple(parts.tasks),
            mark=None if parts.fence.mark is None else parts.fence.mark.token,
        )

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask for the token, and make errors answers."""
        token = self._parts.token
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
            self._parts.metrics.fenced.inc()
            _log.warning("call_refused", path=request.path, reason=str(error))
            mark = self._parts.fence.mark
            code = "fenced" if isinstance(error, Fenced) else "other_agent"
            return _answer({"title": str(error), "code": code, "mark": None if mark is None else mark.token}, 409)
        except (Invalid, NotFound, Unavailable) as error:
            return _answer({"title": str(error)}, _STATUS[type(error)])
        except TimeoutError:
            return _answer({"title": f"the body did not arrive within {BODY_TIMEOUT_S:g} s"}, 408)
        except web.HTTPException as error:
            return _answer({"title": error.reason}, error.status)

    async def _adopt(self, request: web.Request) -> web.Response:
        order = await self._body(request, Adopt)
        self._check_uid(order.uid)
        await self._parts.fence.admit(order.token, order.instance, order.cluster)
        _log.info("adopted", token=str(order.token), instance=order.instance)
        return _answer(self.snapshot())

    async def _commands(self, request: web.Request) -> web.Response:
        order = await self._body(request, Commands)
        fence = self._parts.fence
        self._check_uid(order.uid)
        await fence.admit(order.token, order.instance)
        refusal = await self._deny(order)
        # Another holder may have taken over meanwhile.
        fence.check(order.token, order.instance)
        results: list[CommandResult] = []
        for start in range(0, len(order.commands), _SLICE):
            if start:
                await asyncio.sleep(0)
                fence.check(order.token, order.instance)
            slice_ = order.commands[start : start + _SLICE]
            results += (done := [self._obey(command, refusal) for command in slice_])
            # Told before anyone else has a turn: what is broken off here has happened so far, and before what follows.
            told = [_told(command, result) for command, result in zip(slice_, done, strict=True)]
            _log.info("commands_carried_out", token=str(order.token), instance=order.instance, results=told)
        return _answer(Results(results=tuple(results)))

    def _obey(self, command: Command, refusal: str) -> CommandResult:
        """Carry out a command, unless it is to confirm a denial that is not on disk."""
        mark = self._parts.fence.mark
        assert mark is not None, "a token was admitted"
        if refusal and isinstance(command, ForgetTask) and command.is_denied:
            return CommandResult(task=command.task, is_ok=False, reason=refusal)
        return self._parts.tasks.obey(command, mark.cluster)

    async def _deny(self, order: Commands) -> str:
        """Put on disk what the commands deny, all at once, before any is answered; return why it is not there."""
        denied = [one.task for one in order.commands if isinstance(one, ForgetTask) and one.is_denied]
        try:
            if denied:
                await self._parts.fence.deny(order.token, order.instance, denied)
        except (Invalid, Unavailable) as error:
            return str(error)
        return ""

    async def _tasks(self, request: web.Request) -> web.StreamResponse:
        if "text/event-stream" not in request.headers.get("Accept", ""):
            return _answer(self.snapshot())
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        feed = self._parts.feed
        snapshot = encode("snapshot", self.snapshot())
        # No turn of the loop lies between the snapshot and the following of what comes after it.
        follower = feed.follow()
        try:
            await response.prepare(request)
            _give_up_early(request)
            await _write(response, snapshot)
            while not follower.is_cut:
                events = await follower.take(KEEPALIVE_S)
                if not follower.is_cut:
                    await _write(response, b": \n\n" if events is None else events)
        except (ConnectionResetError, TimeoutError):
            pass
        finally:
            feed.leave(follower)
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
        log = self._parts.tasks.log(TaskId(request.match_info["id"]), stream)
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
                    elif self._parts.stop.is_set() or request.transport is None or request.transport.is_closing():
                        break
        except ConnectionResetError:
            pass
        return response

    async def _agent(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        return _answer(self._parts.describe(request.transport.get_extra_info("sockname")[1]))

    async def _health(self, _request: web.Request) -> web.Response:
        return _answer({"status": "ok", "agent": self._parts.name, "version": __version__})

    async def _metrics(self, _request: web.Request) -> web.Response:
        metrics = self._parts.metrics
        counts = self._parts.tasks.count()
        for state in TaskState:
            metrics.tasks.labels(state).set(counts[state])
        return web.Response(
            body=generate_latest(metrics.registry),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    def _check_uid(self, uid: str) -> None:
        if uid != self._parts.uid:
            raise OtherAgent(f"this agent is {self._parts.uid}, and {uid[:80]!r} was meant")

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


def _told(command: Command, result: CommandResult) -> str:
    """Say what became of a command, for the log."""
    if result.is_ok:
        return f"{command.kind} {command.task}: {'denied' if result.is_denied else 'done'}"
    return f"{command.kind} {command.task}: {'refused as denied' if result.is_denied else 'refused'}: {result.reason}"


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write to a stream, unless its reader takes nothing for too long."""
    async with asyncio.timeout(_STUCK_S):
        await response.write(data)


def _give_up_early(request: web.Request) -> None:
    """Have the kernel end the connection when its far end is silent, instead of trying for many minutes."""
    peer = None if request.transport is None else request.transport.get_extra_info("socket")
    if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_AFTER_MS)
