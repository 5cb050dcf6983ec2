"""What every task's life needs of its agent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from harpoon.agent.drivers.driver import Driver
from harpoon.agent.launch import Whereabouts
from harpoon.agent.metrics import Metrics
from harpoon.agent.ports import Ports
from harpoon.agent.probes import Prober
from harpoon.agent.supplies import Supplier
from harpoon.agent.vault import Vault
from harpoon.kit.clock import Clock, Random
from harpoon.model.name import TaskId
from harpoon.model.task import Task
from harpoon.model.template import Driver as DriverName
from harpoon.model.template import TaskTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Ports and shared things, handed to each life when it is made."""

    clock: Clock
    rng: Random
    driver: Driver
    #: Runs containers; None: nothing does.
    containers: Driver | None
    prober: Prober
    supplier: Supplier
    ports: Ports
    metrics: Metrics
    whereabouts: Whereabouts
    #: Has what tasks were given of secrets.
    vault: Vault
    #: Has a task told to those who follow; None: it is gone.
    tell: Callable[[TaskId, Task | None], None]
    #: Of this boot of the machine.
    boot: str
    #: Taken by those that are just being started, so that the host is not flooded.
    places: asyncio.Semaphore

    def driver_of(self, template: TaskTemplate) -> Driver | None:
        """Return what runs a task of this template; None: nothing here."""
        return self.containers if template.driver is DriverName.DOCKER else self.driver
