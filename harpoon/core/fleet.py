"""What agents offer and what placements take from it: the index that placing reads, kept by the loop as things change.

It is the one mutable value of the core, because scanning every placement for each decision would cost too much. It
decides nothing; after any changes it equals one built afresh from the same records. A change costs what it touches.

A placement counts from `Fleet.add` to `Fleet.remove`, whoever that is due to: the loop may well let one count longer
than its record stands, until its task is gone.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from harpoon.core.hosts import Host
from harpoon.core.ranking import Kinds
from harpoon.model.agent import Agent, Cordon, Link, LinkState
from harpoon.model.job import PRIORITY, Job
from harpoon.model.name import TaskId
from harpoon.model.rules import PlacementRules
from harpoon.model.task import Placement, Reservation
from harpoon.model.template import Driver, TaskTemplate


def reservation(template: TaskTemplate) -> Reservation:
    """Return what one task of this template needs of its agent; ports it asks any number for are not reserved."""
    return Reservation(
        cpu=template.resources.cpu,
        memory=template.resources.memory,
        ports=tuple(sorted(port for port in template.ports.values() if port)),
        named=tuple(sorted((name, count) for name, count in template.resources.named.items() if count)),
        paths=_paths(template) if template.volumes or template.artifacts else (),
        # An engine mounts for containers by itself.
        mounts=template.driver is Driver.PROCESS and any(volume.is_mounted for volume in template.volumes),
        driver=str(template.driver),
    )


def _paths(template: TaskTemplate) -> tuple[tuple[str, bool], ...]:
    """Return what a task has of its host, each path once."""
    paths = {artifact.host: False for artifact in template.artifacts if artifact.host is not None}
    for volume in template.volumes:
        if volume.host is not None:
            paths[volume.host] = paths.get(volume.host, False) or not volume.read_only
    return tuple(sorted(paths.items()))


#: Sets of placement rules under which agents are kept sorted; those not used for the longest time are forgotten.
KINDS_MAX = 16
_NOTHING = Reservation()
#: Tags of which it is known how many agents have which value.
TAGS_MAX = 16


class Fleet:
    """Agents, links, cordons and reservations."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        #: Agents that are being drained → when what is left there goes all the same, UTC milliseconds, if ever.
        self.leaving: dict[str, int | None] = {}
        #: ``<namespace>.<job>``, with which its tasks' ids begin → its placements.
        self._jobs: dict[str, dict[TaskId, Placement]] = {}
        #: Agent → the placements on it.
        self._tenants: dict[str, dict[TaskId, Placement]] = {}
        #: ``<namespace>.<job>`` → the job's priority, where it is not the usual one.
        self._priorities: dict[str, int] = {}
        #: ``<namespace>.<job>`` → room that is kept for slots of it: what would be their tasks → agent, what they take.
        self._kept: dict[str, dict[TaskId, tuple[str, Reservation]]] = {}
        #: The registered ones, in order; None: to be sorted anew.
        self._names: list[str] | None = None
        #: Made from all else when first asked for; the one used last is the last.
        self._kinds: dict[PlacementRules, Kinds] = {}
        #: Tag → its values → how many agents have them; of tags that were asked for.
        self._values: dict[str, Counter[str]] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fleet):
            return NotImplemented
        mine = (self._hosts, self.leaving, self._jobs, self._tenants, self._priorities, self._kept)
        theirs = (other._hosts, other.leaving, other._jobs, other._tenants, other._priorities, other._kept)
        return mine == theirs

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

    def kinds(self, rules: PlacementRules) -> Kinds:
        """Return the agents sorted under rules that have no ``distinct``; good until something changes."""
        kinds = self._kinds.pop(rules, None)
        if kinds is None:
            kinds = Kinds(rules, self._hosts)
            if len(self._kinds) == KINDS_MAX:
                del self._kinds[next(iter(self._kinds))]
        else:
            kinds.refresh(self._hosts)
        self._kinds[rules] = kinds
        return kinds

    def is_unique(self, tag: str) -> bool:
        """Return whether no two registered agents have the same value of a tag or fact; nor are two without."""
        values = self._values.get(tag)
        if values is None:
            if len(self._values) == TAGS_MAX:
                del self._values[next(iter(self._values))]
            values = self._values[tag] = Counter(_value(agent, tag) for _, agent, _ in self.agents())
        return len(values) == self.count()

    def host(self, name: str) -> Host | None:
        """Return what is known of one agent; None: nothing."""
        return self._hosts.get(name)

    def placement(self, task: TaskId) -> Placement | None:
        """Return the placement of that id, if it counts."""
        return self._jobs.get(_job_of(task), {}).get(task)

    def placements_of(self, job: Job) -> Collection[Placement]:
        """Return the placements of a job that count, of all generations."""
        return self._jobs.get(f"{job.namespace}.{job.name}", {}).values()

    def tenants(self, agent: str) -> Collection[Placement]:
        """Return the placements on an agent that count."""
        return self._tenants.get(agent, {}).values()

    def priority(self, placement: Placement) -> int:
        """Return the priority of a placement's job; the usual one if nothing is known of that."""
        return self._priorities.get(f"{placement.namespace}.{placement.job}", PRIORITY)

    def kept(self) -> Iterator[tuple[str, str]]:
        """Yield the jobs for which room is kept, as ``<namespace>/<job>``, and an agent where that is."""
        for job, rooms in sorted(self._kept.items()):
            yield job.replace(".", "/"), next(iter(rooms.values()))[0]

    def fork(self) -> "Fleet":
        """Return a fleet that is as this one and changes apart from it; the cost is that of everything in it."""
        twin = Fleet()
        twin._hosts = {name: host.copy() for name, host in self._hosts.items()}
        twin.leaving = dict(self.leaving)
        twin._jobs = {job: dict(placements) for job, placements in self._jobs.items()}
        twin._tenants = {agent: dict(placements) for agent, placements in self._tenants.items()}
        twin._priorities = dict(self._priorities)
        twin._kept = dict(self._kept)
        return twin

    def set_agent(self, agent: Agent) -> None:
        """Register an agent, or take its new registration."""
        host = self._hosts.setdefault(agent.name, Host())
        self._recount(host.agent, -1)
        self._recount(agent, 1)
        if host.agent is None:
            self._names = None
        host.agent = agent
        self._touch(agent.name)

    def remove_agent(self, name: str) -> None:
        """Take the registration back, with the link; placements there go on counting. Nothing if there is none."""
        host = self._hosts.get(name)
        if host is not None:
            self._recount(host.agent, -1)
            if host.agent is not None:
                self._names = None
            host.agent = None
            host.link = LinkState.UNKNOWN
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

    def set_priority(self, namespace: str, job: str, priority: int) -> bool:
        """Take the priority of a job; return whether that is lower than it was."""
        key = f"{namespace}.{job}"
        before = self._priorities.pop(key, PRIORITY)
        if priority != PRIORITY:
            self._priorities[key] = priority
        return priority < before

    def keep(self, namespace: str, job: str, rooms: Mapping[str, Collection[int]], need: Reservation) -> bool:
        """Keep room for slots of a job that are about to be placed, and no other; return whether there was other.

        Args:
            namespace: Of the job.
            job: Its name.
            rooms: Agent → slots.
            need: What each of them takes.
        """
        key = f"{namespace}.{job}"
        before = self._kept.pop(key, {})
        after = {TaskId(f"{key}.{slot}.0-0"): (agent, need) for agent in sorted(rooms) for slot in rooms[agent]}
        if after:
            self._kept[key] = after
        if before == after:
            return False
        for task, (agent, reserve) in before.items():
            self._hosts[agent].free(task, reserve)
            self._touch(agent)
            self._prune(agent)
        for task, (agent, reserve) in after.items():
            self._hosts.setdefault(agent, Host()).reserve(task, reserve)
            self._touch(agent)
        return bool(before)

    def release(self, job: Job) -> None:
        """Keep no room for a job: it is the one that may take it."""
        self.keep(job.namespace, job.name, {}, _NOTHING)

    def add(self, placement: Placement) -> None:
        """Count a placement; one that counts already is replaced."""
        task = placement.task
        siblings = self._jobs.setdefault(_job_of(task), {})
        if task in siblings:
            self.remove(task)
            siblings = self._jobs.setdefault(_job_of(task), {})
        siblings[task] = placement
        self._tenants.setdefault(placement.agent, {})[task] = placement
        host = self._hosts.get(placement.agent)
        if host is None:
            host = self._hosts[placement.agent] = Host()
        host.reserve(task, placement.reserve)
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
        tenants = self._tenants[known.agent]
        del tenants[task]
        if not tenants:
            del self._tenants[known.agent]
        host = self._hosts.setdefault(known.agent, Host())
        host.free(task, known.reserve)
        self._touch(known.agent)
        if host.agent is None:
            self._prune(known.agent)

    def _touch(self, name: str) -> None:
        self._hosts[name].known_room = None
        for kinds in self._kinds.values():
            kinds.stale.add(name)

    def _recount(self, agent: Agent | None, more: int) -> None:
        if agent is None:
            return
        for tag, values in self._values.items():
            value = _value(agent, tag)
            values[value] += more
            if not values[value]:
                del values[value]

    def _prune(self, name: str) -> None:
        """Leave no trace of an agent of which there is nothing to know."""
        if self._hosts[name] == Host():
            del self._hosts[name]


def _value(agent: Agent, tag: str) -> str:
    return agent.facts[tag] if tag in agent.facts else agent.tags.get(tag, "")


def _job_of(task: TaskId) -> str:
    return task.rsplit(".", 2)[0]
