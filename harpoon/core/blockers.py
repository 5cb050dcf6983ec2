"""Why slots are not placed, told so that a person can act on it: all blockers, with both values, agents grouped.

It only tells. What agents refuse, and why, is found by `core.place`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from harpoon.model.decision import Blocker
from harpoon.model.units import format_cpu, format_size

#: Agents named in one blocker; their number is told in full.
NAMED_MAX = 8
#: Values told of one predicate, so that a record of a large fleet stays small.
VALUES_MAX = 16

_UNITS = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One predicate that one agent failed, with both values."""

    predicate: str
    wanted: str
    found: str
    #: By how much it was missed, where that can be said: the least shortage is the nearest fix.
    shortage: int | None = field(default=None, compare=False)

    @classmethod
    def of_amount(cls, predicate: str, need: int, free: int, capacity: int) -> "Refusal":
        """Tell of ``cpu`` or ``memory`` that falls short."""
        write = about_size if predicate == "memory" else format_cpu
        found = f"{write(max(free, 0))} free of {write(capacity)}"
        return cls(predicate=predicate, wanted=f"{write(need)} free", found=found, shortage=need - free)


def blockers(refusals: Mapping[str, Sequence[Refusal]]) -> tuple[Blocker, ...]:
    """Group what agents refused: one blocker for each predicate and pair of values, sorted.

    Args:
        refusals: Agent → every predicate it failed.
    """
    if not refusals:
        found = "none: start one with `harpoon agent --name NAME --server URL --state-dir DIR`"
        return (Blocker(predicate="agents", wanted="at least one agent", found=found, agents=(), agents_count=0),)
    groups: dict[tuple[str, str, str], list[str]] = {}
    for agent, failed in sorted(refusals.items()):
        for refusal in failed:
            groups.setdefault((refusal.predicate, refusal.wanted, refusal.found), []).append(agent)
    return tuple(
        Blocker(
            predicate=predicate,
            wanted=wanted,
            found=found,
            agents=tuple(agents[:NAMED_MAX]),
            agents_count=len(agents),
        )
        for (predicate, wanted, found), agents in sorted(_bound(groups).items())
    )


def _bound(groups: Mapping[tuple[str, str, str], list[str]]) -> dict[tuple[str, str, str], list[str]]:
    """Tell the values of few agents together where one predicate found too many different ones."""
    bound: dict[tuple[str, str, str], list[str]] = {}
    told: Counter[tuple[str, str]] = Counter()
    for (predicate, wanted, found), agents in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        told[predicate, wanted] += 1
        is_told = told[predicate, wanted] < VALUES_MAX
        key = (predicate, wanted, found if is_told else "other values that do not do")
        bound[key] = sorted((*bound.get(key, ()), *agents))
    return bound


def sentence(unplaced: int, wanted: int, refusals: Mapping[str, Sequence[Refusal]]) -> str:
    """Say in one sentence how many slots wait, and what the nearest agent lacks."""
    slots = f"{unplaced} of {wanted} wanted slots cannot be placed"
    if not refusals:
        return f"{slots}: there is no agent"
    nearest = min(sorted(refusals), key=lambda agent: (len(refusals[agent]), _shortage(refusals[agent])))
    lacks = " and ".join(f"{r.predicate} {r.wanted} (found {r.found})" for r in refusals[nearest])
    return f"{slots}: none of {len(refusals)} agents can take one; the nearest is {nearest}, which needs {lacks}"


def _shortage(failed: Sequence[Refusal]) -> int:
    return max((refusal.shortage or 0 for refusal in failed), default=0)


def about_size(size: int) -> str:
    """Write a size as a person reads it: exact where that is short, else rounded down to hundredths."""
    exact = format_size(size)
    if len(exact) <= 6:
        return exact
    unit, factor = next((unit, factor) for unit, factor in _UNITS if size >= factor)
    return f"{size * 100 // factor / 100:g}{unit}"


def moment(wall_ms: int) -> str:
    """Write a moment (UTC milliseconds) as a person reads it, to the second."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
