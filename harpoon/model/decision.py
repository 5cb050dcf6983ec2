"""Recorded decisions: why slots are not placed. A placed slot's decision is its placement."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """One predicate that agents failed, with both values; agents that fail alike are told together."""

    #: What was tested: ``cpu``, ``memory``, ``port 8080``, ``tag zone``, ``link``, ``agents``.
    predicate: str
    #: What the slot needs.
    wanted: str
    #: What the agents have.
    found: str
    #: Sorted; at most a handful, ``agents_count`` says how many there are.
    agents: tuple[str, ...]
    agents_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """All slots of one job that cannot be placed now, and why: one record a job, rewritten when its reason changes."""

    namespace: str
    job: str
    generation: str
    slots: tuple[int, ...]
    #: One sentence.
    reason: str
    blockers: tuple[Blocker, ...] = ()
    since_ms: int = 0
    v: int = 1
