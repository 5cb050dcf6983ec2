"""The agents that could take a task of one shape, in the order in which placing takes them when all else is equal.

Jobs come in few shapes, and an agent changes seldom beside how often agents are looked at. So the order is kept from
one placing to the next, and only agents that have changed since are ranked anew (`Fleet.ranking`). It knows nothing of
any job's tasks: what those change is `core.board`'s.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from harpoon.model.agent import Agent, Capacity, Cordon, LinkState
from harpoon.model.name import TaskId
from harpoon.model.rules import PlacementRules
from harpoon.model.task import Reservation


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
    #: Fixed port → the placements that have it; more than one only if records say so that were not decided here.
    ports: dict[int, set[TaskId]] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it takes anything at all."""
        return self.link is LinkState.CONNECTED and self.cordon is None

    def copy(self) -> "Host":
        """Return one that changes apart from this."""
        return replace(self, ports={port: set(holders) for port, holders in self.ports.items()})


class Shape(NamedTuple):
    """What tells jobs apart for whom agents rank differently."""

    need: Reservation
    #: Without ``distinct``, which depends on the job's tasks.
    rules: PlacementRules


class Rank(NamedTuple):
    """What an agent is chosen by when none of the job's tasks are on it: the lowest first."""

    dislike: int
    emptiness: float
    name: str


Values = tuple[str, ...]


class Ranking:
    """All agents that could take a task of the shape, by their values of what it is spread over."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._known: dict[str, tuple[Values, Rank]] = {}
        #: Agents that are to be ranked anew before this is read.
        self.stale: set[str] = set()
        self.groups: dict[Values, list[Rank]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def load(self, hosts: Iterable[Host]) -> None:
        """Rank all agents; to be called once."""
        for host in hosts:
            found = self._judge(host)
            if found is not None:
                self._known[found[1].name] = found
                self.groups.setdefault(found[0], []).append(found[1])
        for ranks in self.groups.values():
            ranks.sort()

    def refresh(self, hosts: Mapping[str, Host]) -> None:
        """Rank anew what is stale."""
        for name in self.stale:
            host = hosts.get(name)
            before, after = self._known.get(name), None if host is None else self._judge(host)
            if before == after:
                continue
            if before is not None:
                ranks = self.groups[before[0]]
                del ranks[bisect_left(ranks, before[1])], self._known[name]
                if not ranks:
                    del self.groups[before[0]]
            if after is not None:
                self._known[name] = after
                insort(self.groups.setdefault(after[0], []), after[1])
        self.stale.clear()

    def _judge(self, host: Host) -> tuple[Values, Rank] | None:
        """Return where an agent stands; None: it could not take a task."""
        agent, need, rules = host.agent, self._shape.need, self._shape.rules
        if agent is None or not host.is_open or not has_room(agent.capacity, host.cpu, host.memory, need):
            return None
        if need.ports and any(port in host.ports for port in need.ports):
            return None
        values: Values = ()
        dislike = 0
        if rules.require or rules.prefer or rules.spread:
            attributes = {**agent.tags, **agent.facts}
            if not all(rule.holds(attributes) for rule in rules.require):
                return None
            values, dislike = values_of(rules, attributes), -liking_of(rules, attributes)
        return values, Rank(dislike, -fullness(agent.capacity, host.cpu, host.memory, need), agent.name)


def has_room(capacity: Capacity, cpu: int, memory: int, need: Reservation) -> bool:
    """Return whether processor and memory suffice, of which so much is reserved already."""
    return not 0 < need.cpu > capacity.cpu - cpu and not 0 < need.memory > capacity.memory - memory


def fullness(capacity: Capacity, cpu: int, memory: int, need: Reservation) -> float:
    """Return the larger share, of processor or memory, that is reserved once one more task is here."""
    return max(
        1 - (capacity.cpu - cpu - need.cpu) / capacity.cpu if capacity.cpu else 0.0,
        1 - (capacity.memory - memory - need.memory) / capacity.memory if capacity.memory else 0.0,
    )


def liking_of(rules: PlacementRules, attributes: Mapping[str, str]) -> int:
    """Return the sum of the weights of the preferences that hold."""
    return sum(rule.weight for rule in rules.prefer if rule.holds(attributes))


def values_of(rules: PlacementRules, attributes: Mapping[str, str]) -> Values:
    """Return an agent's values of what is to be spread over."""
    return tuple([attributes.get(rule.tag, "") for rule in rules.spread])
