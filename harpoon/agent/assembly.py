"""Putting an agent together, on whatever machine."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from harpoon.agent import settings
from harpoon.agent.drivers.driver import Driver
from harpoon.agent.feed import Feed
from harpoon.agent.fence import Fence
from harpoon.agent.home import Home
from harpoon.agent.launch import Whereabouts
from harpoon.agent.means import Means
from harpoon.agent.metrics import Metrics
from harpoon.agent.ports import Ports
from harpoon.agent.probes import Prober
from harpoon.agent.service import AgentService
from harpoon.agent.settings import AgentSettings
from harpoon.agent.supplies import Supplier
from harpoon.agent.tasks import Tasks
from harpoon.agent.vault import Vault
from harpoon.kit.clock import Clock, Random

#: Tasks whose shim was spawned and has not told yet who the task is: enough to keep a host busy, and no more.
_STARTING_MAX: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What an agent needs of the machine it is on. A simulation hands in its own."""

    clock: Clock
    #: For jitter.
    rng: Random
    driver: Driver
    #: Runs containers; None: nothing does.
    containers: Driver | None = None
    #: Tells the version of what runs them; None: it was not reached yet, or there is none.
    engine: Callable[[], str | None] = lambda: None
    prober: Prober
    supplier: Supplier
    ports: Ports
    #: Tells one boot of the machine from another.
    boot: str
    #: Whether volumes can be mounted.
    mounts: bool = False


def assemble(told: AgentSettings, home: Home, machine: Machine) -> AgentService:
    """Make all parts of an agent and find its tasks. To be called in a running event loop; it blocks.

    Raises:
        Invalid: What an earlier daemon left cannot be read, or no address can be told.
        OSError: The state directory cannot be used, or what runs cannot be found out.
    """
    metrics = Metrics()
    feed = Feed(metrics)
    fence = Fence(home.mark)
    means = Means(
        clock=machine.clock,
        rng=machine.rng,
        driver=machine.driver,
        containers=machine.containers,
        prober=machine.prober,
        supplier=machine.supplier,
        ports=machine.ports,
        metrics=metrics,
        whereabouts=Whereabouts(agent=told.name, address=settings.advertised_address(told)),
        vault=Vault(home.uid, told.secrets_dir),
        tell=feed.tell,
        boot=machine.boot,
        places=asyncio.Semaphore(_STARTING_MAX),
    )
    means.vault.tell()
    tasks = Tasks(means, home, fence.is_denied)
    tasks.recover()
    return AgentService(
        name=told.name,
        uid=home.uid,
        tasks=tasks,
        feed=feed,
        fence=fence,
        metrics=metrics,
        describe=lambda port: settings.describe(
            told, home.uid, port, means.vault.facts, mounts=machine.mounts, engine=machine.engine()
        ),
    )
