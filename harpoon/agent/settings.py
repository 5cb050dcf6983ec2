"""What an agent is told at its start, and what it finds out about its host."""

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.kit.address import is_loopback
from harpoon.kit.errors import Invalid
from harpoon.model.agent import Agent, Capacity, PortRange
from harpoon.model.amounts import check_amounts
from harpoon.model.name import check_name
from harpoon.model.volumes import HOST_PATHS_MAX, HostPath

#: Below the range that Linux gives to outgoing connections (32768 and up), so that neither takes the other's.
DEFAULT_PORTS: Final = PortRange(low=20_000, high=29_999)
#: Where an agent listens unless told otherwise: beside the server's 4450.
AGENT_PORT: Final = 4451
#: Longest path of a state directory: a notice of a task's shim names a file in it, and is to be one write to a pipe.
STATE_PATH_MAX: Final = 1024
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})
_MEMORY_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """What one agent is started with.

    Raises:
        ValueError: The values do not go together; the message says which and what would be right.
    """

    name: str
    #: Everything the agent must not forget; one agent a directory.
    state_dir: Path
    host: str = "127.0.0.1"
    #: 0: a free one, for tests.
    port: int = AGENT_PORT
    #: Base URLs of servers to register with; none: a server lists this agent itself.
    servers: tuple[str, ...] = ()
    #: The bearer token that callers show, and that the agent shows to servers; None: on loopback only.
    token: str | None = None
    #: What reservations may take; None: all that the machine has. Thousandths of a processor, and bytes.
    cpu: int | None = None
    memory: int | None = None
    ports: PortRange = DEFAULT_PORTS
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Named resources that it offers: how many of each.
    named: Mapping[str, int] = field(default_factory=dict)
    #: Where tasks' ports are reached from elsewhere; None: where this agent listens.
    address: str | None = None
    #: Base URL that servers dial; None: made of the address and the port.
    endpoint: str | None = None
    #: A log is moved aside once it is so large; with what was moved aside before, a stream keeps thrice that.
    log_bytes_max: int = 10 << 20
    #: Paths of the host that tasks may have.
    host_paths: tuple[HostPath, ...] = ()
    #: Most bytes of a file that is fetched for a task, and of all such files that are kept.
    artifact_bytes_max: int = 1 << 30
    artifact_cache_bytes: int = 10 << 30
    #: Hosts that files are fetched from, ``.example.org`` for all below; none: any.
    artifact_hosts: tuple[str, ...] = ()
    #: Where what tasks are given of secrets is kept; None: on a file system in memory, if the host has one.
    secrets_dir: Path | None = None
    #: Which engine runs containers here, and what they may be given.
    docker: DockerRules = field(default_factory=DockerRules)
    #: How long no server may be following before the agent registers again.
    register_after: timedelta = timedelta(seconds=5)

    def __post_init__(self) -> None:
        check_name("an agent's name", self.name)
        check_amounts(self.named)
        if self.token is None and not is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from other machines, and there is no token: "
                "give --token-file, or listen at 127.0.0.1"
            )
        if self.token == "":
            raise ValueError("the token is empty")
        if not 0 <= self.port <= 65535:
            raise ValueError("a port is 0 to 65535")
        for server in self.servers:
            if not server.startswith(("http://", "https://")):
                raise ValueError(f"write a server's URL, such as http://127.0.0.1:4450; got {server!r}")
        if len(str(self.state_dir.absolute())) > STATE_PATH_MAX:
            raise ValueError(f"the path of the state directory has at most {STATE_PATH_MAX} characters")
        if len(self.host_paths) > HOST_PATHS_MAX:
            raise ValueError(f"an agent allows at most {HOST_PATHS_MAX} host paths")
        if self.artifact_bytes_max < 1:
            raise ValueError("--artifact-max is more than 0, such as 1Gi")
        if self.log_bytes_max < 4096:
            raise ValueError("log_bytes_max is at least 4096")


def advertised_address(settings: AgentSettings) -> str:
    """Return where this host's ports are reached: as told, else where it listens, else how it reaches its server."""
    if settings.address is not None:
        return settings.address
    if settings.host not in _WILDCARDS:
        return settings.host
    for server in settings.servers:
        if (address := _address_towards(server)) is not None:
            return address
    raise Invalid(f"tell the address at which tasks of this agent are reached: it listens at {settings.host or '::'}")


def describe(
    settings: AgentSettings,
    uid: str,
    port: int,
    facts: Mapping[str, str] | None = None,
    *,
    mounts: bool,
    engine: str | None = None,
) -> Agent:
    """Return this agent as it registers itself.

    Args:
        settings: What it is started with.
        uid: Of its state directory.
        port: Where it listens.
        facts: What was found out elsewhere.
        mounts: Whether it can mount volumes for processes.
        engine: The version of what runs containers here; None: nothing does.
    """
    address = advertised_address(settings)
    host = f"[{address}]" if ":" in address else address
    return Agent(
        name=settings.name,
        uid=uid,
        endpoint=settings.endpoint or f"http://{host}:{port}",
        capacity=Capacity(
            cpu=len(os.sched_getaffinity(0)) * 1000 if settings.cpu is None else settings.cpu,
            memory=_memory() if settings.memory is None else settings.memory,
            named=settings.named,
        ),
        ports=settings.ports,
        tags=settings.tags,
        facts={
            "name": settings.name,
            "arch": platform.machine(),
            "os": platform.system().lower(),
            "address": address,
            **(facts or {}),
            **({} if engine is None else {"docker": engine}),
        },
        host_paths=settings.host_paths,
        mounts=mounts,
        drivers=("process",) if engine is None else ("docker", "process"),
    )


def _address_towards(server: str) -> str | None:
    """Return the address of this host from which ``server`` is reached, if it can be told."""
    parts = urlsplit(server)
    try:
        family, kind, _, _, there = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            # Connecting a datagram socket sends nothing; it asks the routing table.
            probe.connect(there)
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _memory() -> int:
    """Return the bytes of memory that this machine, or the container it is in, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY_LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total
