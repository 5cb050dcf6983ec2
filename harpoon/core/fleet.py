"""What agents offer and what placements take from it: the index that placing reads, kept by the loop as things change.

It is the one mutable value of the core, because scanning every placement for each decision would cost too much. It
decides nothing; after any changes it equals one built afresh from the same records. A change costs what it touches.

A placement counts from `Fleet.add` to `Fleet.remove`, whoever that is due to: the loop may well let one count longer
than its record stands, until its task is gone.
"""

from dataclasses import dataclass, field

from harpoon.model.agent import Agent, Link, LinkState
from harpoon.model.job import Job, TaskTemplate
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Reservation


def reservation(template: TaskTemplate) -> Reservation:
    """Return what one task of this template takes from its agent; ports it asks any number for are not reserved."""
    return Reservation(
        cpu=template.resources.cpu,
        memory=template.resources.memory,
        ports=tuple(sorted(port for port in template.ports.values() if port)),
    )


@dataclass(slots=True)
class Host:
    """One agent in the index; also one that is named by placements or a link only. For reading."""

    #: None: not registered.
    agent: Agent | None = None
    link: LinkState = LinkState.UNKNOWN
    #: Reserved in all: thousandths of a processor, and bytes.
    cpu: int = 0
    memory: int = 0
    #: Fixed port → the placements that have it; more than one only if records say so that were not decided here.
    ports: dict[int, set[TaskId]] = field(default_factory=dict)
    #: (namespace, job, generation) → how many placements.
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)


class Fleet:
    """Agents, links and reservations."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._placements: dict[TaskId, Placement] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fleet):
            return NotImplemented
        return self._hosts == other._hosts and self._placements == other._placements

    __hash__ = None  # type: ignore[assignment]  # it changes

    def agents(self) -> list[tuple[str, Agent, Host]]:
        """Return every registered agent, by name."""
        return [(name, host.agent, host) for name, host in sorted(self._hosts.items()) if host.agent is not None]

    def host(self, name: str) -> Host | None:
        """Return what is known of one agent; None: nothing."""
        return self._hosts.get(name)

    def placement(self, task: TaskId) -> Placement | None:
        """Return the placement of that id, if it counts."""
        return self._placements.get(task)

    def has_others(self, job: Job) -> bool:
        """Return whether placements of other generations of this job count anywhere."""
        return any(
            (namespace, name) == (job.namespace, job.name) and generation != job.generation
            for host in self._hosts.values()
            for namespace, name, generation in host.counts
        )

    def set_agent(self, agent: Agent) -> None:
        """Register an agent, or take its new registration."""
        self._hosts.setdefault(agent.name, Host()).agent = agent

    def remove_agent(self, name: str) -> None:
        """Take the registration back, with the link; placements there go on counting. Nothing if there is none."""
        host = self._hosts.get(name)
        if host is not None:
            host.agent = None
            host.link = LinkState.UNKNOWN
            self._prune(name)

    def set_link(self, link: Link) -> None:
        """Take the state of the link to an agent."""
        self._hosts.setdefault(link.agent, Host()).link = link.state
        self._prune(link.agent)

    def add(self, placement: Placement) -> None:
        """Count a placement; one that counts already is replaced."""
        self.remove(placement)
        self._placements[placement.task] = placement
        host = self._hosts.setdefault(placement.agent, Host())
        host.cpu += placement.reserve.cpu
        host.memory += placement.reserve.memory
        for port in placement.reserve.ports:
            host.ports.setdefault(port, set()).add(placement.task)
        key = (placement.namespace, placement.job, placement.generation)
        host.counts[key] = host.counts.get(key, 0) + 1

    def remove(self, placement: Placement) -> None:
        """Count the placement of this id no longer. Nothing if it does not count."""
        known = self._placements.pop(placement.task, None)
        if known is None:
            return
        host = self._hosts[known.agent]
        host.cpu -= known.reserve.cpu
        host.memory -= known.reserve.memory
        for port in known.reserve.ports:
            host.ports[port].discard(known.task)
            if not host.ports[port]:
                del host.ports[port]
        key = (known.namespace, known.job, known.generation)
        host.counts[key] -= 1
        if not host.counts[key]:
            del host.counts[key]
        self._prune(known.agent)

    def _prune(self, name: str) -> None:
        if self._hosts[name] == Host():
            del self._hosts[name]
