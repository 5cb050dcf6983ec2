"""Agents sorted into kinds, and kinds in the order in which placing takes them when all else is equal.

Agents of one *kind* are alike in everything that matters under some placement rules: the same verdict of the rules, the
same room. There are few kinds in a fleet of alike machines, however large, and at worst as many as agents. Jobs come
with few rules, and an agent changes seldom beside how often agents are looked at: so the kinds are kept from one
placing to the next, and only agents that have changed since are sorted anew (`Fleet.kinds`). It knows nothing of any
job's tasks: what those change is `core.board`'s.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import Final

from harpoon.core.blockers import Refusal
from harpoon.core.hosts import Host, Room
from harpoon.model.agent import Agent
from harpoon.model.rules import PlacementRules, Requirement
from harpoon.model.task import Reservation

Values = tuple[str, ...]
#: What kinds are taken by, the lowest first: how little they are preferred, then how empty they are.
Tier = tuple[int, float]

#: Needs for which the kinds of one set of rules are kept in order; those not used for the longest time are forgotten.
RANKINGS_MAX: Final = 16
_SPARE: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What rules say of agents with certain tags and facts. One that is equal is the same one."""

    #: Why they take nothing under these rules, whatever is free.
    refusals: tuple[Refusal, ...]
    #: Less the sum of the weights of the preferences that hold.
    dislike: int
    #: Their values of what is to be spread over.
    values: Values


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What agents have in common that are alike. One that is equal is the same one, so that it is found at once."""

    traits: Traits
    room: Room

    def refusals(self, need: Reservation) -> tuple[Refusal, ...]:
        """Return every predicate that its agents fail."""
        return (*self.room.closed(), *self.traits.refusals, *self.room.lacks(need))


class Kinds:
    """All registered agents, by kind, under one set of placement rules."""

    def __init__(self, rules: PlacementRules, hosts: Mapping[str, Host]) -> None:
        self._rules = rules
        tags = (
            [one.tag for one in rules.require] + [one.tag for one in rules.prefer] + [one.tag for one in rules.spread]
        )
        self._tags = tuple(dict.fromkeys(tags))
        #: Values of these tags → what the rules say of them.
        self._traits: dict[tuple[str | None, ...], Traits] = {}
        self._rankings: dict[Reservation, Ranking] = {}
        #: Agents that are to be sorted anew before this is read.
        self.stale: set[str] = set()
        #: Agent → its kind.
        self.of: dict[str, Kind] = {}
        self._known: dict[tuple[Traits, Room], Kind] = {}
        #: Its agents, sorted. None is empty.
        self.agents: dict[Kind, list[str]] = {}
        for name, host in hosts.items():
            if host.agent is not None:
                kind = self.of[name] = self._kind(host.agent, host)
                self.agents.setdefault(kind, []).append(name)
        for names in self.agents.values():
            names.sort()

    def refresh(self, hosts: Mapping[str, Host]) -> None:
        """Sort anew what is stale."""
        for name in self.stale:
            host = hosts.get(name)
            before = self.of.get(name)
            after = None if host is None or host.agent is None else self._kind(host.agent, host)
            if before is after:
                continue
            if before is not None:
                self._leave(name, before)
            if after is not None:
                self._join(name, after)
        self.stale.clear()
        # What nobody has asked for while all this changed is quicker made anew than brought up to date.
        spare = 2 * len(self.agents) + _SPARE
        for need in [need for need, ranking in self._rankings.items() if len(ranking.stale) > spare]:
            del self._rankings[need]

    def ranking(self, need: Reservation) -> "Ranking":
        """Return the kinds that have room for this, in order; good until something changes."""
        ranking = self._rankings.pop(need, None)
        if ranking is None:
            ranking = Ranking(need, self.agents)
            if len(self._rankings) == RANKINGS_MAX:
                del self._rankings[next(iter(self._rankings))]
        else:
            ranking.refresh()
        self._rankings[need] = ranking
        return ranking

    def _leave(self, name: str, kind: Kind) -> None:
        del self.of[name]
        names = self.agents[kind]
        del names[bisect_left(names, name)]
        if not names:
            del self.agents[kind], self._known[kind.traits, kind.room]
        self._tell(kind, -1)

    def _join(self, name: str, kind: Kind) -> None:
        self.of[name] = kind
        names = self.agents.get(kind)
        if names is None:
            self.agents[kind] = [name]
        else:
            insort(names, name)
        self._tell(kind, 1)

    def _tell(self, kind: Kind, more: int) -> None:
        for ranking in self._rankings.values():
            ranking.hear(kind, more)

    def _kind(self, agent: Agent, host: Host) -> Kind:
        tags, facts = agent.tags, agent.facts
        key = tuple([facts[tag] if tag in facts else tags.get(tag) for tag in self._tags])
        traits = self._traits.get(key)
        if traits is None:
            if len(self._traits) > 2 * len(self.of) + _SPARE:
                # What agents had that have changed since. That equal ones are two kinds from here on does no harm.
                self._traits.clear()
            traits = self._traits[key] = _traits(self._rules, {**tags, **facts})
        found = (traits, host.room(agent))
        kind = self._known.get(found)
        if kind is None:
            kind = self._known[found] = Kind(*found)
        return kind


@dataclass(slots=True)
class Group:
    """The kinds with the same values of what is to be spread over, by tier."""

    #: Sorted.
    tiers: list[Tier] = field(default_factory=list)
    kinds: dict[Tier, list[Kind]] = field(default_factory=dict)

    def add(self, tier: Tier, kind: Kind) -> None:
        """Take a kind in."""
        known = self.kinds.get(tier)
        if known is None:
            insort(self.tiers, tier)
            self.kinds[tier] = [kind]
        else:
            known.append(kind)

    def remove(self, tier: Tier, kind: Kind) -> None:
        """Take a kind out."""
        known = self.kinds[tier]
        known.remove(kind)
        if not known:
            del self.kinds[tier], self.tiers[bisect_left(self.tiers, tier)]


class Ranking:
    """The kinds that have room for one more task of one need, in groups by their values."""

    def __init__(self, need: Reservation, agents: Mapping[Kind, Sequence[str]]) -> None:
        self._need = need
        self._agents = agents
        self._tiers: dict[Kind, Tier] = {}
        #: What agents fail, of kinds of which it was asked: a job that fits nowhere asks it of all, again and again.
        self._refusals: dict[Kind, tuple[Refusal, ...]] = {}
        #: Kinds that came, or went, since it was read.
        self.stale: set[Kind] = set()
        #: How many agents there are of these kinds.
        self.count = 0
        self.groups: dict[Values, Group] = {}
        for kind in agents:
            self._come(kind)

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._tiers

    def tier(self, kind: Kind) -> Tier | None:
        """Return where a kind stands; None: it could not take a task."""
        return self._tiers.get(kind)

    def refusals(self, kind: Kind) -> tuple[Refusal, ...]:
        """Return every predicate that agents of a kind fail."""
        found = self._refusals.get(kind)
        if found is None:
            found = self._refusals[kind] = kind.refusals(self._need)
        return found

    def names(self, values: Values) -> Iterator[tuple[int, float, str]]:
        """Yield the agents of a group with their tiers, in order; to be read before anything changes."""
        group = self.groups[values]
        for dislike, emptiness in group.tiers:
            lists = [self._agents[kind] for kind in group.kinds[dislike, emptiness]]
            for name in lists[0] if len(lists) == 1 else merge(*lists):
                yield dislike, emptiness, name

    def hear(self, kind: Kind, more: int) -> None:
        """Take note that there are more agents of a kind, or fewer."""
        if kind in self._tiers:
            self.count += more
            if kind not in self._agents:
                self.stale.add(kind)
        else:
            self.stale.add(kind)

    def refresh(self) -> None:
        """Take in the kinds that came, and leave out those that went."""
        for kind in self.stale:
            if kind in self._agents:
                self._come(kind)
            else:
                self._refusals.pop(kind, None)
                if kind in self._tiers:
                    self._go(kind)
        self.stale.clear()

    def _come(self, kind: Kind) -> None:
        traits, room = kind.traits, kind.room
        if traits.refusals or not room.fits(self._need):
            return
        tier = self._tiers[kind] = (traits.dislike, room.emptiness(self._need))
        self.count += len(self._agents[kind])
        group = self.groups.get(traits.values)
        if group is None:
            group = self.groups[traits.values] = Group()
        group.add(tier, kind)

    def _go(self, kind: Kind) -> None:
        tier, values = self._tiers.pop(kind), kind.traits.values
        group = self.groups[values]
        group.remove(tier, kind)
        if not group.tiers:
            del self.groups[values]


def _traits(rules: PlacementRules, attributes: Mapping[str, str]) -> Traits:
    return Traits(
        refusals=tuple([_refusal(rule, attributes) for rule in rules.require if not rule.holds(attributes)]),
        dislike=-liking_of(rules, attributes),
        values=values_of(rules, attributes),
    )


def liking_of(rules: PlacementRules, attributes: Mapping[str, str]) -> int:
    """Return the sum of the weights of the preferences that hold."""
    return sum(rule.weight for rule in rules.prefer if rule.holds(attributes))


def values_of(rules: PlacementRules, attributes: Mapping[str, str]) -> Values:
    """Return an agent's values of what is to be spread over."""
    return tuple([attributes.get(rule.tag, "") for rule in rules.spread])


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
