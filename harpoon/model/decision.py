"""Decisions as data: which slots want a placement, which placements go, and why slots are not placed.

A placed slot's decision is its placement. `Rollout`, `Want` and `Drop` live for one pass; `Pending` is recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from harpoon.model.name import TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A slot that is to have a new placement of its job's present generation, now."""

    slot: int
    #: How many placements of this slot and generation failed just before the wanted one.
    failures: int = 0
    #: Agents to take only if no other could: where it failed or was lost.
    avoid: tuple[str, ...] = ()
    #: Records to delete in the very commit that places it, and in no other.
    replaces: tuple[TaskId, ...] = ()
    #: Those of ``replaces`` that run no more, so that what they reserve is free for the wanted one.
    ended: tuple[TaskId, ...] = ()
    #: One sentence: why now.
    reason: str
    #: It is to have the form that served before its job's rollout, which waits.
    is_held_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A placement whose record is to be deleted, so that its task stops; an exclusive one is to be revoked first."""

    task: TaskId
    agent: str
    #: One sentence.
    reason: str
    #: How many placements of this slot and generation have failed in a row, with this one; 0: it does not go for that.
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is to go so that one slot can be placed where that is now."""

    slot: int
    agent: str
    #: All that goes, also what had been told to go before.
    awaited: tuple[TaskId, ...]
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What of a job should change now, sorted by slot; at most one `Want` a slot."""

    wants: tuple[Want, ...]
    drops: tuple[Drop, ...]
    #: Slots that would want a placement, if the job's dependencies held.
    held: tuple[int, ...]
    #: Span until something changes by time alone (a backoff ends, bindings may be renewed, a drain's deadline passes);
    #: None: nothing will. That more lost ones may be replaced is not told here.
    due: timedelta | None
    #: Those of the wanted slots whose task is lost: each takes one of what may be replaced.
    evictions: frozenset[int] = frozenset()
    #: Slots whose lost tasks stay only because no more may be replaced now.
    limited: tuple[int, ...] = ()
    #: Each slot has its current placement, and nothing else is there: what a living task does changes nothing.
    is_complete: bool = False


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
    #: Tasks of other jobs that are told to go for them.
    awaited: tuple[TaskId, ...] = ()
    #: Agent → those of the slots for which room is kept there, made by tasks of other jobs that go.
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    since_ms: int = 0
    #: Of a system job: the agents of those slots, in their order.
    members: tuple[str, ...] = ()
    v: int = 1
