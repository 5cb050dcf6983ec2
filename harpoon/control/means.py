"""What the control loops are given: every way out of the process, and the times that govern them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from harpoon.agent.client import AgentTransport
from harpoon.control.keyring import Keyring
from harpoon.kit.clock import Clock, Random
from harpoon.kit.loop import Pace
from harpoon.model.name import TaskId
from harpoon.store.port import BY_THIRDS, Renewal, Store


class PeerAnswer(NamedTuple):
    """What another instance says of itself."""

    instance: str
    #: Of its view, as shown outside.
    revision: str
    #: Its wall clock, UTC milliseconds.
    now_ms: int


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
    #: Where the other instances reach this one; empty: nowhere.
    url: str = ""
    #: Where users outside reach the servers, without a slash at its end; empty: it is not known.
    public_url: str = ""
    #: Asks the instance at a URL how it stands; raises `Unavailable`.
    ask_peer: Callable[[str], Awaitable[PeerAnswer]] | None = None
    #: Brings a report to the instance at a URL that keeps limits, waits for so long for its answer, and returns it;
    #: raises `Unavailable`.
    tell_home: Callable[[str, bytes, float], Awaitable[bytes]] | None = None
    #: Asks the agent at an endpoint for the last lines that a task wrote; raises `Unavailable` and `NotFound`.
    last_lines: Callable[[str, TaskId], Awaitable[Sequence[str]]] | None = None
    #: What secrets are encrypted with.
    keyring: Keyring = field(default_factory=Keyring)
    #: An agent not reached for so long is lost.
    lost_after: timedelta = timedelta(seconds=30)
    #: A hold not renewed for so long is another instance's to take.
    lease_ttl: timedelta = timedelta(seconds=5)
    renewal: Renewal = BY_THIRDS
    #: An instance is handed agents of others once it has been there for so long.
    settle: timedelta = timedelta(seconds=5)
    pace: Pace = field(default_factory=Pace)
