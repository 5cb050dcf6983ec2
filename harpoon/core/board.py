"""The scratch board of one placing: what is left on each agent while the slots of one job are placed one by one.

It lives for one call of `place.place`, and nothing of it gets out. Agents on which none of the job's tasks are, and
none of the scratch, stand as the fleet keeps them for all jobs with such rules (`core.ranking`). All others are
*touched*; what is left on them is written down once it differs from that (`core.candidate`), and who comes first of
all is found by `core.contest`. Placing a slot touches one agent, and costs what that takes, however many there are.
"""

from collections.abc import Iterable
from dataclasses import replace

from harpoon.core.blockers import Refusal, Refused
from harpoon.core.candidate import Candidate
from harpoon.core.contest import Contest, Entry
from harpoon.core.fleet import Fleet, reservation
from harpoon.core.ranking import Kind, Kinds
from harpoon.model.job import Job
from harpoon.model.rules import Distinct, PlacementRules
from harpoon.model.task import Placement


class Board:
    """All registered agents, as candidates for the slots of one job."""

    def __init__(self, job: Job, fleet: Fleet) -> None:
        #: What one task of the job takes.
        self.need = reservation(job.spec.task)
        self._job = job
        self._rules = job.spec.placement
        self._fleet = fleet
        self._kinds, spread = _kinds(self._rules, fleet)
        self._ranking = self._kinds.ranking(self.need)
        self._contest = Contest(self._ranking, spread)
        self._is_distinct = self._rules.distinct is Distinct.AGENT
        self._candidates: dict[str, Candidate] = {}
        #: How many agents could take a task, if slots need not be distinct.
        self._feasible = self._ranking.count
        #: How many of them have a slot of the job; kept, like what follows, only where slots are distinct.
        self._taken = 0
        #: Agent → its slots, with how many tasks of each, of any generation.
        self._slots: dict[str, dict[int, int]] = {}
        #: Slot → agents that had no other, when that was looked at.
        self._own: dict[int, set[str]] = {}
        #: Agent → tasks of the job's generation there, before the placing.
        self._tasks: dict[str, int] = {}
        self._survey()

    @property
    def size(self) -> int:
        """How many agents there are, feasible or not."""
        return self._fleet.count()

    def feasible(self, slot: int) -> int:
        """Return how many agents could take the next task, if it is of this slot."""
        if not self._is_distinct:
            return self._feasible
        return self._feasible - self._taken + len(self._owners(slot))

    def best(self, slot: int, avoid: Iterable[str]) -> Candidate | None:
        """Return the agent to take now, one of ``avoid`` only if there is no other; None: no agent could."""
        shunned = frozenset(avoid)
        name = self._first(slot, shunned)
        if name is None and shunned:
            name = self._first(slot, frozenset())
        return None if name is None else self._candidate(name, self._kinds.of[name])

    def only(self, name: str, slot: int) -> Candidate | None:
        """Return one agent, if it could take the next task, and that is of this slot; see `lacks`."""
        kind = self._kinds.of.get(name)
        return None if kind is None or self.lacks(name, slot) else self._candidate(name, kind)

    def lacks(self, name: str, slot: int) -> tuple[Refusal, ...]:
        """Return every predicate that an agent fails as a place for its own slot.

        A cordon takes that from no slot of a system job.
        """
        is_kept = not self._rules.agents
        return tuple(one for one in self.refused_by(name, slot) if not (is_kept and one.predicate == "cordon"))

    def standing(self, candidate: Candidate) -> str:
        """Say what spoke for an agent: how few of the job's tasks there are, and how much it is liked."""
        name, count = candidate.name, candidate.count
        told = ""
        if self._rules.spread:
            agent, counts = candidate.agent, self._contest.counts
            for number, rule in enumerate(self._rules.spread):
                value = agent.facts.get(rule.tag, agent.tags.get(rule.tag, ""))
                # What is left out of the contest has a value of its own on each agent.
                here = counts[number][value] if number < len(counts) else count
                told += f"{rule.tag} {value or 'not set'} has {here}, "
        liked = f"; preferred by {-candidate.kind.traits.dislike}" if self._rules.prefer else ""
        return f"spread: {told}{name} has {count} of this job's tasks{liked}"

    def give_back(self, placements: Iterable[Placement]) -> None:
        """Free what these take."""
        self._count(placements, -1)

    def take_back(self, placements: Iterable[Placement]) -> None:
        """Count these, whether they are new or were given back before."""
        self._count(placements, 1)

    def reserve(self, candidate: Candidate, slot: int) -> None:
        """Keep room for one more task of the job."""
        candidate.reserve(self.need, f"{self._job.namespace}.{self._job.name}.")
        self._tally(candidate, slot, 1, is_present=True)
        self._rank(candidate)

    def refusals(self, slot: int) -> list[Refused]:
        """Return every predicate that agents fail as a place for a slot; agents in the same room are told together."""
        told, touched = [], self._contest.marks
        for kind, names in self._kinds.agents.items():
            left = [name for name in names if name not in touched] if touched else names
            if left:
                told.append(Refused(self._ranking.refusals(kind), left))
        candidates = (self._candidate(name, self._kinds.of[name]) for name in touched)
        return told + [Refused(self._refused(one, slot), [one.name]) for one in candidates]

    def refused_by(self, name: str, slot: int) -> tuple[Refusal, ...]:
        """Return every predicate that one agent fails as a place for a slot; nothing: it could take it now."""
        kind = self._kinds.of.get(name)
        if kind is None:
            return (Refusal(predicate="agent", wanted="registered", found="none of that name"),)
        return self._refused(self._candidate(name, kind), slot)

    def open_agents(self) -> list[str]:
        """Return the agents, by name, that refuse tasks for nothing but what is taken there, if they do."""
        kinds = (kind for kind in self._kinds.agents if not (kind.room.closed() or kind.traits.refusals))
        return sorted(name for kind in kinds for name in self._kinds.agents[kind])

    def candidate(self, name: str) -> Candidate:
        """Return a registered agent as it stands on this board."""
        return self._candidate(name, self._kinds.of[name])

    def is_free_for(self, name: str, slot: int) -> bool:
        """Return whether an agent has no other slot of the job, or may have several."""
        return not self._is_distinct or all(one == slot for one in self._slots.get(name, ()))

    def _refused(self, candidate: Candidate, slot: int) -> tuple[Refusal, ...]:
        others = [one for one in self._slots.get(candidate.name, ()) if one != slot]
        return candidate.refusals(self.need, (_not_distinct(min(others)),) if others else ())

    def _survey(self) -> None:
        """Take note of where the job's tasks are."""
        generation, kinds = self._job.generation, self._kinds.of
        tasks = self._tasks
        for placement in self._fleet.placements_of(self._job):
            name = placement.agent
            if name in kinds:
                tasks[name] = tasks.get(name, 0) + (placement.generation == generation)
                if self._is_distinct:
                    slots = self._slots.setdefault(name, {})
                    slots[placement.slot] = slots.get(placement.slot, 0) + 1
        contest = self._contest
        for name, count in tasks.items():
            kind = kinds[name]
            contest.marks[name] = 0
            for known, value in zip(contest.counts, kind.traits.values, strict=True):
                known[value] += count
            tier = self._ranking.tier(kind)
            if self._is_distinct:
                self._taken += tier is not None
                self._own_up(name)
            elif tier is not None:
                contest.admit(kind.traits.values, (count, *tier, name, 0))
        contest.begin()

    def _candidate(self, name: str, kind: Kind) -> Candidate:
        known = self._candidates.get(name)
        if known is None:
            host = self._fleet.host(name)
            assert host is not None, "what has a kind is registered"
            assert host.agent is not None, "what has a kind is registered"
            known = self._candidates[name] = Candidate(host.agent, kind, self.need, host)
            known.count = self._tasks.get(name, 0)
            known.is_feasible = self._ranking.tier(kind) is not None
        return known

    def _first(self, slot: int, shunned: frozenset[str]) -> str | None:
        """Return the best of the feasible agents that are free for the slot and not shunned."""
        best = self._contest.first(shunned)
        if self._is_distinct:
            for one in self._owners(slot):
                if one.name not in shunned:
                    standing = self._contest.standing(one.kind.traits.values, self._entry(one))
                    best = standing if best is None or standing < best else best
        return None if best is None else best[1][3]

    def _owners(self, slot: int) -> list[Candidate]:
        """Return the feasible agents that have tasks of this slot, and of no other."""
        names = [name for name in self._own.get(slot, ()) if self._slots[name].keys() == {slot}]
        found = (self._candidate(name, self._kinds.of[name]) for name in names)
        return [one for one in found if one.is_feasible]

    def _own_up(self, name: str) -> None:
        slots = self._slots[name]
        if len(slots) == 1:
            self._own.setdefault(next(iter(slots)), set()).add(name)

    def _count(self, placements: Iterable[Placement], sign: int) -> None:
        for placement in placements:
            kind = self._kinds.of.get(placement.agent)
            if kind is None:
                continue
            candidate = self._candidate(placement.agent, kind)
            candidate.change(placement, sign)
            is_present = placement.generation == self._job.generation
            self._tally(candidate, placement.slot, sign, is_present=is_present)
            self._rank(candidate)
            self._contest.improve(kind.traits.values)

    def _tally(self, candidate: Candidate, slot: int, sign: int, *, is_present: bool) -> None:
        if is_present:
            candidate.count += sign
            for count, value in zip(self._contest.counts, candidate.kind.traits.values, strict=True):
                count[value] += sign
        if self._is_distinct:
            was_taken = candidate.is_feasible and bool(self._slots.get(candidate.name))
            slots = self._slots.setdefault(candidate.name, {})
            slots[slot] = slots.get(slot, 0) + sign
            if not slots[slot]:
                del slots[slot]
            self._own_up(candidate.name)
            self._taken += (candidate.is_feasible and bool(slots)) - was_taken

    def _rank(self, candidate: Candidate) -> None:
        """Bring the candidate's place in the contest up to date."""
        was_feasible, candidate.is_feasible = candidate.is_feasible, candidate.fits(self.need)
        change = candidate.is_feasible - was_feasible
        self._feasible += change
        is_taken = self._is_distinct and bool(self._slots.get(candidate.name))
        self._taken += change * is_taken
        marks = self._contest.marks
        marks[candidate.name] = marks.get(candidate.name, 0) + 1
        if candidate.is_feasible and not is_taken:
            self._contest.enter(candidate.kind.traits.values, self._entry(candidate))

    def _entry(self, candidate: Candidate) -> Entry:
        name = candidate.name
        mark = self._contest.marks.get(name, 0)
        return candidate.count, candidate.kind.traits.dislike, candidate.emptiness(self.need), name, mark


def _kinds(rules: PlacementRules, fleet: Fleet) -> tuple[Kinds, int]:
    """Return the agents by kind, and how many of the tags to spread over tell more than agents do.

    Where no two agents have the same value of the last tag, counting the tasks by it is counting them by agent, which
    is done anyway. To leave it out keeps agents alike, and groups few, for the rule that people write most: by name.
    """
    spread = rules.spread
    while spread and fleet.is_unique(spread[-1].tag):
        spread = spread[:-1]
    if rules.distinct is not None or rules.agents or len(spread) < len(rules.spread):
        rules = replace(rules, distinct=None, spread=spread, agents=())
    return fleet.kinds(rules), len(spread)


def _not_distinct(slot: int) -> Refusal:
    return Refusal(predicate="distinct agent", wanted="no other slot of this job", found=f"slot {slot} is there")
