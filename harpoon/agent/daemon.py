"""An agent's daemon: from settings to a clean end. Starting is recovering; ending leaves all tasks running."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import structlog
from aiohttp import web

from harpoon.agent import probes, processes
from harpoon.agent.api import Api
from harpoon.agent.assembly import Machine, assemble
from harpoon.agent.connection import Runner
from harpoon.agent.drivers.process import ProcessDriver
from harpoon.agent.home import open_home
from harpoon.agent.logs import Rotator
from harpoon.agent.ports import Ports
from harpoon.agent.probes import SystemProber
from harpoon.agent.record import Record
from harpoon.agent.registration import Registration
from harpoon.agent.service import AgentService
from harpoon.agent.settings import AgentSettings
from harpoon.kit import codec
from harpoon.kit.clock import Clock, Random
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.wire import Adopt, Commands

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
        async with _machine(told, clock, rng) as machine:
            service = assemble(told, home, machine)
            async with _listening(service, told, stop) as port:
                _log.info("agent_ready", agent=told.name, uid=service.uid, host=told.host, port=port)
                if ready is not None:
                    ready(port)
                await _run(told, service, rng, port, stop)
    _log.info("agent_stopped", agent=told.name)


@asynccontextmanager
async def _machine(told: AgentSettings, clock: Clock, rng: Random) -> AsyncIterator[Machine]:
    """Make what runs tasks and asks their checks on this very machine; at the end, let go of it."""
    async with probes.probe_session() as session, _driver() as driver:
        yield Machine(
            clock=clock,
            rng=rng,
            driver=driver,
            prober=SystemProber(session, driver.programs, clock, rng),
            ports=Ports(told.ports),
            boot=processes.boot_id(),
        )


async def _run(told: AgentSettings, service: AgentService, rng: Random, port: int, stop: asyncio.Event) -> None:
    """Run all loops until the agent is to stop."""
    headers = {} if told.token is None else {"Authorization": f"Bearer {told.token}"}
    rotator = Rotator(service.tasks.growing_logs, told.log_bytes_max, service.metrics.log_rotations.inc)
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        registration = Registration(session, told.servers, service.describe(port), service.feed, rng)
        loops = [
            group.create_task(service.tasks.run(), name="tasks"),
            group.create_task(rotator.run(), name="logs"),
            group.create_task(registration.run(told.register_after), name="registration"),
        ]
        await stop.wait()
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
async def _listening(service: AgentService, told: AgentSettings, stop: asyncio.Event) -> AsyncIterator[int]:
    """Serve the API; at the end, end those who follow, and stop."""
    runner = Runner(Api(service, token=told.token, stop=stop).app(), access_log=None, shutdown_timeout=_LAST_WORDS_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, told.host, told.port).start()
        except OSError as error:
            raise Unavailable(f"cannot listen at {told.host} port {told.port}: {error.strerror}") from error
        yield runner.addresses[0][1]
    finally:
        service.feed.close()
        await runner.cleanup()
