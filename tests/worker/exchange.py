"""A work exchange in memory, over real HTTP: as exact about numbers, replays and tokens as a server.

It runs in a thread of its own, so that it answers while the worker's event loop stands still.
"""

import asyncio
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from harpoon.model.units import parse_duration
from harpoon.worker.wire import Ref
from tests.ports import free_port


@dataclass
class Piece:
    """One attempt, and what has become of it."""

    ref: Ref
    handler: str
    input: object
    timeout_ms: int = 60_000
    heartbeat_ms: int = 30_000
    labels: tuple[str, ...] = ()
    token: str = ""
    closing: dict | None = None
    lost: str = ""
    claims: int = 0
    #: Of the session that claimed it.
    life: "Life | None" = None

    @property
    def is_ready(self) -> bool:
        return not (self.token or self.closing or self.lost)

    def claim(self) -> dict:
        return {
            **self.ref._asdict(), "workflow": "flow", "token": self.token, "handler": self.handler,
            "input": self.input, "key": f"default/{self.ref.run}/{self.ref.op}/{self.ref.visit}",
            "timeout_ms": self.timeout_ms, "heartbeat_ms": self.heartbeat_ms, "queued_ms": 3,
            "labels": list(self.labels), "of_a_newer_server": True,
        }  # fmt: skip


@dataclass
class Life:
    """One session."""

    seq: int = 0
    answer: bytes = b""
    turn: int = 0
    lost: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """What is to go wrong with one request: refused before, or its answer never sent."""

    status: int = 0
    detail: str = "told to"
    drop: bool = False
    #: What is answered instead.
    text: str = ""
    #: Whether it befalls a request.
    when: Callable[[dict], bool] = lambda body: True


class Exchange:
    """Pieces of work, and what workers said of them. Several servers may share one."""

    def __init__(self) -> None:
        self.pieces: dict[Ref, Piece] = {}
        self.requests: list[dict] = []
        self.heads: list[dict] = []
        self.ports: list[int] = []
        self.beats: Counter[Ref] = Counter()
        self.progress: dict[Ref, object] = {}
        #: Label → what a closing with it is answered.
        self.verdicts: dict[str, tuple[int, str]] = {}
        #: Whether a request with this closing is refused whole.
        self.poison: Callable[[dict], bool] = lambda closing: False
        self.faults: deque[Fault] = deque()
        #: Whether anything goes wrong with any other request.
        self.mischief: Callable[[dict], Fault | None] = lambda body: None
        self.said = threading.Condition()
        self.lives: dict[tuple[str, str], Life] = {}
        self._sites: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._tokens = 0
        #: What every answer says beside.
        self.extra: dict = {}

    def offer(self, handler: str, given: object = None, **told) -> Ref:
        """Have something done."""
        with self.said:
            ref = told.pop("ref", None) or Ref(f"r{len(self.pieces) + 1}", "op", 1, 1)
            self.pieces[ref] = Piece(ref, handler, given, **told)
        self.wake()
        return ref

    def lose(self, ref: Ref, reason: str) -> None:
        """Have whoever claimed it learn that it is lost."""
        with self.said:
            piece = self.pieces[ref]
            piece.lost = reason
            if piece.life is not None:
                piece.life.lost.append({**ref._asdict(), "reason": reason})
        self.wake()

    def closing(self, ref: Ref) -> dict | None:
        return self.pieces[ref].closing

    def until(self, holds: Callable[[], bool], what: str = "it") -> None:
        """Return once something holds; not on the worker's loop."""
        with self.said:
            assert self.said.wait_for(holds, timeout=20), f"{what} has not come to pass"

    async def seen(self, holds: Callable[[], bool], what: str = "it") -> None:
        """Return once something holds."""
        await asyncio.to_thread(self.until, holds, what)

    async def closed(self, *refs: Ref) -> list[dict]:
        """Return how attempts were closed, once they all are."""
        await self.seen(lambda: all(self.closing(ref) for ref in refs), "a closing")
        return [self.closing(ref) for ref in refs]

    def wake(self) -> None:
        for loop, news in self._sites:
            loop.call_soon_threadsafe(news.set)

    async def work(self, request: web.Request, news: asyncio.Event) -> web.StreamResponse:
        body = json.loads(await request.read())
        with self.said:
            self.requests.append(body)
            self.heads.append({**request.headers, "path": request.path})
            self.ports.append(request.url.port)
            self.said.notify_all()
            fault = self._fault(body)
            if fault is not None and fault.text:
                return web.Response(text=fault.text)
            if fault is not None and fault.status:
                return _problem(fault.status, fault.detail)
            life = self.lives.setdefault((body["worker"], body["session"]), Life())
            if body["seq"] < life.seq:
                return _problem(409, "older than one that was answered")
            if body["seq"] == life.seq:
                return await self._send(request, life.answer, fault)
            if any(self.poison(one) for one in body.get("closings", ())):
                return _problem(422, "one of the closings cannot be read")
            life.turn += 1
            turn = life.turn
            told = {
                "results": [self._close(one) for one in body.get("closings", ())],
                "lost": [lost for one in body.get("heartbeats", ()) if (lost := self._beat(one))],
            }
        await self._wait(body, life, turn, news, has_news=any(told.values()))
        with self.said:
            if life.turn != turn:
                return _problem(503, "a later request took its place")
            told["lost"], life.lost = told["lost"] + life.lost, []
            answer = {"seq": body["seq"], **told, "claims": self._claim(body, life)}
            life.seq, life.answer = body["seq"], json.dumps(answer | self.extra).encode()
            self.said.notify_all()
        return await self._send(request, life.answer, fault)

    def _fault(self, body: dict) -> Fault | None:
        if self.faults and self.faults[0].when(body):
            return self.faults.popleft()
        return self.mischief(body)

    async def _send(self, request: web.Request, answer: bytes, fault: Fault | None) -> web.StreamResponse:
        if fault is not None and fault.drop:
            request.transport.abort()
        return web.Response(body=answer, content_type="application/json")

    async def _wait(self, body: dict, life: Life, turn: int, news: asyncio.Event, *, has_news: bool) -> None:
        wait_s = 0 if has_news else parse_duration(body["wait"]).total_seconds()
        try:
            async with asyncio.timeout(wait_s):
                while wait_s and life.turn == turn and not (life.lost or self._ready(body)):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            pass

    def _ready(self, body: dict) -> list[Piece]:
        with self.said:
            ready = [one for one in self.pieces.values() if one.is_ready and one.handler in body["handlers"]]
            return [] if body.get("draining") else ready[: body["want"]]

    def _claim(self, body: dict, life: Life) -> list[dict]:
        taken = self._ready(body)
        for piece in taken:
            self._tokens += 1
            piece.token, piece.claims, piece.life = f"1.{self._tokens}", piece.claims + 1, life
        return [piece.claim() for piece in taken]

    def _close(self, closing: dict) -> dict:
        ref = _ref(closing)
        piece = self.pieces[ref]
        status, detail = self.verdicts.get(closing["label"], (200, ""))
        if piece.lost or piece.token != closing["token"] or piece.closing not in (None, closing):
            status, detail = 409, piece.lost or "another closing came first"
        if status == 200:
            piece.closing = closing
        self.said.notify_all()
        return {**ref._asdict(), "status": status, "title": "", "detail": detail}

    def _beat(self, beat: dict) -> dict | None:
        ref = _ref(beat)
        piece = self.pieces[ref]
        self.beats[ref] += 1
        if "progress" in beat:
            self.progress[ref] = beat["progress"]
        self.said.notify_all()
        return {**ref._asdict(), "reason": piece.lost} if piece.lost or piece.token != beat["token"] else None


def _ref(told: dict) -> Ref:
    return Ref(told["run"], told["op"], told["visit"], told["attempt"])


def _problem(status: int, detail: str) -> web.Response:
    told = {"type": "urn:harpoon:problem:x", "title": "X", "status": status, "detail": detail}
    return web.json_response(told, status=status, content_type="application/problem+json")


class Site:
    """One server of an exchange, which can be stopped and started again at the same place."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._is_away = False
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = free_port()
        exchange._sites.append((self._loop, self._news))
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._do(self._start())

    def stop(self) -> None:
        """Cut all connections, and listen no more."""
        self._do(self._stop())

    def close(self) -> None:
        if self._runner is not None:
            self.stop()
        self._exchange._sites.remove((self._loop, self._news))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/namespaces/{ns}/work", self._work)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def _work(self, request: web.Request) -> web.StreamResponse:
        if self._is_away:
            request.transport.abort()
            return web.Response()
        return await self._exchange.work(request, self._news)

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        assert runner is not None
        # Before anybody has reason to come again: who is let in while it closes would be left behind.
        for listening in list(runner.sites):
            await listening.stop()
        await _turns()
        self._cut(runner)
        await runner.cleanup()
        await _turns()

    def away(self) -> None:
        """Cut all connections, and each that comes, until `back`."""
        self._is_away = True
        self._do(self._away())

    def back(self) -> None:
        self._is_away = False

    async def _away(self) -> None:
        assert self._runner is not None
        self._cut(self._runner)

    def _cut(self, runner: web.AppRunner) -> None:
        for connection in list(runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@contextmanager
def a_site(exchange: Exchange) -> Iterator[Site]:
    site = Site(exchange)
    try:
        yield site
    finally:
        site.close()
