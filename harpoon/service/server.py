"""A server: what one life of an instance is made of, and how it is kept until it is to end.

The process around it is `harpoon.service.process`.
"""

import asyncio
import gc
import socket
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import aiohttp
import structlog

from harpoon.agent.client import AgentClient
from harpoon.api.app import make_app
from harpoon.api.doors import Doors
from harpoon.api.site import own_socket, run_site
from harpoon.client.outward import OutwardCaller
from harpoon.client.peer import PeerClient
from harpoon.config import Listen, ServerSettings
from harpoon.control.closed_ports import ClosedPorts
from harpoon.control.connecting import Connecting
from harpoon.control.connectors import connectors_of
from harpoon.control.controller import Controller
from harpoon.control.keyring import Keyring
from harpoon.control.means import Means, PeerAnswer
from harpoon.control.metrics import Metrics
from harpoon.control.past import Past, PastMetrics
from harpoon.control.run_status import RunStatus
from harpoon.control.sharing import Sharing, homes_of
from harpoon.control.work import WorkExchange
from harpoon.kit.clock import SystemClock, system_random
from harpoon.kit.destination import Guard
from harpoon.kit.errors import Invalid, NotFound, leaves
from harpoon.kit.lag import watch_lag
from harpoon.kit.loop import Pace
from harpoon.model.name import TaskId
from harpoon.store.cluster import Cluster
from harpoon.store.opening import open_store
from harpoon.store.past.recorder import Recorder
from harpoon.store.patience import PAUSE_S, Patience
from harpoon.store.port import Renewal, RolledBack, Store
from harpoon.store.url import EtcdUrl

#: Of what a task wrote last, a failure keeps so much as evidence.
EVIDENCE_LINES: Final = 10
#: Connections to agents are few and long; the default of 100 would make the 101st agent wait for ever.
CONNECTIONS: Final = 0

#: Objects made since the last look at the young ones; looks at those until the middle-aged are looked at; then all.
#: Nothing else happens meanwhile, and it takes a millisecond for each thousand or two.
GC_THRESHOLDS: Final = (2_000, 4, 10_000)
#: Seconds that a thread which could go on waits for the one that computes. A commit takes the interpreter some times,
#: and keeping leases alive does: neither is to wait the usual 5 ms each time.
SWITCH_S: Final = 0.0005
#: A store is waited for so long at the start; then a supervisor is to know, which starts the server again.
START_WITHIN: Final = timedelta(seconds=30)

_log = structlog.get_logger(__name__)


async def serve_server(settings: ServerSettings, *, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Run a server until ``stop`` is set; ``ready`` is called with its URL once it answers.

    A store that is away is waited for: at the start for as long as `START_WITHIN`, later for ever.

    Raises:
        HarpoonError: It cannot start, or may not go on; the message says why.
        StoreUnavailable: The store is not one that waiting helps.
    """
    clock = SystemClock()
    patience = Patience(START_WITHIN if isinstance(settings.store, EtcdUrl) else timedelta(0), stop)
    store = await patience.insist(lambda: _open_store(settings, clock))
    if store is None:
        return
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            while not stop.is_set():
                try:
                    await _serve(settings, store, session, patience, ready)
                except* RolledBack as error:
                    # Nothing that was read from the store can be relied on, nor what was answered from it.
                    _log.error("starting_afresh", reasons=sorted({str(leaf) for leaf in leaves(error)}))
                    await asyncio.sleep(PAUSE_S[1])
    finally:
        await store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _House:
    """What one life of an instance is made of."""

    settings: ServerSettings
    means: Means
    controller: Controller
    #: Carries out what no worker does.
    connecting: Connecting
    doors: Doors
    #: Bound to the port that is this instance's alone, when it shares the other one.
    own: socket.socket | None
    #: Keeps the history, if one is kept.
    recorder: Recorder | None


async def _serve(
    settings: ServerSettings,
    store: Store,
    session: aiohttp.ClientSession,
    patience: Patience,
    ready: Callable[[str], None],
) -> None:
    own = own_socket(settings.listen.host) if settings.is_sharing else None
    caller: OutwardCaller | None = None
    try:
        means = _means(settings, store, session, own)
        controller = await patience.insist(
            lambda: Controller.open(
                means, Metrics(), partial(WorkExchange, clock=means.clock, homes=homes_of(means.instance))
            )
        )
        if controller is not None:
            patience.rely()
            _tune_interpreter()
            recorder = _recorder(settings, means, controller)
            work = _exchange_of(controller)
            closed = ClosedPorts(controller.view, settings.closed_ports(None if own is None else own.getsockname()[1]))
            caller = OutwardCaller(Guard(settings.http_allow, closed))
            connectors = connectors_of(means, controller, caller)
            connecting = Connecting(work, controller.runs.conductor_of, means.instance, connectors)
            sharing = Sharing(means, controller.view, controller.runs, work)
            doors = _doors(settings, means, controller, PeerClient(session), recorder, sharing)
            house = _House(
                settings=settings,
                means=means,
                controller=controller,
                connecting=connecting,
                doors=doors,
                own=own,
                recorder=recorder,
            )
            await _keep(house, patience.stop, ready)
    finally:
        if caller is not None:
            await caller.close()
        if own is not None:
            own.close()


def _means(settings: ServerSettings, store: Store, session: aiohttp.ClientSession, own: socket.socket | None) -> Means:
    peers, lease, keyring = PeerClient(session), settings.lease, Keyring(settings.secrets_key_file)
    keyring.check()

    def connect(endpoint: str) -> AgentClient:
        return AgentClient(session, endpoint, settings.token)

    async def last_lines(endpoint: str, task: TaskId) -> tuple[str, ...]:
        return await connect(endpoint).last_lines(task, EVIDENCE_LINES)

    async def ask_peer(url: str) -> PeerAnswer:
        told = await peers.health(url)
        return PeerAnswer(told.instance, told.revision, told.now_ms)

    async def tell_home(url: str, body: bytes, within_s: float) -> bytes:
        return await peers.report_permits(url, body, settings.token, within_s)

    return Means(
        store=store,
        connect=connect,
        clock=SystemClock(),
        rng=system_random(),
        keyring=keyring,
        instance=f"{settings.instance}-{uuid.uuid4().hex[:8]}",
        url=settings.url(None if own is None else own.getsockname()[1]),
        public_url=(settings.public_url or "").rstrip("/"),
        ask_peer=ask_peer,
        tell_home=tell_home,
        last_lines=last_lines,
        lost_after=settings.lost_after,
        lease_ttl=lease.ttl,
        renewal=Renewal(lease.keepalive.total_seconds(), lease.margin.total_seconds()),
        settle=lease.ttl,
        pace=Pace(resync=settings.resync),
    )


def _tune_interpreter() -> None:
    # What is loaded stays; the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    # Records have no cycles, and looking for some in all of them would make everybody wait: that is to be rare.
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)


async def _keep(house: _House, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Run the loops and the doors; the view goes on until the last request is answered.

    What is held is given back as soon as the end is near: others are to take it while requests under way are answered.
    """
    controller, means, doors = house.controller, house.means, house.doors
    async with asyncio.TaskGroup() as outer:
        following = [outer.create_task(controller.follow(), name="view")]
        if house.recorder is not None:
            following.append(outer.create_task(house.recorder.run(), name="history"))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(controller.run(), name="controller")
            listed = group.create_task(
                controller.roster.follow(house.settings.agents, means.connect), name="listed-agents"
            )
            site = group.create_task(_open_doors(house, ready), name="site")
            stopping = group.create_task(stop.wait(), name="stop")
            lag = group.create_task(watch_lag(means.clock, controller.metrics.loop_lag.observe), name="lag")
            work = group.create_task(_exchange_of(controller).run(), name="work")
            connecting = group.create_task(house.connecting.run(), name="connectors")
            assert doors.sharing is not None, "runs are conducted here"
            sharing = group.create_task(doors.sharing.run(), name="sharing")
            await asyncio.wait((site, stopping), return_when=asyncio.FIRST_COMPLETED)
            doors.drain.set()
            running.cancel()
            await site
            for task in (listed, stopping, lag, work, connecting, sharing):
                task.cancel()
        for task in following:
            task.cancel()


def _exchange_of(controller: Controller) -> WorkExchange:
    exchange = controller.exchange
    assert isinstance(exchange, WorkExchange), "it was opened with one"
    return exchange


def _recorder(settings: ServerSettings, means: Means, controller: Controller) -> Recorder | None:
    """Make what keeps the history; before the view follows."""
    if settings.history_directory is None:
        return None
    view = controller.view
    recorder = Recorder(
        means.store,
        view.mirror,
        about=Cluster(view.cluster, view.incarnation),
        directory=settings.history_directory,
        budget=settings.history_budget,
        clock=means.clock,
    )
    controller.metrics.registry.register(PastMetrics(recorder))
    return recorder


def _doors(
    settings: ServerSettings,
    means: Means,
    controller: Controller,
    peers: PeerClient,
    recorder: Recorder | None,
    sharing: Sharing,
) -> Doors:
    def logs(agent: str) -> AgentClient:
        row = controller.view.agents.rows.get(agent)
        if row is None:
            raise NotFound(f"there is no agent {agent}")
        client = means.connect(row.value.endpoint)
        assert isinstance(client, AgentClient), "only agents reached over HTTP have logs to pass on"
        return client

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
        past=None if recorder is None else Past(recorder, controller.view, means.clock),
        url=means.url,
        peers=lambda: None if controller.term is None else controller.term.peers.known,
        peer_client=peers,
        lost_after=means.lost_after,
        token=settings.token,
        work=_exchange_of(controller),
        sharing=sharing,
        runs=controller.runs,
        keyed=controller.keyed,
        workflows=controller.workflows,
        run_status=RunStatus(means.store, controller.runs.reader, means.clock, means.public_url),
    )


async def _open_store(settings: ServerSettings, clock: SystemClock) -> Store:
    try:
        return await open_store(settings.store, clock=clock, kept_for=settings.keep_history)
    except ValueError as error:
        raise Invalid(str(error)) from error


async def _open_doors(house: _House, ready: Callable[[str], None]) -> None:
    host, port = house.settings.listen
    app = make_app(house.doors)
    await run_site(app, host, port, own=house.own, on_ready=lambda port: ready(Listen(host, port).url))
