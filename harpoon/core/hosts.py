"""What there is of agents: hosts as the index keeps them, and the room on one, by which hosts are told apart.

Two agents in the same room take the same tasks and refuse the others in the same words, but for their tags and facts.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from harpoon.core.blockers import Refusal
from harpoon.model.agent import Agent, Cordon, LinkState
from harpoon.model.name import TaskId
from harpoon.model.task import Reservation
from harpoon.model.volumes import HostPath, allowance


class Room(NamedTuple):
    """All that decides what one agent takes, beside its tags and facts."""

    link: LinkState
    #: Whether it is drained; None: it is not cordoned either.
    draining: bool | None
    #: What it offers: thousandths of a processor, bytes, and named resources by name.
    cpu_capacity: int
    memory_capacity: int
    offered: tuple[tuple[str, int], ...]
    #: What is reserved of that.
    cpu: int
    memory: int
    named: tuple[tuple[str, int], ...]
    #: Fixed ports → the job that has them, as ``<namespace>/<job>``, by number.
    ports: tuple[tuple[int, str], ...]
    #: Paths that its operator allows.
    paths: tuple[HostPath, ...]
    #: Whether it can mount them.
    mounts: bool
    #: What it can run tasks with.
    drivers: tuple[str, ...]

    def closed(self) -> tuple[Refusal, ...]:
        """Return why nothing at all is taken."""
        found = []
        if self.link is not LinkState.CONNECTED:
            found.append(Refusal(predicate="link", wanted="connected", found=str(self.link)))
        if self.draining is not None:
            state = "draining" if self.draining else "cordoned"
            found.append(Refusal(predicate="cordon", wanted="none", found=state))
        return tuple(found)

    def fits(self, need: Reservation) -> bool:
        """Return whether something is taken, and nothing of this falls short."""
        if self.link is not LinkState.CONNECTED or self.draining is not None or need.driver not in self.drivers:
            return False
        if 0 < need.cpu > self.cpu_capacity - self.cpu or 0 < need.memory > self.memory_capacity - self.memory:
            return False
        return not (need.named or need.ports or need.paths or need.mounts) or not self.lacks(need)

    def lacks(self, need: Reservation) -> tuple[Refusal, ...]:
        """Return everything that falls short, whether anything is taken or not."""
        found = []
        cpu, memory = self.cpu_capacity - self.cpu, self.memory_capacity - self.memory
        if 0 < need.cpu > cpu:
            found.append(Refusal.of_amount("cpu", need.cpu, cpu, self.cpu_capacity))
        if 0 < need.memory > memory:
            found.append(Refusal.of_amount("memory", need.memory, memory, self.memory_capacity))
        if need.named:
            offered, named = dict(self.offered), dict(self.named)
            for name, count in need.named:
                capacity = offered.get(name, 0)
                free = capacity - named.get(name, 0)
                if count > free:
                    found.append(Refusal.of_named(name, count, free, capacity))
        if need.ports and self.ports:
            taken = dict(self.ports)
            found += [
                Refusal(predicate=f"port {port}", wanted="free", found=f"taken by job {taken[port]}")
                for port in need.ports
                if port in taken
            ]
        return (*found, *self.bars(need))

    def bars(self, need: Reservation) -> tuple[Refusal, ...]:
        """Return what it does not let a task have, however much is free."""
        found = []
        if need.driver not in self.drivers:
            found.append(Refusal(predicate="driver", wanted=need.driver, found=", ".join(self.drivers) or "none"))
        for path, is_written in need.paths:
            may_write = allowance(self.paths, path)
            if may_write is None:
                found.append(Refusal(predicate=f"host path {path}", wanted="allowed", found="not allowed"))
            elif is_written and not may_write:
                found.append(Refusal(predicate=f"host path {path}", wanted="writable", found="read-only"))
        if need.mounts and not self.mounts:
            found.append(Refusal(predicate="mounts", wanted="possible", found="not possible"))
        return tuple(found)

    def emptiness(self, need: Reservation) -> float:
        """Return, below zero, how full it is with one more task."""
        cpu, memory = self.cpu_capacity, self.memory_capacity
        return emptiness(cpu, cpu - self.cpu, memory, memory - self.memory, need)


@dataclass(slots=True)
class Host:
    """One agent in the index; also one that is named by placements, a link or a cordon only. For reading."""

    #: None: not registered.
    agent: Agent | None = None
    link: LinkState = LinkState.UNKNOWN
    #: Why it takes no new tasks; None: it does.
    cordon: Cordon | None = None
    #: Reserved in all: thousandths of a processor, and bytes.
    cpu: int = 0
    memory: int = 0
    #: Of named resources, those of which any is.
    named: dict[str, int] = field(default_factory=dict)
    #: Fixed port → the placements that have it; more than one only if records say so that were not decided here.
    ports: dict[int, set[TaskId]] = field(default_factory=dict)
    #: The room on it, once it was asked for; whoever changes anything takes it away.
    known_room: Room | None = field(default=None, compare=False)

    def copy(self) -> "Host":
        """Return one that changes apart from this."""
        return replace(self, named=dict(self.named), ports={port: set(holders) for port, holders in self.ports.items()})

    def reserve(self, task: TaskId, reserve: Reservation) -> None:
        """Count what a task takes."""
        self.cpu += reserve.cpu
        self.memory += reserve.memory
        for name, count in reserve.named:
            self.named[name] = self.named.get(name, 0) + count
        for port in reserve.ports:
            self.ports.setdefault(port, set()).add(task)

    def free(self, task: TaskId, reserve: Reservation) -> None:
        """Count what a task takes no longer."""
        self.cpu -= reserve.cpu
        self.memory -= reserve.memory
        for name, count in reserve.named:
            self.named[name] -= count
            if not self.named[name]:
                del self.named[name]
        for port in reserve.ports:
            self.ports[port].discard(task)
            if not self.ports[port]:
                del self.ports[port]

    def room(self, agent: Agent) -> Room:
        """Return the room on it, ``agent`` being what is registered."""
        if self.known_room is not None:
            return self.known_room
        capacity, cordon = agent.capacity, self.cordon
        self.known_room = Room(
            self.link,
            None if cordon is None else cordon.is_draining,
            capacity.cpu,
            capacity.memory,
            tuple(sorted(capacity.named.items())) if capacity.named else (),
            self.cpu,
            self.memory,
            tuple(sorted(self.named.items())) if self.named else (),
            tuple([(port, holder_of(self.ports[port])) for port in sorted(self.ports)]) if self.ports else (),
            agent.host_paths,
            agent.mounts,
            agent.drivers,
        )
        return self.known_room


def emptiness(cpu: int, cpu_left: int, memory: int, memory_left: int, need: Reservation) -> float:
    """Return, below zero, the larger share of processor or memory that is reserved with one more task there."""
    of_cpu = 1 - (cpu_left - need.cpu) / cpu if cpu else 0.0
    of_memory = 1 - (memory_left - need.memory) / memory if memory else 0.0
    return -max(of_cpu, of_memory)


def holder_of(holders: AbstractSet[TaskId]) -> str:
    """Return the job that has a port, as ``<namespace>/<job>``; the first of several."""
    namespace, job, *_ = min(holders).split(".")
    return f"{namespace}/{job}"
