"""The scratch board of one placing: what is left on each agent while the slots of one job are placed one by one.

It lives for one call of `place.place`, and nothing of it gets out. All slots of a job need the same, so that
agents are kept in one heap by score, and placing a slot touches one of them.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harpoon.core.blockers import Refusal
from harpoon.core.fleet import Fleet, Host, reservation
from harpoon.model.agent import Agent, LinkState
from harpoon.model.job import Job, Requirement
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Reservation


@dataclass(slots=True, kw_only=True)
class Candidate:
    """An agent, with what is left of it."""

    agent: Agent
    cpu: int
    memory: int
    #: Fixed ports that the job needs → who has them.
    ports: dict[int, set[TaskId]]
    #: Tasks of the job's generation.
    count: int
    #: Why it takes nothing of this job, whatever is free.
    refusals: tuple[Refusal, ...]
    #: Counts its changes: a heap's entry of another mark is out of date.
    mark: int = 0
    is_feasible: bool = False

    def lacks(self, need: Reservation) -> tuple[Refusal, ...]:
        """Return every resource that is short."""
        capacity, found = self.agent.capacity, []
        if 0 < need.cpu > self.cpu:
            found.append(Refusal.of_amount("cpu", need.cpu, self.cpu, capacity.cpu))
        if 0 < need.memory > self.memory:
            found.append(Refusal.of_amount("memory", need.memory, self.memory, capacity.memory))
        for port, holders in sorted(self.ports.items()):
            if holders:
                namespace, job, *_ = min(holders).split(".")
                found.append(Refusal(predicate=f"port {port}", wanted="free", found=f"taken by job {namespace}/{job}"))
        return tuple(found)

    def fits(self, need: Reservation) -> bool:
        """Return whether nothing is short; the short form of `lacks`."""
        has_room = not 0 < need.cpu > self.cpu and not 0 < need.memory > self.memory
        return has_room and not any(self.ports.values())

    def fullness(self, need: Reservation) -> float:
        """Return the larger share, of processor or memory, that is reserved once the task is here."""
        capacity = self.agent.capacity
        return max(
            1 - (self.cpu - need.cpu) / capacity.cpu if capacity.cpu else 0.0,
            1 - (self.memory - need.memory) / capacity.memory if capacity.memory else 0.0,
        )


class Board:
    """All registered agents, as candidates for the slots of one job."""

    def __init__(self, job: Job, fleet: Fleet) -> None:
        #: What one task of the job takes.
        self.need = reservation(job.spec.task)
        #: How many agents could take the next task.
        self.feasible = 0
        self._key = (job.namespace, job.name, job.generation)
        self._heap: list[tuple[int, float, str, int]] = []
        self._candidates = {name: self._candidate(job, agent, host) for name, agent, host in fleet.agents()}
        for candidate in self._candidates.values():
            self._rank(candidate)

    @property
    def size(self) -> int:
        """How many agents there are, feasible or not."""
        return len(self._candidates)

    def best(self, avoid: Iterable[str]) -> Candidate | None:
        """Return the agent to take next, one of ``avoid`` only if there is no other; None: no agent could."""
        shunned: list[tuple[int, float, str, int]] = []
        found = None
        while self._heap and found is None:
            entry = self._heap[0]
            candidate = self._candidates[entry[2]]
            if candidate.mark != entry[3]:
                heapq.heappop(self._heap)
            elif candidate.agent.name in avoid:
                shunned.append(heapq.heappop(self._heap))
            else:
                found = candidate
        for entry in shunned:
            heapq.heappush(self._heap, entry)
        return self._candidates[shunned[0][2]] if found is None and shunned else found

    def give_back(self, placements: Iterable[Placement]) -> None:
        """Free what these take."""
        self._count(placements, -1)

    def take_back(self, placements: Iterable[Placement]) -> None:
        """Count these, whether they are new or were given back before."""
        self._count(placements, 1)

    def reserve(self, candidate: Candidate) -> None:
        """Keep room for one more task of the job."""
        candidate.cpu -= self.need.cpu
        candidate.memory -= self.need.memory
        candidate.count += 1
        for holders in candidate.ports.values():
            holders.add(TaskId(f"{self._key[0]}.{self._key[1]}."))
        self._rank(candidate)

    def refusals(self) -> dict[str, tuple[Refusal, ...]]:
        """Return every predicate that each agent fails."""
        return {name: (*known.refusals, *known.lacks(self.need)) for name, known in self._candidates.items()}

    def _candidate(self, job: Job, agent: Agent, host: Host) -> Candidate:
        refusals = []
        if host.link is not LinkState.CONNECTED:
            refusals.append(Refusal(predicate="link", wanted="connected", found=str(host.link)))
        attributes = {**agent.tags, **agent.facts}
        refusals += [refusal for rule in job.spec.placement.require if (refusal := _refusal(rule, attributes))]
        return Candidate(
            agent=agent,
            cpu=agent.capacity.cpu - host.cpu,
            memory=agent.capacity.memory - host.memory,
            ports={port: set(host.ports.get(port, ())) for port in self.need.ports},
            count=host.counts.get(self._key, 0),
            refusals=tuple(refusals),
        )

    def _count(self, placements: Iterable[Placement], sign: int) -> None:
        for placement in placements:
            candidate = self._candidates.get(placement.agent)
            if candidate is None:
                continue
            candidate.cpu -= sign * placement.reserve.cpu
            candidate.memory -= sign * placement.reserve.memory
            if (placement.namespace, placement.job, placement.generation) == self._key:
                candidate.count += sign
            for port in candidate.ports.keys() & set(placement.reserve.ports):
                if sign > 0:
                    candidate.ports[port].add(placement.task)
                else:
                    candidate.ports[port].discard(placement.task)
            self._rank(candidate)

    def _rank(self, candidate: Candidate) -> None:
        """Bring the candidate's place in the heap up to date."""
        candidate.mark += 1
        is_feasible = not candidate.refusals and candidate.fits(self.need)
        self.feasible += is_feasible - candidate.is_feasible
        candidate.is_feasible = is_feasible
        if is_feasible:
            score = (candidate.count, -candidate.fullness(self.need), candidate.agent.name, candidate.mark)
            heapq.heappush(self._heap, score)


def _refusal(rule: Requirement, attributes: Mapping[str, str]) -> Refusal | None:
    """Return why an agent of these tags and facts fails the rule, or None."""
    value = attributes.get(rule.tag)
    if rule.exists is not None:
        holds, wanted = (value is not None) is rule.exists, "set" if rule.exists else "not set"
    elif rule.equals is not None:
        holds, wanted = value == rule.equals, rule.equals
    elif rule.in_ is not None:
        holds, wanted = value in rule.in_, "one of " + ", ".join(rule.in_)
    else:
        excluded = rule.not_in or ()
        holds, wanted = value not in excluded, "none of " + ", ".join(excluded)
    if holds:
        return None
    return Refusal(predicate=f"tag {rule.tag}", wanted=wanted, found="not set" if value is None else value)
