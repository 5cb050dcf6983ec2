"""An agent: the host daemon that runs tasks, as registered, the link to it, and what its operator decided of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harpoon.model.amounts import check_amounts
from harpoon.model.name import check_name
from harpoon.model.units import Cpu, Size
from harpoon.model.volumes import HOST_PATHS_MAX, HostPath

#: What a server can dial: a name or an address, perhaps a port and a path; no user, no query.
_ENDPOINT = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,10})(:[0-9]{1,5})?(/[A-Za-z0-9._~/%-]{0,255})?",
    re.ASCII,
)
#: Tags, and facts; and the characters of each. Agents tell about ten, of some tens of characters.
_TRAITS_MAX = 256
_TRAIT_LENGTH_MAX = 4096
#: The fact by which an agent says that it takes secrets, and where it keeps them: ``memory`` or ``disk``.
SECRETS_FACT = "secrets"
_DRIVERS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What an agent offers to reservations, or what these take of it."""

    #: Thousandths of a processor.
    cpu: Cpu
    #: Bytes.
    memory: Size
    #: What its operator says that there is besides, such as ``gpu``: how many of each.
    named: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """The ports an agent gives to tasks that ask for any; both ends belong to it."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high <= 65535:
            raise ValueError("a port range is low to high, within 1 to 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent as it registered itself, or as a static list names it."""

    name: str
    #: Made with the agent's state directory: the same name with another uid is another agent.
    uid: str
    #: Base URL that the server dials, such as ``http://127.0.0.1:4451``.
    endpoint: str
    capacity: Capacity
    ports: PortRange
    #: Set by its operator; placement rules test them.
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Found by the agent: ``arch``, ``os``, ``name`` and the like; tested like tags.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Paths that its operator lets tasks have.
    host_paths: tuple[HostPath, ...] = ()
    #: Whether it can mount volumes where a task is to find them.
    mounts: bool = False
    #: What it can run tasks with, sorted.
    drivers: tuple[str, ...] = ("process",)
    v: int = 1

    def __post_init__(self) -> None:
        check_name("an agent's name", self.name)
        if len(self.host_paths) > HOST_PATHS_MAX:
            raise ValueError(f"host_paths holds at most {HOST_PATHS_MAX}")
        if len(self.drivers) > _DRIVERS_MAX:
            raise ValueError(f"drivers are at most {_DRIVERS_MAX}")
        for driver in self.drivers:
            check_name("a driver", driver)
        _check_endpoint(self.endpoint)
        check_amounts(self.capacity.named)
        for traits in (self.tags, self.facts):
            if len(traits) > _TRAITS_MAX or any(len(k) + len(v) > _TRAIT_LENGTH_MAX for k, v in traits.items()):
                raise ValueError(f"tags and facts are at most {_TRAITS_MAX} of {_TRAIT_LENGTH_MAX} characters each")


def _check_endpoint(endpoint: str) -> None:
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None:
        raise ValueError("endpoint is a URL such as http://10.0.0.2:4451; it holds no user and no query")
    if match[3] is not None and not 1 <= int(match[3][1:]) <= 65535:
        raise ValueError("the port of an endpoint is 1 to 65535")


class LinkState(StrEnum):
    """What the server knows about reaching an agent."""

    #: Registered, not reached yet.
    UNKNOWN = "unknown"
    CONNECTED = "connected"
    #: The stream broke; nothing is taken away, nothing is commanded.
    INTERRUPTED = "interrupted"
    #: Not reached for ``lost_after``: its tasks are replaced elsewhere.
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The stored state of the link to an agent; written on transitions only."""

    agent: str
    state: LinkState
    #: When it came into this state, UTC milliseconds; a later holder counts on from here.
    since_ms: int
    reason: str = ""
    #: Instances that could not reach it when another could, or all the while; it is others' while there are any.
    failed_by: tuple[str, ...] = ()
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cordon:
    """An operator's word that an agent takes no new tasks. It belongs to the name, and outlives registrations."""

    agent: str
    #: Whether the tasks that are there are to be moved elsewhere.
    is_draining: bool
    #: When tasks that fit nowhere else are to go all the same, UTC milliseconds; None: never.
    deadline_ms: int | None = None
    #: Since when it takes no new tasks, or is drained; UTC milliseconds.
    since_ms: int
    reason: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """An operator's word that an agent will never come back; it stands until one of that name registers again."""

    agent: str
    #: Of the agent that is dead; empty: its registration was gone already.
    uid: str
    at_ms: int
    reason: str = ""
    v: int = 1
