"""What a plan document says of agents, and what tasks take of them as it is gone through: the checker's own count.

It shares nothing with what the scheduler places by; only the words in which blockers are told are the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harpoon.core.blockers import NAMED_MAX, VALUES_MAX, Refusal
from harpoon.model.agent import Capacity, LinkState
from harpoon.model.decision import Blocker
from harpoon.model.name import TaskId
from harpoon.model.promise import AgentsSeen
from harpoon.model.rules import PlacementRules, Requirement
from harpoon.model.task import Reservation
from harpoon.model.template import TaskTemplate

#: Resources that are not named by whoever offers them.
_MEASURED: Final = ("cpu", "memory")


def amounts(of: Capacity | Reservation) -> dict[str, int]:
    """Return how much of each resource there is, or is taken."""
    return {"cpu": of.cpu, "memory": of.memory, **dict(of.named)}


def wanted_by(template: TaskTemplate) -> Reservation:
    """Return what a task takes: what it asks for, and the ports whose numbers it fixes."""
    fixed = sorted(number for number in template.ports.values() if number != 0)
    resources = template.resources
    named = sorted((name, count) for name, count in resources.named.items() if count)
    mounted = [volume for volume in template.volumes if volume.scratch is None or volume.at[0] == "/"]
    hosts = {*(volume.host for volume in mounted), *(artifact.host for artifact in template.artifacts)}
    written = {volume.host for volume in mounted if not volume.read_only}
    return Reservation(
        cpu=resources.cpu,
        memory=resources.memory,
        ports=tuple(fixed),
        named=tuple(named),
        paths=tuple((host, host in written) for host in sorted(filter(None, hosts))),
        mounts=bool(mounted) and template.driver.value == "process",
        driver=template.driver.value,
    )


@dataclass(slots=True)
class Room:
    """One agent, with what is taken of it at a moment."""

    name: str
    seen: AgentsSeen
    taken: dict[str, int]
    ports: dict[int, set[TaskId]]

    def add(self, task: TaskId, reserve: Reservation, sign: int) -> None:
        """Count a task, or with sign -1 count it no longer."""
        for name, amount in amounts(reserve).items():
            self.taken[name] = self.taken.get(name, 0) + sign * amount
        for port in reserve.ports:
            holders = self.ports.setdefault(port, set())
            if sign > 0:
                holders.add(task)
            else:
                holders.discard(task)

    def closed(self, rules: PlacementRules) -> Iterator[Refusal]:
        """Yield why it takes nothing under these rules, whatever is free."""
        if self.seen.link is not LinkState.CONNECTED:
            yield Refusal(predicate="link", wanted="connected", found=str(self.seen.link))
        if self.seen.cordon is not None:
            yield Refusal(predicate="cordon", wanted="none", found=self.seen.cordon)
        for rule in rules.require:
            value = self.seen.attributes.get(rule.tag)
            if not _passes(rule, value):
                yield Refusal(
                    predicate=f"tag {rule.tag}", wanted=_asked(rule), found="not set" if value is None else value
                )

    def short(self, need: Reservation) -> Iterator[Refusal]:
        """Yield what is not free of that which one more task would take."""
        offered = amounts(self.seen.capacity)
        for name, amount in amounts(need).items():
            there = offered.get(name, 0)
            free = there - self.taken.get(name, 0)
            if amount > max(free, 0):
                tell = Refusal.of_amount if name in _MEASURED else Refusal.of_named
                yield tell(name, amount, free, there)
        for port in need.ports:
            if self.ports.get(port):
                first = min(self.ports[port])
                holder = "/".join(first.split(".")[:2])
                yield Refusal(predicate=f"port {port}", wanted="free", found=f"taken by job {holder}")

    def bars(self, need: Reservation) -> Iterator[Refusal]:
        """Yield what it does not let a task have, however much is free."""
        if need.driver not in self.seen.drivers:
            found = ", ".join(self.seen.drivers) or "none"
            yield Refusal(predicate="driver", wanted=need.driver, found=found)
        for path, is_written in need.paths:
            told = self.seen.host_paths.get(path)
            if told is None:
                yield Refusal(predicate=f"host path {path}", wanted="allowed", found="not allowed")
            elif told is False and is_written:
                yield Refusal(predicate=f"host path {path}", wanted="writable", found="read-only")
        if need.mounts and not self.seen.mounts:
            yield Refusal(predicate="mounts", wanted="possible", found="not possible")

    def overfull(self, needs: Sequence[tuple[TaskId, Reservation]]) -> Iterator[str]:
        """Yield what is too much once all these are here, which are counted already."""
        offered = amounts(self.seen.capacity)
        for name, taken in self.taken.items():
            there = offered.get(name, 0)
            if taken > there and any(amounts(need).get(name, 0) > 0 for _, need in needs):
                yield f"{name}: {taken} taken of {there}"
        for port in sorted({port for _, need in needs for port in need.ports}):
            holders = sorted(self.ports[port])
            if len(holders) > 1:
                yield f"port {port}: taken by {' and '.join(holders)}"


def blockers_of(refused: Mapping[str, Sequence[Refusal]]) -> tuple[Blocker, ...]:
    """Return what agents refuse as a plan tells it: by predicate and values, the rarer values of many together."""
    if not refused:
        found = "none: start one with `harpoon agent --name NAME --server URL --state-dir DIR`"
        return (Blocker(predicate="agents", wanted="at least one agent", found=found, agents=(), agents_count=0),)
    alike: dict[tuple[str, str, str], set[str]] = {}
    for agent, failed in refused.items():
        for one in failed:
            alike.setdefault((one.predicate, one.wanted, one.found), set()).add(agent)
    many: dict[tuple[str, str], int] = {}
    grouped: dict[tuple[str, str, str], set[str]] = {}
    for (predicate, wanted, found), agents in sorted(alike.items(), key=lambda item: (-len(item[1]), item[0])):
        many[predicate, wanted] = many.get((predicate, wanted), 0) + 1
        shown = found if many[predicate, wanted] < VALUES_MAX else "other values that do not do"
        grouped.setdefault((predicate, wanted, shown), set()).update(agents)
    return tuple(
        Blocker(
            predicate=predicate,
            wanted=wanted,
            found=found,
            agents=tuple(sorted(agents)[:NAMED_MAX]),
            agents_count=len(agents),
        )
        for (predicate, wanted, found), agents in sorted(grouped.items())
    )


def rooms_of(groups: Sequence[AgentsSeen]) -> dict[str, Room]:
    """Return each agent, by name; one that is told twice is there once."""
    return {
        name: Room(name, group, amounts(group.reserved), {int(port): set(held) for port, held in group.ports.items()})
        for group in groups
        for name in group.names
    }


def surplus(rooms: Mapping[str, Room], taken: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield agents on which less is said to be taken in all than by the tasks that are named."""
    for agent, sums in taken.items():
        room = rooms.get(agent)
        if room is not None and any(amount > room.taken.get(name, 0) for name, amount in sums.items()):
            yield agent


def _passes(rule: Requirement, value: str | None) -> bool:
    match rule:
        case Requirement(equals=str() as wanted):
            return value == wanted
        case Requirement(in_=tuple() as listed):
            return value is not None and value in listed
        case Requirement(not_in=tuple() as listed):
            return value is None or value not in listed
        case _:
            return rule.exists is (value is not None)


def _asked(rule: Requirement) -> str:
    match rule:
        case Requirement(equals=str() as wanted):
            return wanted
        case Requirement(in_=tuple() as listed):
            return f"one of {', '.join(listed)}"
        case Requirement(not_in=tuple() as listed):
            return f"none of {', '.join(listed)}"
        case _:
            return "set" if rule.exists else "not set"
