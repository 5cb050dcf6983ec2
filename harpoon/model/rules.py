"""Where a job's tasks may run, and where they would rather."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.name import check_name

RULES_MAX = 32
WEIGHT_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A predicate on one tag or fact of an agent (``name``, ``arch``, ``os`` are facts); exactly one test is set."""

    tag: str
    equals: str | None = None
    in_: tuple[str, ...] | None = None
    not_in: tuple[str, ...] | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        _check_tests(self)

    def holds(self, attributes: Mapping[str, str]) -> bool:
        """Return whether an agent with these tags and facts passes."""
        return _holds(self, attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A predicate like a requirement's that makes an agent better, or worse, but never rules it out."""

    tag: str
    equals: str | None = None
    in_: tuple[str, ...] | None = None
    not_in: tuple[str, ...] | None = None
    exists: bool | None = None
    #: What an agent gains that passes; below 0 it is avoided.
    weight: int = 50

    def __post_init__(self) -> None:
        _check_tests(self)
        if not (-WEIGHT_MAX <= self.weight <= WEIGHT_MAX and self.weight):
            raise ValueError(f"weight is -{WEIGHT_MAX} to {WEIGHT_MAX}, and not 0")

    def holds(self, attributes: Mapping[str, str]) -> bool:
        """Return whether an agent with these tags and facts passes."""
        return _holds(self, attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Even out a job's tasks over the values of a tag or fact; agents without it count as one more value."""

    tag: str


class Distinct(StrEnum):
    """What no two slots of a job share."""

    #: An agent: each has at most one slot of the job. While a slot is replaced, old and new may be on the same.
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRules:
    """Where a job's tasks may run (``require``, ``distinct``), and where they would rather (``spread``, ``prefer``)."""

    require: tuple[Requirement, ...] = ()
    prefer: tuple[Preference, ...] = ()
    spread: tuple[Spread, ...] = ()
    distinct: Distinct | None = None
    #: Batch only, and instead of all the others: each slot runs on the agent in its place here, and nowhere else.
    agents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if max(len(self.require), len(self.prefer), len(self.spread)) > RULES_MAX:
            raise ValueError(f"require, prefer and spread hold at most {RULES_MAX} each")
        for name in self.agents:
            check_name("agents", name)
        if len(self.agents) != len(set(self.agents)):
            twice = next(name for number, name in enumerate(self.agents) if name in self.agents[:number])
            raise ValueError(f"agents names {twice} twice; each is given one slot")
        if self.agents and (self.require or self.prefer or self.spread or self.distinct):
            raise ValueError("agents says where each slot runs, and leaves the other rules no meaning; leave them out")


def _check_tests(rule: Requirement | Preference) -> None:
    tests = (rule.equals, rule.in_, rule.not_in, rule.exists)
    if sum(test is not None for test in tests) != 1:
        raise ValueError("exactly one of equals, in, not_in, exists is set")


def _holds(rule: Requirement | Preference, attributes: Mapping[str, str]) -> bool:
    value = attributes.get(rule.tag)
    if rule.equals is not None:
        return value == rule.equals
    if rule.in_ is not None:
        return value in rule.in_
    if rule.not_in is not None:
        return value not in rule.not_in
    return (value is not None) is rule.exists
