"""Putting an agent together, on whatever machine."""

import asyncio
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
from harpoon.agent.tasks import Tasks
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
    prober: Prober
    ports: Ports
    #: Tells one boot of the machine from another.
    boot: str


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
        prober=machine.prober,
        ports=machine.ports,
        metrics=metrics,
        whereabouts=Whereabouts(agent=told.name, address=settings.advertised_address(told)),
        tell=feed.tell,
        boot=machine.boot,
        places=asyncio.Semaphore(_STARTING_MAX),
    )
    tasks = Tasks(means, home, fence.is_denied)
    tasks.recover()
    return AgentService(
        name=told.name,
        uid=home.uid,
        tasks=tasks,
        feed=feed,
        fence=fence,
        metrics=metrics,
        describe=lambda port: settings.describe(told, home.uid, port),
    )
