"""A picture as a flowchart of Mermaid, which many wikis and code hosts draw."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from harpoon.core.drawing import Arc, Box, Picture, State, label_of, lines_of
from harpoon.core.printing import printable

#: What a box is written between, by what its operation is.
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "wait": ("{{", "}}"),
    "choose": ("{", "}"),
    "each": ("[[", "]]"),
    "call": ("[[", "]]"),
}
_BOX: Final = ("[", "]")
_START: Final = ("([", "])")
#: State → how it looks; a class may not be called as some words of the language are.
_LOOKS: Final[Mapping[State, tuple[str, str]]] = {
    State.RUNNING: ("isRunning", "fill:#bfdbfe,stroke:#1d4ed8,color:#111827,stroke-width:3px"),
    State.RETRYING: ("isRetrying", "fill:#fde68a,stroke:#b45309,color:#111827,stroke-width:3px"),
    State.WAITING: ("isWaiting", "fill:#fef3c7,stroke:#b45309,color:#111827"),
    State.READY: ("isReady", "fill:#e0f2fe,stroke:#0369a1,color:#111827"),
    State.PARKED: ("isParked", "fill:#fed7aa,stroke:#c2410c,color:#111827,stroke-width:3px"),
    State.FAILED: ("isFailed", "fill:#fecaca,stroke:#b91c1c,color:#111827,stroke-width:3px"),
    State.CANCELLED: ("isCancelled", "fill:#e5e7eb,stroke:#4b5563,color:#111827,stroke-dasharray:6 3"),
    State.DONE: ("isDone", "fill:#bbf7d0,stroke:#15803d,color:#111827"),
    State.AHEAD: ("isAhead", "fill:#ffffff,stroke:#6b7280,color:#111827,stroke-dasharray:6 3"),
    State.SKIPPED: ("isSkipped", "fill:#f3f4f6,stroke:#9ca3af,color:#6b7280,stroke-dasharray:2 3"),
}
#: Everything but what means nothing at all in this language, nor in the HTML that comes of it.
_SPECIAL: Final = re.compile(r"[^\w ,.:()/+=…▶↻◷○⚠✗⊘✓·◌-]")


def write(told: Picture) -> str:
    """Return a picture in Mermaid."""
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Picture) -> Iterator[str]:
    yield "flowchart TD"
    yield f"  accTitle: {_line(told.title)}"
    yield f"  accDescr: {_line(told.description)}"
    for number, box in enumerate(told.boxes):
        yield f"  {_box(number, box)}"
    for arc in told.arcs:
        yield f"  n{arc.source} {_arrow(told, arc)} n{arc.target}"
    for state in sorted({box.state for box in told.boxes if box.state is not None}, key=list(State).index):
        yield f"  classDef {_LOOKS[state][0]} {_LOOKS[state][1]}"


def _box(number: int, box: Box) -> str:
    opens, closes = _SHAPES.get(box.kind, _START if box.is_start else _BOX)
    text = "<br/>".join(_escaped(line) for line in lines_of(box))
    looks = "" if box.state is None else f":::{_LOOKS[box.state][0]}"
    return f'n{number}{opens}"{text}"{closes}{looks}'


def _arrow(told: Picture, arc: Arc) -> str:
    """Write an arrow with its label: a thick one where a run went, a dotted one where it never will.

    It ends in a dot where all of several are needed.
    """
    line = "--" if arc.times is None else "=="
    if arc.times is None and told.boxes[arc.target].state is State.SKIPPED:
        line = "-.-"
    return f'{line}{">" if arc.group < 0 else "o"}|"{_escaped(label_of(arc))}"|'


def _escaped(text: str) -> str:
    """Write each character that might mean something by its number."""
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", printable(text))


def _line(text: str) -> str:
    """Leave out what would end a line of plain text, or begin something else: there is no way to escape it there."""
    return _SPECIAL.sub(" ", printable(text))
