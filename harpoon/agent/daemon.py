"""An agent's daemon: from settings to a clean end. Starting is recovering; ending leaves all tasks running."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import structlog
from aiohttp import web

from harpoon.agent import probes, processes, settings
from harpoon.agent.api import Api, Parts
from harpoon.agent.connection import Runner
from harpoon.agent.drivers.process import ProcessDriver
from harpoon.agent.feed import Feed
from harpoon.agent.fence import Fence
from harpoon.agent.home import Home, open_home
from harpoon.agent.launch import Whereabouts
from harpoon.agent.logs import Rotator
from harpoon.agent.means import Means
from harpoon.agent.metrics import Metrics
from harpoon.agent.ports import Ports
from harpoon.agent.probes import Prober
from harpoon.agent.record import Record
from harpoon.agent.registration import Registration
from harpoon.agent.settings import AgentSettings
from harpoon.agent.tasks import Tasks
from harpoon.kit import codec
from harpoon.kit.clock import Clock, Random
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.wire import Adopt, Commands

#: Tasks whose shim was spawned and has not told yet who the task is: enough to keep a host busy, and no more.
_STARTING_MAX = 32
#: Open requests get so long to end once the daemon is told to stop; streams are ended at once.
_LAST_WORDS_S = 2.0

_log = structlog.get_logger(__name__)


async def serve(
    told: AgentSettings,
    *,
    clock: Clock,
    rng: Random,
    stop: asyncio.Event,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Run an agent until ``stop`` is set. Its tasks run on.

    Args:
        told: What it is started with.
        clock: Tells the time.
        rng: For jitter.
        stop: Ends it.
        ready: Called with the port it listens at, once all its tasks are found and it serves.

    Raises:
        Conflict: Another agent uses the state directory.
        Invalid: What an earlier daemon left there cannot be read, or no address can be told.
        Unavailable: It cannot listen where it should.
        OSError: The state directory cannot be used.
    """
    _warm_up()
    with open_home(told.state_dir) as home:
        async with _open(told, home, clock, rng, stop) as parts, _listening(Api(parts).app(), told, parts.feed) as port:
            _log.info("agent_ready", agent=told.name, uid=parts.uid, host=told.host, port=port)
            if ready is not None:
                ready(port)
            await _run(told, home, parts, rng, port)
    _log.info("agent_stopped", agent=told.name)


@asynccontextmanager
async def _open(
    told: AgentSettings, home: Home, clock: Clock, rng: Random, stop: asyncio.Event
) -> AsyncIterator[Parts]:
    """Make all parts of an agent and find its tasks; at the end, let go of them."""
    address = settings.advertised_address(told)
    metrics = Metrics()
    feed = Feed(metrics)
    fence = Fence(home.mark)
    async with probes.probe_session() as session, _driver() as driver:
        means = Means(
            clock=clock,
            rng=rng,
            driver=driver,
            prober=Prober(session, driver.programs, clock, rng),
            ports=Ports(told.ports),
            metrics=metrics,
            whereabouts=Whereabouts(agent=told.name, address=address),
            tell=feed.tell,
            boot=processes.boot_id(),
            places=asyncio.Semaphore(_STARTING_MAX),
        )
        tasks = Tasks(means, home, fence.is_denied)
        tasks.recover()
        yield Parts(
            name=told.name,
            uid=home.uid,
            token=told.token,
            tasks=tasks,
            feed=feed,
            fence=fence,
            metrics=metrics,
            stop=stop,
            describe=lambda port: settings.describe(told, home.uid, port),
        )


async def _run(told: AgentSettings, home: Home, parts: Parts, rng: Random, port: int) -> None:
    """Run all loops until the agent is to stop."""
    headers = {} if told.token is None else {"Authorization": f"Bearer {told.token}"}
    agent = settings.describe(told, home.uid, port)
    rotator = Rotator(parts.tasks.growing_logs, told.log_bytes_max, parts.metrics.log_rotations.inc)
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        registration = Registration(session, told.servers, agent, parts.feed, rng)
        loops = [
            group.create_task(parts.tasks.run(), name="tasks"),
            group.create_task(rotator.run(), name="logs"),
            group.create_task(registration.run(told.register_after), name="registration"),
        ]
        await parts.stop.wait()
        for loop in loops:
            loop.cancel()


def _warm_up() -> None:
    """Have what reads bodies and records made now, and not while the first commands wait for it."""
    for kind in (Adopt, Commands, Record):
        with contextlib.suppress(Invalid):
            codec.load(kind, b"{}")


@asynccontextmanager
async def _driver() -> AsyncIterator[ProcessDriver]:
    driver = ProcessDriver()
    try:
        yield driver
    finally:
        driver.close()


@asynccontextmanager
async def _listening(app: web.Application, told: AgentSettings, feed: Feed) -> AsyncIterator[int]:
    """Serve the API; at the end, end those who follow, and stop."""
    runner = Runner(app, access_log=None, shutdown_timeout=_LAST_WORDS_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, told.host, told.port).start()
        except OSError as error:
            raise Unavailable(f"cannot listen at {told.host} port {told.port}: {error.strerror}") from error
        yield runner.addresses[0][1]
    finally:
        feed.close()
        await runner.cleanup()
