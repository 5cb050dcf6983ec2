"""Why slots are not placed, told so that a person can act on it: all blockers, with both values, agents grouped.

It only tells. What agents refuse, and why, is found by `core.place`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from harpoon.model.decision import Blocker
from harpoon.model.units import format_cpu, format_size

#: Agents named in one blocker; their number is told in full.
NAMED_MAX = 8
#: Values told of one predicate, so that a record of a large fleet stays small.
VALUES_MAX = 16

#: Agents told with what they lack, of those that slots are for.
OWN_MAX = 4

_UNITS = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One predicate that one agent failed, with both values."""

    predicate: str
    wanted: str
    found: str
    #: By how much it was missed, where that can be said.
    shortage: int | None = field(default=None, compare=False)
    #: The same as a share of what is needed, so that processor and memory compare: the least is the nearest fix.
    share: float = field(default=0.0, compare=False)

    @classmethod
    def of_amount(cls, predicate: str, need: int, free: int, capacity: int) -> "Refusal":
        """Tell of ``cpu`` or ``memory`` that falls short."""
        write = about_size if predicate == "memory" else format_cpu
        found = f"{write(max(free, 0))} free of {write(capacity)}"
        if free < 0:
            found += f", overdrawn by {write(-free)}"
        # Rounded up, or it could read as if there were enough.
        wanted = about_size(need, is_least=True) if predicate == "memory" else format_cpu(need)
        short = need - free
        return cls(predicate=predicate, wanted=f"{wanted} free", found=found, shortage=short, share=short / need)

    @classmethod
    def of_named(cls, name: str, need: int, free: int, capacity: int) -> "Refusal":
        """Tell of a named resource that falls short."""
        found = f"{max(free, 0)} free of {capacity}" if capacity else "not offered"
        if free < 0:
            found += f", overdrawn by {-free}"
        short = need - free
        return cls(predicate=f"resource {name}", wanted=f"{need} free", found=found, shortage=short, share=short / need)


class Refused(NamedTuple):
    """Agents that fail the same predicates for the same reason."""

    #: What each of them fails.
    failed: tuple[Refusal, ...]
    #: Sorted, and not empty.
    agents: Sequence[str]

    @property
    def distance(self) -> tuple[int, float]:
        """How far they are from taking a slot: how much they fail, then by how much."""
        return len(self.failed), max([refusal.share for refusal in self.failed], default=0.0)


def nearest(refusals: Iterable[Refused]) -> Refused:
    """Return the agent that needs the least, alone, with what it fails; there is one."""
    found = min(refusals, key=lambda one: (one.distance, one.agents[0]))
    return Refused(found.failed, found.agents[:1])


@dataclass(slots=True)
class _Tally:
    """Agents that are told together."""

    count: int = 0
    #: The first of them, and some more.
    names: list[str] = field(default_factory=list)

    def add(self, count: int, names: Sequence[str]) -> None:
        self.count += count
        self.names += names[:NAMED_MAX]


def blockers(refusals: Sequence[Refused]) -> tuple[Blocker, ...]:
    """Group what agents refused: one blocker for each predicate and pair of values, sorted.

    Args:
        refusals: What each agent failed; no agent twice.
    """
    if not refusals:
        found = "none: start one with `harpoon agent --name NAME --server URL --state-dir DIR`"
        return (Blocker(predicate="agents", wanted="at least one agent", found=found, agents=(), agents_count=0),)
    groups: dict[tuple[str, str, str], _Tally] = {}
    for failed, agents in refusals:
        for refusal in failed:
            key = (refusal.predicate, refusal.wanted, refusal.found)
            tally = groups.get(key)
            if tally is None:
                tally = groups[key] = _Tally()
            tally.add(len(agents), agents)
    return tuple(
        Blocker(
            predicate=predicate,
            wanted=wanted,
            found=found,
            agents=tuple(sorted(tally.names)[:NAMED_MAX]),
            agents_count=tally.count,
        )
        for (predicate, wanted, found), tally in sorted(_bound(groups).items())
    )


def _bound(groups: Mapping[tuple[str, str, str], _Tally]) -> dict[tuple[str, str, str], _Tally]:
    """Tell the values of few agents together where one predicate found too many different ones."""
    bound: dict[tuple[str, str, str], _Tally] = {}
    told: Counter[tuple[str, str]] = Counter()
    for (predicate, wanted, found), tally in sorted(groups.items(), key=lambda group: (-group[1].count, group[0])):
        told[predicate, wanted] += 1
        is_told = told[predicate, wanted] < VALUES_MAX
        key = (predicate, wanted, found if is_told else "other values that do not do")
        bound.setdefault(key, _Tally()).add(tally.count, sorted(tally.names))
    return bound


def sentence(unplaced: int, wanted: int, refusals: Sequence[Refused]) -> str:
    """Say in one sentence how many slots wait, and what the nearest agent lacks."""
    slots = f"{unplaced} of {wanted} wanted slots cannot be placed"
    if not refusals:
        return f"{slots}: there is no agent"
    failed, (name,) = nearest(refusals)
    size = sum(len(one.agents) for one in refusals)
    return f"{slots}: none of {size} agents can take one; the nearest is {name}, which needs {_lacks(failed)}"


def own_sentence(unplaced: int, wanted: int, refusals: Sequence[Refused]) -> str:
    """Say in one sentence how many slots wait of which each is for one agent, and what those agents lack."""
    slots = f"{unplaced} of {wanted} wanted slots cannot be placed"
    told = [f"{one.agents[0]} needs {_lacks(one.failed)}" for one in refusals[:OWN_MAX]]
    more = f"; and {len(refusals) - OWN_MAX} more" if len(refusals) > OWN_MAX else ""
    return f"{slots}, each of which is for one agent only: {'; '.join(told)}{more}"


def _lacks(failed: Iterable[Refusal]) -> str:
    return " and ".join(f"{one.predicate} {one.wanted} (found {one.found})" for one in failed)


def about_size(size: int, *, is_least: bool = False) -> str:
    """Write a size as a person reads it: exact where that is short, else rounded down to hundredths.

    One that ``is_least`` what will do is rounded up.
    """
    exact = format_size(size)
    if len(exact) <= 6:
        return exact
    unit, factor = next((unit, factor) for unit, factor in _UNITS if size >= factor)
    hundredths = -(-size * 100 // factor) if is_least else size * 100 // factor
    return f"{hundredths / 100:.2f}".rstrip("0").rstrip(".") + unit


def moment(wall_ms: int) -> str:
    """Write a moment (UTC milliseconds) as a person reads it, to the second."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
