"""The scratch board of one placing: what is left on each agent while the slots of one job are placed one by one.

It lives for one call of `place.place`, and nothing of it gets out. Agents on which none of the job's tasks are, and
none of the scratch, stand as the fleet ranks them for all jobs of this shape (`core.ranking`). All others are
*candidates*, in heaps by score. There is a heap, and a part of the ranking, for each combination of the values that
the job is spread over; placing a slot makes one candidate at most, and looks at the top of each.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from harpoon.core.blockers import Refusal
from harpoon.core.fleet import Fleet, reservation
from harpoon.core.ranking import Host, Rank, Shape, Values, fullness, has_room, liking_of, values_of
from harpoon.model.agent import Agent, Cordon, LinkState
from harpoon.model.job import Job
from harpoon.model.name import TaskId
from harpoon.model.rules import Distinct, PlacementRules, Requirement
from harpoon.model.task import Placement, Reservation

#: Of the agents with equal spread: tasks of the job, then the rank; and the mark that makes it valid.
_Entry = tuple[int, Rank, int]


@dataclass(slots=True, kw_only=True)
class Candidate:
    """An agent, with what is left of it."""

    agent: Agent
    #: Reserved in all.
    cpu: int
    memory: int
    #: Fixed ports that the job needs → who has them.
    ports: dict[int, set[TaskId]]
    #: Why it takes nothing of this job, whatever is free.
    refusals: tuple[Refusal, ...]
    #: Sum of the weights of the preferences that hold.
    liking: int
    #: Its values of what the job is spread over.
    values: Values
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
        cpu, memory = capacity.cpu - self.cpu, capacity.memory - self.memory
        if 0 < need.cpu > cpu:
            found.append(Refusal.of_amount("cpu", need.cpu, cpu, capacity.cpu))
        if 0 < need.memory > memory:
            found.append(Refusal.of_amount("memory", need.memory, memory, capacity.memory))
        for port, holders in sorted(self.ports.items()):
            if holders:
                namespace, job, *_ = min(holders).split(".")
                found.append(Refusal(predicate=f"port {port}", wanted="free", found=f"taken by job {namespace}/{job}"))
        return tuple(found)

    def fits(self, need: Reservation) -> bool:
        """Return whether nothing is short; the short form of `lacks`."""
        is_room = has_room(self.agent.capacity, self.cpu, self.memory, need)
        return is_room and not any(self.ports.values())

    def other(self, slot: int) -> int | None:
        """Return the first other slot that has a task here, if any has."""
        return min([one for one, count in self.slots.items() if count > 0 and one != slot], default=None)


class Board:
    """All registered agents, as candidates for the slots of one job."""

    def __init__(self, job: Job, fleet: Fleet) -> None:
        #: What one task of the job takes.
        self.need = reservation(job.spec.task)
        self._job = job
        self._rules = job.spec.placement
        self._fleet = fleet
        self._ranking = fleet.ranking(Shape(self.need, replace(self._rules, distinct=None)))
        self._feasible = len(self._ranking)
        #: How many of the first in a part of the ranking are candidates.
        self._passed: dict[Values, int] = {}
        #: For each tag the job is spread over: value → tasks of the job's generation.
        self._counts: tuple[Counter[str], ...] = tuple(Counter() for _ in self._rules.spread)
        self._heaps: dict[Values, list[_Entry]] = {}
        self._candidates: dict[str, Candidate] = {}
        for placement in fleet.placements_of(job):
            candidate = self._candidate(placement.agent)
            if candidate is not None:
                self._enter(candidate, placement, 1)
        for candidate in self._candidates.values():
            self._rank(candidate)

    @property
    def size(self) -> int:
        """How many agents there are, feasible or not."""
        return self._fleet.count()

    @property
    def _is_distinct(self) -> bool:
        return self._rules.distinct is Distinct.AGENT

    def feasible(self, slot: int) -> int:
        """Return how many agents could take the next task, if it is of this slot."""
        if not self._is_distinct:
            return self._feasible
        # Only candidates have any slots.
        return self._feasible - sum(
            [one.is_feasible and one.other(slot) is not None for one in self._candidates.values()]
        )

    def best(self, slot: int, avoid: Iterable[str]) -> Candidate | None:
        """Return the agent to take now, one of ``avoid`` only if there is no other; None: no agent could."""
        shunned = frozenset(avoid)
        name = self._first(slot, shunned)
        if name is None and shunned:
            name = self._first(slot, frozenset())
        return None if name is None else self._candidate(name)

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
        candidate.cpu += self.need.cpu
        candidate.memory += self.need.memory
        for holders in candidate.ports.values():
            holders.add(TaskId(f"{self._job.namespace}.{self._job.name}."))
        self._tally(candidate, slot, 1, is_present=True)
        self._rank(candidate)

    def refusals(self, slot: int) -> dict[str, tuple[Refusal, ...]]:
        """Return every predicate that each agent fails as a place for a slot."""
        told = {}
        for name, agent, host in self._fleet.agents():
            known = self._candidates.get(name) or self._new(agent, host)
            other = known.other(slot) if self._is_distinct else None
            distinct = () if other is None else (_not_distinct(other),)
            told[name] = (*known.refusals, *distinct, *known.lacks(self.need))
        return told

    def _candidate(self, name: str) -> Candidate | None:
        """Return an agent as a candidate, from now on, to be taken or ranked at once; None: it is not registered."""
        known = self._candidates.get(name)
        if known is None:
            host = self._fleet.host(name)
            if host is None or host.agent is None:
                return None
            known = self._candidates[name] = self._new(host.agent, host)
            known.is_feasible = name in self._ranking
        return known

    def _new(self, agent: Agent, host: Host) -> Candidate:
        rules, attributes = self._rules, {**agent.tags, **agent.facts}
        return Candidate(
            agent=agent,
            cpu=host.cpu,
            memory=host.memory,
            ports={port: set(host.ports.get(port, ())) for port in self.need.ports},
            refusals=(*_closed(host.link, host.cordon), *_refusals(rules, attributes)),
            liking=liking_of(rules, attributes),
            values=values_of(rules, attributes),
        )

    def _first(self, slot: int, shunned: AbstractSet[str]) -> str | None:
        """Return the best of the feasible agents that are free for the slot and not shunned."""
        best: tuple[list[int], int, Rank] | None = None
        for values in self._ranking.groups.keys() | self._heaps.keys():
            spread = [count[value] for count, value in zip(self._counts, values, strict=True)]
            entry = self._top(values, slot, shunned)
            rank = self._untouched(values, shunned)
            for found in (entry and (spread, entry[0], entry[1]), rank and (spread, 0, rank)):
                if found and (best is None or found < best):
                    best = found
        return None if best is None else best[2].name

    def _untouched(self, values: Values, shunned: AbstractSet[str]) -> Rank | None:
        """Return the first of a part of the ranking that is no candidate and not shunned."""
        ranks = self._ranking.groups.get(values, ())
        at = self._passed.get(values, 0)
        while at < len(ranks) and ranks[at].name in self._candidates:
            at += 1
        self._passed[values] = at
        while at < len(ranks) and (ranks[at].name in shunned or ranks[at].name in self._candidates):
            at += 1
        return ranks[at] if at < len(ranks) else None

    def _top(self, values: Values, slot: int, shunned: AbstractSet[str]) -> _Entry | None:
        """Return the first valid entry of a heap that is free for the slot and not shunned; the rest stays."""
        heap = self._heaps.get(values, [])
        passed: list[_Entry] = []
        found = None
        while heap and found is None:
            entry = heap[0]
            candidate = self._candidates[entry[1].name]
            is_free = not self._is_distinct or candidate.other(slot) is None
            if candidate.mark != entry[2]:
                heapq.heappop(heap)
            elif is_free and candidate.agent.name not in shunned:
                found = entry
            else:
                passed.append(heapq.heappop(heap))
        for entry in passed:
            heapq.heappush(heap, entry)
        return found

    def _count(self, placements: Iterable[Placement], sign: int) -> None:
        for placement in placements:
            candidate = self._candidate(placement.agent)
            if candidate is None:
                continue
            candidate.cpu += sign * placement.reserve.cpu
            candidate.memory += sign * placement.reserve.memory
            for port in candidate.ports.keys() & set(placement.reserve.ports):
                if sign > 0:
                    candidate.ports[port].add(placement.task)
                else:
                    candidate.ports[port].discard(placement.task)
            self._enter(candidate, placement, sign)
            self._rank(candidate)

    def _enter(self, candidate: Candidate, placement: Placement, sign: int) -> None:
        """Count a placement, which is the job's, among its tasks."""
        self._tally(candidate, placement.slot, sign, is_present=placement.generation == self._job.generation)

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
            agent = candidate.agent
            emptiness = -fullness(agent.capacity, candidate.cpu, candidate.memory, self.need)
            entry = (candidate.count, Rank(-candidate.liking, emptiness, agent.name), candidate.mark)
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
