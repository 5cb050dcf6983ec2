"""The shipped agent on a simulated host: all its parts but the doors, and what is beyond them of the machine."""

from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from harpoon.agent.assembly import Machine, assemble
from harpoon.agent.home import open_home
from harpoon.agent.ports import Ports
from harpoon.agent.service import AgentService
from harpoon.agent.settings import AGENT_PORT, AgentSettings
from harpoon.kit.clock import Clock
from harpoon.model.agent import Agent, PortRange
from tests.sim.drivers import SimDriver, SimProber, SimSupplier
from tests.sim.hosts import Host

#: What an agent has to give unless told otherwise.
CAPACITY: dict[str, Any] = {"cpu": 4000, "memory": 8 << 30, "ports": PortRange(low=20_000, high=20_999)}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """One life of an agent's daemon. It ends by never being run again: `Host.listener` is then the next one's."""

    service: AgentService
    #: As it registers itself.
    agent: Agent

    @property
    def uid(self) -> str:
        """Of the agent: of its state directory."""
        return self.service.uid

    async def run(self) -> None:
        """See all tasks through, until cancelled."""
        await self.service.tasks.run()


async def boot(host: Host, *, name: str, clock: Clock, rng: Random, **told: Any) -> Daemon:
    """Start the daemon, in its node, as `harpoon.agent.daemon.serve` does: open its home, put it together, find its tasks.

    Args:
        host: Where. No other daemon may live there.
        name: The agent's.
        clock: The clock of its node.
        rng: For jitter.
        told: Further settings.

    Raises:
        OSError: The disk is full, and the directory new.
    """
    with open_home(host.disk.directory) as home:
        # Its lock is none (`disks.install`), so there is nothing to be kept open.
        pass
    fixed = {"state_dir": home.path, "address": name, "endpoint": f"http://{name}:{AGENT_PORT}"}
    settings = AgentSettings(name=name, **CAPACITY | fixed | told)
    driver = SimDriver(host)
    machine = Machine(
        clock=clock,
        rng=rng,
        driver=driver,
        prober=SimProber(host, clock, rng),
        supplier=SimSupplier(),
        ports=Ports(settings.ports, host.why_taken),
        boot=host.boot,
    )
    service = assemble(settings, home, machine)
    host.listener = driver
    _log.info("agent_ready", agent=name, host=settings.host, port=settings.port, uid=home.uid)
    return Daemon(service=service, agent=service.describe(settings.port))
