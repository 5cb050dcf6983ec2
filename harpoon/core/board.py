"""The scratch board of one placing: what is left on each agent while the slots of one job are placed one by one.

It lives for one call of `place.place`, and nothing of it gets out. All slots of a job need the same, so that agents
are kept in heaps by score, one for each combination of the values that the job is spread over, and placing a slot
touches one agent and looks at the top of each heap.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harpoon.core.blockers import Refusal
from harpoon.core.fleet import Fleet, Host, reservation
from harpoon.model.agent import Agent, Cordon, LinkState
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.rules import Distinct, PlacementRules, Requirement
from harpoon.model.task import Placement, Reservation

#: Of the agents with equal spread: tasks of the job, dislike, emptiness, name; and the mark that makes it valid.
_Entry = tuple[int, int, float, str, int]


@dataclass(slots=True, kw_only=True)
class Candidate:
    """An agent, with what is left of it."""

    agent: Agent
    cpu: int
    memory: int
    #: Fixed ports that the job needs → who has them.
    ports: dict[int, set[TaskId]]
    #: Why it takes nothing of this job, whatever is free.
    refusals: tuple[Refusal, ...]
    #: Sum of the weights of the preferences that hold.
    liking: int
    #: Its values of what the job is spread over.
    values: tuple[str, ...]
    #: Tasks of the job's generation.
    count: int = 0
    #: Slot → how many tasks of it are here, of any generation.
    slots: Counter[int] = field(default_factory=Counter)
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

    def other(self, slot: int) -> int | None:
        """Return the first other slot that has a task here, if any has."""
        return min((one for one, count in self.slots.items() if count > 0 and one != slot), default=None)


class Board:
    """All registered agents, as candidates for the slots of one job."""

    def __init__(self, job: Job, fleet: Fleet) -> None:
        #: What one task of the job takes.
        self.need = reservation(job.spec.task)
        self._job = job
        self._rules = job.spec.placement
        self._feasible = 0
        #: For each tag the job is spread over: value → tasks of the job's generation.
        self._counts: tuple[Counter[str], ...] = tuple(Counter() for _ in self._rules.spread)
        self._heaps: dict[tuple[str, ...], list[_Entry]] = {}
        self._candidates = {name: self._candidate(agent, host) for name, agent, host in fleet.agents()}
        for placement in fleet.placements_of(job):
            self._enter(placement, 1)
        for candidate in self._candidates.values():
            self._rank(candidate)

    @property
    def size(self) -> int:
        """How many agents there are, feasible or not."""
        return len(self._candidates)

    @property
    def _is_distinct(self) -> bool:
        return self._rules.distinct is Distinct.AGENT

    def feasible(self, slot: int) -> int:
        """Return how many agents could take the next task, if it is of this slot."""
        if not self._is_distinct:
            return self._feasible
        return sum(one.is_feasible and one.other(slot) is None for one in self._candidates.values())

    def best(self, slot: int, avoid: Iterable[str]) -> Candidate | None:
        """Return the agent to take next, one of ``avoid`` only if there is no other; None: no agent could."""
        shunned = frozenset(avoid)

        def is_free(candidate: Candidate) -> bool:
            return not self._is_distinct or candidate.other(slot) is None

        found = self._first(lambda candidate: candidate.agent.name not in shunned and is_free(candidate))
        return found or (self._first(is_free) if shunned else None)

    def standing(self, candidate: Candidate) -> str:
        """Say what spoke for an agent: how few of the job's tasks there are, and how much it is liked."""
        told = [
            f"{rule.tag} {value or 'not set'} has {count[value]}"
            for rule, value, count in zip(self._rules.spread, candidate.values, self._counts, strict=True)
        ]
        told.append(f"{candidate.agent.name} has {candidate.count} of this job's tasks")
        liked = f"; preferred by {candidate.liking}" if self._rules.prefer else ""
        return f"spread: {', '.join(told)}{liked}"

    def give_back(self, placements: Iterable[Placement]) -> None:
        """Free what these take."""
        self._count(placements, -1)

    def take_back(self, placements: Iterable[Placement]) -> None:
        """Count these, whether they are new or were given back before."""
        self._count(placements, 1)

    def reserve(self, candidate: Candidate, slot: int) -> None:
        """Keep room for one more task of the job."""
        candidate.cpu -= self.need.cpu
        candidate.memory -= self.need.memory
        for holders in candidate.ports.values():
            holders.add(TaskId(f"{self._job.namespace}.{self._job.name}."))
        self._tally(candidate, slot, 1, is_present=True)
        self._rank(candidate)

    def refusals(self, slot: int) -> dict[str, tuple[Refusal, ...]]:
        """Return every predicate that each agent fails as a place for a slot."""
        told = {}
        for name, known in self._candidates.items():
            other = known.other(slot) if self._is_distinct else None
            distinct = () if other is None else (_not_distinct(other),)
            told[name] = (*known.refusals, *distinct, *known.lacks(self.need))
        return told

    def _candidate(self, agent: Agent, host: Host) -> Candidate:
        attributes = {**agent.tags, **agent.facts}
        return Candidate(
            agent=agent,
            cpu=agent.capacity.cpu - host.cpu,
            memory=agent.capacity.memory - host.memory,
            ports={port: set(host.ports.get(port, ())) for port in self.need.ports},
            refusals=(*_closed(host.link, host.cordon), *_refusals(self._rules, attributes)),
            liking=sum(rule.weight for rule in self._rules.prefer if rule.holds(attributes)),
            values=tuple(attributes.get(rule.tag, "") for rule in self._rules.spread),
        )

    def _first(self, is_wanted: Callable[[Candidate], bool]) -> Candidate | None:
        """Return the best of the feasible agents that are wanted."""
        tops: list[tuple[list[int], _Entry]] = []
        for values, heap in self._heaps.items():
            entry = self._top(heap, is_wanted)
            if entry is not None:
                tops.append(([count[value] for count, value in zip(self._counts, values, strict=True)], entry))
        return self._candidates[min(tops)[1][3]] if tops else None

    def _top(self, heap: list[_Entry], is_wanted: Callable[[Candidate], bool]) -> _Entry | None:
        """Return the first valid entry of a heap that is wanted; those that are not stay where they are."""
        passed: list[_Entry] = []
        found = None
        while heap and found is None:
            entry = heap[0]
            candidate = self._candidates[entry[3]]
            if candidate.mark != entry[4]:
                heapq.heappop(heap)
            elif is_wanted(candidate):
                found = entry
            else:
                passed.append(heapq.heappop(heap))
        for entry in passed:
            heapq.heappush(heap, entry)
        return found

    def _count(self, placements: Iterable[Placement], sign: int) -> None:
        for placement in placements:
            candidate = self._candidates.get(placement.agent)
            if candidate is None:
                continue
            candidate.cpu -= sign * placement.reserve.cpu
            candidate.memory -= sign * placement.reserve.memory
            for port in candidate.ports.keys() & set(placement.reserve.ports):
                if sign > 0:
                    candidate.ports[port].add(placement.task)
                else:
                    candidate.ports[port].discard(placement.task)
            self._enter(placement, sign)
            self._rank(candidate)

    def _enter(self, placement: Placement, sign: int) -> None:
        """Count a placement among the job's tasks, if it is one of them and on an agent that is known."""
        candidate = self._candidates.get(placement.agent)
        if candidate is not None and (placement.namespace, placement.job) == (self._job.namespace, self._job.name):
            is_present = placement.generation == self._job.generation
            self._tally(candidate, placement.slot, sign, is_present=is_present)

    def _tally(self, candidate: Candidate, slot: int, sign: int, *, is_present: bool) -> None:
        candidate.slots[slot] += sign
        if is_present:
            candidate.count += sign
            for count, value in zip(self._counts, candidate.values, strict=True):
                count[value] += sign

    def _rank(self, candidate: Candidate) -> None:
        """Bring the candidate's place in its heap up to date."""
        candidate.mark += 1
        was_feasible, candidate.is_feasible = (
            candidate.is_feasible,
            not candidate.refusals and candidate.fits(self.need),
        )
        self._feasible += candidate.is_feasible - was_feasible
        if candidate.is_feasible:
            emptiness = -candidate.fullness(self.need)
            entry = (candidate.count, -candidate.liking, emptiness, candidate.agent.name, candidate.mark)
            heapq.heappush(self._heaps.setdefault(candidate.values, []), entry)


def _closed(link: LinkState, cordon: Cordon | None) -> tuple[Refusal, ...]:
    """Return why an agent takes nothing at all."""
    found = [] if link is LinkState.CONNECTED else [Refusal(predicate="link", wanted="connected", found=str(link))]
    if cordon is not None:
        state = "draining" if cordon.is_draining else "cordoned"
        found.append(Refusal(predicate="cordon", wanted="none", found=state))
    return tuple(found)


def _refusals(rules: PlacementRules, attributes: Mapping[str, str]) -> tuple[Refusal, ...]:
    """Return why an agent takes nothing under these rules, whatever is free on it."""
    return tuple(_refusal(rule, attributes) for rule in rules.require if not rule.holds(attributes))


def _refusal(rule: Requirement, attributes: Mapping[str, str]) -> Refusal:
    value = attributes.get(rule.tag)
    return Refusal(predicate=f"tag {rule.tag}", wanted=_wanted(rule), found="not set" if value is None else value)


def _wanted(rule: Requirement) -> str:
    if rule.equals is not None:
        return rule.equals
    listed: Sequence[str] | None = rule.in_ if rule.in_ is not None else rule.not_in
    if listed is not None:
        return ("one of " if rule.in_ is not None else "none of ") + ", ".join(listed)
    return "set" if rule.exists else "not set"


def _not_distinct(slot: int) -> Refusal:
    return Refusal(predicate="distinct agent", wanted="no other slot of this job", found=f"slot {slot} is there")
