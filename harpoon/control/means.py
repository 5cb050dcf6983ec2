"""What the control loops are given: every way out of the process, and the times that govern them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from harpoon.agent.client import AgentTransport
from harpoon.kit.clock import Clock, Random
from harpoon.kit.loop import Pace
from harpoon.store.port import Store


class HoldLost(Exception):
    """This instance may no longer act: its hold is gone. Not an error of anyone's; its term is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Ports and times, handed in at construction so that a simulation can hand in its own."""

    store: Store
    #: Opens the way to the agent at an endpoint.
    connect: Callable[[str], AgentTransport]
    clock: Clock
    rng: Random
    #: Unique name of this running process.
    instance: str
    #: An agent not reached for so long is lost.
    lost_after: timedelta = timedelta(seconds=30)
    pace: Pace = field(default_factory=Pace)
