"""The doors of a simulated instance: the shipped application, asked without sockets."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from harpoon.api import app, run_batches, run_orders, run_repairs, run_starts, runs, work, workflows
from harpoon.api.doors import Doors
from harpoon.api.stay import STAYS
from harpoon.client.peer import PASSED_WITHIN_S, PassedOn
from harpoon.control.controller import Controller
from harpoon.control.means import Means
from harpoon.control.run_status import RunStatus
from harpoon.control.work import WorkExchange
from harpoon.kit.errors import Unavailable
from tests.sim.loop import NODE
from tests.sim.lost import Lost
from tests.sim.network import DELAY_S

if TYPE_CHECKING:
    from tests.sim.world import World

#: Whoever asks sees so soon that nobody is there.
CONNECT_S: Final = 1.0
#: Those that are knocked at.
_ROUTES: Final = (
    *workflows.ROUTES,
    *runs.ROUTES,
    *run_starts.ROUTES,
    *run_orders.ROUTES,
    *run_repairs.ROUTES,
    *(route for route in run_batches.ROUTES if route.method == "POST"),
    *work.ROUTES,
)
#: By this name a server without a token answers.
_HOST: Final = "127.0.0.1"


def few_doors() -> None:
    """Have applications made without the other doors in this process, for good: there are many, and it takes a while."""
    app.ROUTES = _ROUTES  # type: ignore[misc]


#: Method, path with the query, headers and body.
Asked = tuple[str, str, Mapping[str, str], bytes]


class Told(NamedTuple):
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    #: The instance that gave it, and this life of its doors.
    by: str


class Line:
    """The connection that a request came by; `harpoon.api.stay.Telling`."""

    ssl_context = peername = sockname = transport = None
    _reading_paused = False

    def __init__(self, node: str) -> None:
        #: Where it leads to.
        self.node = node
        self._lost: Callable[[], None] | None = None
        self._is_lost = False

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Call back when whoever asks has left; None: no more."""
        self._lost = callback
        if self._is_lost and callback is not None:
            callback()

    def lose(self) -> None:
        """Take note that whoever asks has left."""
        self._is_lost = True
        if self._lost is not None:
            self._lost()

    def resume_reading(self, **_: object) -> None:
        """All of it is there."""


class Site:
    """The doors of one life of an instance."""

    def __init__(self, world: "World", means: Means, controller: Controller) -> None:
        exchange = controller.exchange
        assert isinstance(exchange, WorkExchange), "it was opened with one"
        self._name = f"{means.instance}.{next(world.sites)}"
        self._app = app.make_app(_doors(world, means, controller, exchange))
        self._app.freeze()

    async def answer(self, line: Line, request: Asked) -> Told:
        """Answer a request, as the process would."""
        response = await self._app._handle(self._request(line, *request))
        assert isinstance(response, web.Response), "nothing is asked for that streams"
        told = response.body or b""
        assert isinstance(told, bytes)
        return Told(response.status, dict(response.headers), told, self._name)

    def drain(self) -> None:
        """End what waits."""
        self._app[STAYS].drain()

    def _request(self, line: Line, method: str, target: str, headers: Mapping[str, str], body: bytes) -> web.Request:
        loop = asyncio.get_running_loop()
        sent = CIMultiDict(headers)
        sent["Host"] = _HOST
        sent["Content-Length"] = str(len(body))
        message = RawRequestMessage(
            method, target, HttpVersion11, CIMultiDictProxy(sent), (), False, None, False, False,
            URL(target, encoded=True),
        )  # fmt: skip
        payload = StreamReader(line, 1 << 16, loop=loop)  # type: ignore[arg-type]
        payload.feed_data(body)
        payload.feed_eof()
        given: Any = line
        return web.Request(message, payload, given, given, given, loop, client_max_size=1 << 22)


class SimPeers:
    """Asks other instances: what `PeerClient` is over HTTP."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def pass_on(
        self,
        method: str,
        url: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        within_s: float = PASSED_WITHIN_S,
    ) -> PassedOn:
        """Have another instance answer a request."""
        try:
            told = await ask(self._world, url, (method, path, headers, body or b""), within_s)
        except Lost as lost:
            raise Unavailable(str(lost)) from None
        return PassedOn(told.status, CIMultiDict(told.headers), told.body)


async def ask(world: "World", instance: str, request: Asked, within_s: float) -> Told:
    """Ask an instance by the network; whoever gives up hangs up, which is heard there if the way is open.

    Raises:
        Lost: There is no answer.
    """
    source, line = NODE.get(), Line(instance)

    async def answer() -> Told:
        site = world.instances[instance].site
        if site is None:
            raise Lost("it has only begun", is_sent=False)
        try:
            return await site.answer(line, request)
        except Exception as error:
            world.record.fail("crash", f"{instance}: {request[0]} {request[1]}: {error!r}")
            raise

    lines = world.lines.setdefault(source.name, {})
    lines[line] = None
    try:
        told = await world.net.call(instance, answer, connect_s=min(CONNECT_S, within_s), within_s=within_s)
    except BaseException:
        if NODE.get() is source:
            hang_up(world, source.name, line)
        raise
    del lines[line]
    return told


def hang_up(world: "World", source: str, *lines: Line) -> None:
    """Have connections of a node end; all that there are, unless told which."""
    own = world.lines.get(source, {})
    for line in lines or tuple(own):
        own.pop(line, None)
        node, way = world.net.nodes.get(line.node), world.net.way(source, line.node)
        if node is not None and way.cut_at is None:
            world.loop.call_later(DELAY_S[1], line.lose, context=node.context())


def _doors(world: "World", means: Means, controller: Controller, exchange: WorkExchange) -> Doors:
    peers: Any = SimPeers(world)

    def logs(agent: str) -> Any:
        raise Unavailable(f"the logs of {agent} are not simulated")

    return Doors(
        view=controller.view,
        registry=controller.registry,
        roster=controller.roster,
        cordons=controller.cordons,
        steering=controller.steering,
        cron_orders=controller.cron_orders,
        rebalancer=controller.rebalancer,
        store=means.store,
        instance=means.instance,
        clock=means.clock,
        logs=logs,
        drain=asyncio.Event(),
        metrics=controller.metrics.registry,
        bookings=controller.bookings,
        url=means.url,
        peers=lambda: None if controller.term is None else controller.term.peers.known,
        peer_client=peers,
        lost_after=means.lost_after,
        work=exchange,
        runs=controller.runs,
        workflows=controller.workflows,
        run_status=RunStatus(means.store, controller.runs.reader, means.clock),
    )
