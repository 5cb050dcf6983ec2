"""What is left on one agent in the course of one placing."""

from harpoon.core.blockers import Refusal
from harpoon.core.hosts import Host, Room, emptiness, holder_of
from harpoon.core.ranking import Kind
from harpoon.model.agent import Agent, LinkState
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Reservation


class Candidate:
    """An agent that the placing has touched."""

    __slots__ = ("_cpu", "_is_open", "_memory", "_named", "_ports", "agent", "count", "is_feasible", "kind", "name")

    def __init__(self, agent: Agent, kind: Kind, need: Reservation, host: Host) -> None:
        """Begin as it stands in the fleet.

        Args:
            agent: As registered.
            kind: What it is alike to.
            need: What one task of the job takes: of ports, only these are followed.
            host: As the index has it.
        """
        self.agent = agent
        self.name = agent.name
        self.kind = kind
        #: Tasks of the job's generation.
        self.count = 0
        #: Whether it could take a task, when that was looked at last.
        self.is_feasible = False
        room = kind.room
        is_open = room.link is LinkState.CONNECTED and room.draining is None and not kind.traits.refusals
        self._is_open = is_open and not room.bars(need)
        #: Reserved in all.
        self._cpu, self._memory = room.cpu, room.memory
        self._named = dict(room.named) if need.named else None
        self._ports = {port: set(host.ports.get(port, ())) for port in need.ports} if need.ports else None

    def reserve(self, need: Reservation, job: str) -> None:
        """Count one more task of the job, the beginning of whose tasks' ids is ``job``."""
        self._add(need, 1)
        if self._ports is not None:
            for holders in self._ports.values():
                holders.add(TaskId(job))

    def change(self, placement: Placement, sign: int) -> None:
        """Count a placement, or no longer."""
        self._add(placement.reserve, sign)
        ports = self._ports or {}
        for port in placement.reserve.ports:
            if port in ports and sign > 0:
                ports[port].add(placement.task)
            elif port in ports:
                ports[port].discard(placement.task)

    def fits(self, need: Reservation) -> bool:
        """Return whether it could take a task; the short form of `refusals`."""
        room = self.kind.room
        if not self._is_open:
            return False
        if 0 < need.cpu > room.cpu_capacity - self._cpu or 0 < need.memory > room.memory_capacity - self._memory:
            return False
        if self._ports is not None and any(self._ports.values()):
            return False
        named = self._named
        return named is None or not self._room().lacks(need)

    def emptiness(self, need: Reservation) -> float:
        """Return, below zero, how full it is with one more task."""
        room = self.kind.room
        cpu, memory = room.cpu_capacity, room.memory_capacity
        return emptiness(cpu, cpu - self._cpu, memory, memory - self._memory, need)

    def refusals(self, need: Reservation, more: tuple[Refusal, ...] = ()) -> tuple[Refusal, ...]:
        """Return every predicate that it fails, those among them that depend on the job's tasks."""
        return (*self.kind.room.closed(), *self.kind.traits.refusals, *more, *self._room().lacks(need))

    def _room(self) -> Room:
        ports = self._ports or {}
        return self.kind.room._replace(
            cpu=self._cpu,
            memory=self._memory,
            named=tuple((self._named or {}).items()),
            ports=tuple((port, holder_of(ports[port])) for port in sorted(ports) if ports[port]),
        )

    def _add(self, reserve: Reservation, sign: int) -> None:
        self._cpu += sign * reserve.cpu
        self._memory += sign * reserve.memory
        if self._named is not None:
            for name, count in reserve.named:
                self._named[name] = self._named.get(name, 0) + sign * count
