"""A graph as the API tells it: laid out, in pixels from its upper left corner."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Boxes that one drawing may have.
BOXES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnBox:
    """An operation, or several alike that are drawn as one."""

    title: str
    #: ``worker``, ``wait``, ``choose`` and so on.
    kind: str
    #: What it does, in a few words.
    does: str
    #: ``running``, ``retrying``, ``waiting``, ``ready``, ``parked``, ``failed``, ``cancelled``, ``done``,
    #: ``not yet`` or ``skipped``; null: of a workflow.
    state: str | None
    note: str
    #: Such as the error that it failed with.
    aside: str
    #: The operations that it stands for.
    ops: tuple[str, ...]
    #: A run begins with it.
    is_start: bool
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStart:
    """Where a line leaves a box, on its lower side."""

    #: Its place in ``boxes``.
    box: int
    label: str
    #: How often the box was closed so; null: of a workflow, or it was not.
    times: int | None
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEnd:
    """Where a line comes to a box, on its upper side."""

    #: Its place in ``boxes``.
    box: int
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLine:
    """Edges that are drawn as one line, which forks and joins: each of its beginnings leads to each of its ends."""

    from_: tuple[LineStart, ...]
    to: tuple[LineEnd, ...]
    #: It goes up, for it closes a cycle.
    is_back: bool
    #: Its ends are opened only when it has come from all of its beginnings.
    is_join: bool
    #: Straight pieces: x and y of one end, then of the other.
    path: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphDrawing:
    """The graph of a workflow or of a run, laid out from top to bottom."""

    title: str
    description: str
    #: That several operations are drawn as one box; empty: none are.
    folded: str
    width: int
    height: int
    boxes: tuple[DrawnBox, ...]
    lines: tuple[DrawnLine, ...]
    #: State → how many operations of a run stand so.
    states: Mapping[str, int] = field(default_factory=dict)
