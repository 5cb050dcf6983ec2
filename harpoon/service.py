"""A server process and an agent process: from settings to a clean end."""

import asyncio
import gc
import resource
import signal
import sys
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiohttp
import structlog

from harpoon.agent import daemon
from harpoon.agent.client import AgentClient
from harpoon.agent.settings import AgentSettings
from harpoon.api.app import make_app
from harpoon.api.doors import Doors
from harpoon.api.site import run_site
from harpoon.config import Listen, ServerSettings
from harpoon.control.controller import Controller
from harpoon.control.means import HoldLost, Means
from harpoon.control.metrics import Metrics
from harpoon.kit.clock import SystemClock, system_random
from harpoon.kit.errors import HarpoonError, NotFound
from harpoon.kit.lag import watch_lag
from harpoon.kit.logs import configure_logs
from harpoon.kit.loop import Pace
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store, StoreUnavailable
from harpoon.store.sqlite import SqliteStore

#: Open files: a server has a socket for each agent and watcher, an agent some for each task.
OPEN_FILES: Final = 65_536
#: Connections to agents are few and long; the default of 100 would make the 101st agent wait for ever.
CONNECTIONS: Final = 0

#: Objects made since the last look at the young ones; looks at those until the middle-aged are looked at; then all.
GC_THRESHOLDS: Final = (20_000, 5, 1000)

_log = structlog.get_logger(__name__)


def run_server(settings: ServerSettings) -> int:
    """Run a server until it is told to stop; return the process's exit code."""

    async def serve(stop: asyncio.Event) -> None:
        await serve_server(settings, stop=stop, ready=lambda url: _log.info("server_ready", url=url))

    return _run(serve)


def run_agent(settings: AgentSettings) -> int:
    """Run an agent until it is told to stop; return the process's exit code. Its tasks run on."""

    async def serve(stop: asyncio.Event) -> None:
        await daemon.serve(settings, clock=SystemClock(), rng=system_random(), stop=stop)

    return _run(serve)


async def serve_server(settings: ServerSettings, *, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Run a server until ``stop`` is set; ``ready`` is called with its URL once it answers.

    Raises:
        HarpoonError: It cannot start, or may not go on; the message says why.
    """
    clock = SystemClock()
    store = await _open_store(settings, clock)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            while not stop.is_set():
                try:
                    await _serve(settings, store, session, stop, ready)
                except* HoldLost as lost:
                    # As after a long pause of this machine: starting is recovering, with new and higher tokens.
                    _log.warning("starting_again", reasons=sorted({str(error) for error in _leaves(lost)}))
    finally:
        await store.close()


async def _serve(
    settings: ServerSettings,
    store: Store,
    session: aiohttp.ClientSession,
    stop: asyncio.Event,
    ready: Callable[[str], None],
) -> None:
    def connect(endpoint: str) -> AgentClient:
        return AgentClient(session, endpoint, settings.token)

    means = Means(
        store=store,
        connect=connect,
        clock=SystemClock(),
        rng=system_random(),
        instance=f"{settings.instance}-{uuid.uuid4().hex[:8]}",
        lost_after=settings.lost_after,
        pace=Pace(resync=settings.resync),
    )
    controller = await Controller.open(means, Metrics())
    # What is loaded stays; the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    # Records have no cycles, and looking for some in all of them would make everybody wait: that is to be rare.
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        await _run_controller(settings, means, controller, stop, ready)
    finally:
        await controller.close()


async def _run_controller(
    settings: ServerSettings, means: Means, controller: Controller, stop: asyncio.Event, ready: Callable[[str], None]
) -> None:
    """Run the loops and the doors; the view goes on until the last request is answered."""
    doors = _doors(settings, means, controller)
    async with asyncio.TaskGroup() as outer:
        following = outer.create_task(controller.follow(), name="view")
        async with asyncio.TaskGroup() as group:
            running = group.create_task(controller.run(), name="controller")
            listed = group.create_task(controller.roster.follow(settings.agents, means.connect), name="listed-agents")
            site = group.create_task(_open_doors(settings, doors, ready), name="site")
            stopping = group.create_task(stop.wait(), name="stop")
            lag = group.create_task(watch_lag(means.clock, controller.metrics.loop_lag.observe), name="lag")
            await asyncio.wait((site, stopping), return_when=asyncio.FIRST_COMPLETED)
            doors.drain.set()
            await site
            for task in (running, listed, stopping, lag):
                task.cancel()
        following.cancel()


def _doors(settings: ServerSettings, means: Means, controller: Controller) -> Doors:
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
        store=means.store,
        instance=means.instance,
        clock=means.clock,
        logs=logs,
        drain=asyncio.Event(),
        metrics=controller.metrics.registry,
        bookings=controller.bookings,
        token=settings.token,
    )


async def _open_doors(settings: ServerSettings, doors: Doors, ready: Callable[[str], None]) -> None:
    host, port = settings.listen
    await run_site(make_app(doors), host, port, on_ready=lambda port: ready(Listen(host, port).url))


async def _open_store(settings: ServerSettings, clock: SystemClock) -> Store:
    path = settings.store_path
    if path is None:
        return MemoryStore()
    path.parent.mkdir(parents=True, exist_ok=True)
    return await SqliteStore.open(path, clock=clock, kept_for=settings.keep_history)


def _run(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Run ``serve`` on the fastest loop there is until SIGTERM or SIGINT."""
    log = configure_logs(sys.stderr.buffer)
    _raise_limit_of_open_files()

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        errors: list[BaseException] = []
        try:
            await serve(stop)
        except* (HarpoonError, HoldLost, StoreUnavailable, OSError) as group:
            errors = _leaves(group)
        for error in errors:
            _log.error("stopped", reason=str(error))
        return 1 if errors else 0

    try:
        return _run_fast(main())
    finally:
        log.flush()


def _run_fast(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 it may be absent
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _raise_limit_of_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
