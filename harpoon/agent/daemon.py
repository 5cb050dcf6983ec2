"""An agent's daemon: from settings to a clean end. Starting is recovering; ending leaves all tasks running."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import structlog
from aiohttp import web

from harpoon.agent import mounts, probes, processes
from harpoon.agent.api import Api
from harpoon.agent.artifacts import download
from harpoon.agent.artifacts.cache import Cache
from harpoon.agent.artifacts.download import Downloader, Rules
from harpoon.agent.assembly import Machine, assemble
from harpoon.agent.connection import Runner
from harpoon.agent.drivers.driver import Containers
from harpoon.agent.drivers.groups import open_groups
from harpoon.agent.drivers.process import ProcessDriver
from harpoon.agent.drivers.programs import Programs
from harpoon.agent.home import Home, open_home
from harpoon.agent.logs import Rotator
from harpoon.agent.paths import Allowed
from harpoon.agent.ports import Ports
from harpoon.agent.probes import SystemProber
from harpoon.agent.record import Record
from harpoon.agent.registration import Registration
from harpoon.agent.service import AgentService
from harpoon.agent.settings import AgentSettings
from harpoon.agent.supplies import HostSupplier, Store
from harpoon.kit import codec
from harpoon.kit.clock import Clock, Random
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.wire import Adopt, Commands

#: Open requests get so long to end once the daemon is told to stop; streams are ended at once.
_LAST_WORDS_S = 2.0
#: An engine is waited for so long before the agent is registered without one.
_ENGINE_S = 3.0

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
        async with (
            _containers(told, home, clock, rng) as containers,
            _machine(told, home, clock, rng, containers) as machine,
        ):
            service = assemble(told, home, machine)
            async with _listening(service, told, stop) as port:
                _log.info("agent_ready", agent=told.name, uid=service.uid, host=told.host, port=port)
                if ready is not None:
                    ready(port)
                await _run(told, service, containers, rng, port, stop)
    _log.info("agent_stopped", agent=told.name)


@asynccontextmanager
async def _containers(told: AgentSettings, home: Home, clock: Clock, rng: Random) -> AsyncIterator[Containers | None]:
    """Make what runs containers, if there is anything to ask; at the end, let go of the engine."""
    if told.docker.url is None:
        yield None
        return
    try:
        from harpoon.agent.drivers.docker import DockerDriver  # noqa: PLC0415 the library for it may not be there
    except ModuleNotFoundError as error:
        _log.info("no_containers", reason=f"the package {error.name} is not installed: see the docker extra")
        yield None
        return
    driver = DockerDriver(told.docker, home.path, home.uid, clock, rng)
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def _machine(
    told: AgentSettings, home: Home, clock: Clock, rng: Random, containers: Containers | None
) -> AsyncIterator[Machine]:
    """Make what runs tasks and asks their checks on this very machine; at the end, let go of it."""
    tools = mounts.find_tools()
    async with (
        probes.probe_session() as session,
        download.download_session() as fetching,
        _driver(home) as driver,
    ):
        yield Machine(
            clock=clock,
            rng=rng,
            driver=driver,
            containers=containers,
            engine=lambda: None if containers is None else containers.version,
            prober=SystemProber(session, driver.programs, clock, rng),
            supplier=_supplier(told, home, fetching, driver.programs, tools),
            ports=Ports(told.ports),
            boot=processes.boot_id(),
            mounts=tools is not None,
        )


def _supplier(
    told: AgentSettings, home: Home, session: aiohttp.ClientSession, programs: Programs, tools: mounts.Tools | None
) -> HostSupplier:
    allowed = Allowed(paths=told.host_paths, own=str(home.path), engine=told.docker.socket)
    rules = Rules(bytes_max=told.artifact_bytes_max, hosts=told.artifact_hosts, allowed=allowed)
    store = Store(
        cache=Cache(home.artifacts, told.artifact_cache_bytes),
        downloader=Downloader(session, rules),
        bytes_max=told.artifact_bytes_max,
    )
    return HostSupplier(store, programs, allowed, tools)


async def _run(
    told: AgentSettings,
    service: AgentService,
    containers: Containers | None,
    rng: Random,
    port: int,
    stop: asyncio.Event,
) -> None:
    """Run all loops until the agent is to stop."""
    headers = {} if told.token is None else {"Authorization": f"Bearer {told.token}"}
    rotator = Rotator(service.tasks.growing_logs, told.log_bytes_max, service.metrics.log_rotations.inc)
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        loops = []
        if containers is not None:
            loops.append(group.create_task(containers.run(), name="containers"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ENGINE_S):
                    await containers.tried()
        registration = Registration(session, told.servers, service.describe(port), service.feed, rng)
        if containers is not None:
            containers.when_met(lambda: registration.renew(service.describe(port)))
        loops += [
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
async def _driver(home: Home) -> AsyncIterator[ProcessDriver]:
    driver = ProcessDriver(open_groups(home.uid, home.groups))
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
