"""What agents offer and what placements take from it: the index that placing reads, kept by the loop as things change.

It is the one mutable value of the core, because scanning every placement for each decision would cost too much. It
decides nothing; after any changes it equals one built afresh from the same records. A change costs what it touches.

A placement counts from `Fleet.add` to `Fleet.remove`, whoever that is due to: the loop may well let one count longer
than its record stands, until its task is gone.
"""

from collections.abc import Collection

from harpoon.core.ranking import Host, Ranking, Shape
from harpoon.model.agent import Agent, Cordon, Link, LinkState
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Reservation
from harpoon.model.template import TaskTemplate


def reservation(template: TaskTemplate) -> Reservation:
    """Return what one task of this template takes from its agent; ports it asks any number for are not reserved."""
    return Reservation(
        cpu=template.resources.cpu,
        memory=template.resources.memory,
        ports=tuple(sorted(port for port in template.ports.values() if port)),
    )


#: Shapes of jobs for which agents are kept ranked; those not used for the longest time are forgotten.
SHAPES_MAX = 16


class Fleet:
    """Agents, links, cordons and reservations."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        #: Agents that are being drained → when what is left there goes all the same, UTC milliseconds, if ever.
        self.leaving: dict[str, int | None] = {}
        #: ``<namespace>.<job>``, with which its tasks' ids begin → its placements.
        self._jobs: dict[str, dict[TaskId, Placement]] = {}
        #: The registered ones, in order; None: to be sorted anew.
        self._names: list[str] | None = None
        #: Made from all else when first asked for; the one used last is the last.
        self._rankings: dict[Shape, Ranking] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fleet):
            return NotImplemented
        return (self._hosts, self.leaving, self._jobs) == (other._hosts, other.leaving, other._jobs)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def agents(self) -> list[tuple[str, Agent, Host]]:
        """Return every registered agent, by name."""
        if self._names is None:
            self._names = sorted(name for name, host in self._hosts.items() if host.agent is not None)
        hosts = ((name, self._hosts[name]) for name in self._names)
        return [(name, host.agent, host) for name, host in hosts if host.agent is not None]

    def count(self) -> int:
        """Return how many agents are registered."""
        return len(self.agents()) if self._names is None else len(self._names)

    def ranking(self, shape: Shape) -> Ranking:
        """Return the agents that could take a task of this shape, ranked; good until something changes."""
        ranking = self._rankings.pop(shape, None)
        if ranking is None:
            ranking = Ranking(shape)
            ranking.load(self._hosts.values())
            if len(self._rankings) == SHAPES_MAX:
                del self._rankings[next(iter(self._rankings))]
        else:
            ranking.refresh(self._hosts)
        self._rankings[shape] = ranking
        return ranking

    def host(self, name: str) -> Host | None:
        """Return what is known of one agent; None: nothing."""
        return self._hosts.get(name)

    def placement(self, task: TaskId) -> Placement | None:
        """Return the placement of that id, if it counts."""
        return self._jobs.get(_job_of(task), {}).get(task)

    def placements_of(self, job: Job) -> Collection[Placement]:
        """Return the placements of a job that count, of all generations."""
        return self._jobs.get(f"{job.namespace}.{job.name}", {}).values()

    def fork(self) -> "Fleet":
        """Return a fleet that is as this one and changes apart from it; the cost is that of everything in it."""
        twin = Fleet()
        twin._hosts = {name: host.copy() for name, host in self._hosts.items()}
        twin.leaving = dict(self.leaving)
        twin._jobs = {job: dict(placements) for job, placements in self._jobs.items()}
        return twin

    def set_agent(self, agent: Agent) -> None:
        """Register an agent, or take its new registration."""
        self._hosts.setdefault(agent.name, Host()).agent = agent
        self._names = None
        self._touch(agent.name)

    def remove_agent(self, name: str) -> None:
        """Take the registration back, with the link; placements there go on counting. Nothing if there is none."""
        host = self._hosts.get(name)
        if host is not None:
            host.agent = None
            host.link = LinkState.UNKNOWN
            self._names = None
            self._touch(name)
            self._prune(name)

    def set_link(self, link: Link) -> None:
        """Take the state of the link to an agent."""
        self._hosts.setdefault(link.agent, Host()).link = link.state
        self._touch(link.agent)
        self._prune(link.agent)

    def set_cordon(self, cordon: Cordon) -> None:
        """Take an operator's word that an agent takes no new tasks."""
        self._hosts.setdefault(cordon.agent, Host()).cordon = cordon
        if cordon.is_draining:
            self.leaving[cordon.agent] = cordon.deadline_ms
        else:
            self.leaving.pop(cordon.agent, None)
        self._touch(cordon.agent)

    def lift_cordon(self, name: str) -> None:
        """Let an agent take new tasks again. Nothing if it does."""
        self.leaving.pop(name, None)
        host = self._hosts.get(name)
        if host is not None:
            host.cordon = None
            self._touch(name)
            self._prune(name)

    def add(self, placement: Placement) -> None:
        """Count a placement; one that counts already is replaced."""
        task = placement.task
        siblings = self._jobs.setdefault(_job_of(task), {})
        if task in siblings:
            self.remove(task)
            siblings = self._jobs.setdefault(_job_of(task), {})
        siblings[task] = placement
        host = self._hosts.get(placement.agent)
        if host is None:
            host = self._hosts[placement.agent] = Host()
        host.cpu += placement.reserve.cpu
        host.memory += placement.reserve.memory
        for port in placement.reserve.ports:
            host.ports.setdefault(port, set()).add(task)
        self._touch(placement.agent)
        if host.agent is None:
            self._prune(placement.agent)

    def remove(self, task: TaskId) -> None:
        """Count the placement of this id no longer. Nothing if it does not count."""
        job = _job_of(task)
        siblings = self._jobs.get(job, {})
        known = siblings.pop(task, None)
        if known is None:
            return
        if not siblings:
            del self._jobs[job]
        host = self._hosts.setdefault(known.agent, Host())
        host.cpu -= known.reserve.cpu
        host.memory -= known.reserve.memory
        for port in known.reserve.ports:
            host.ports[port].discard(task)
            if not host.ports[port]:
                del host.ports[port]
        self._touch(known.agent)
        if host.agent is None:
            self._prune(known.agent)

    def _touch(self, name: str) -> None:
        for ranking in self._rankings.values():
            ranking.stale.add(name)

    def _prune(self, name: str) -> None:
        """Leave no trace of an agent of which there is nothing to know."""
        if self._hosts[name] == Host():
            del self._hosts[name]


def _job_of(task: TaskId) -> str:
    return task.rsplit(".", 2)[0]
