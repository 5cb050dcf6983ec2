"""A picture in the language of Graphviz (``dot -Tsvg``)."""

from collections.abc import Iterator, Mapping
from typing import Final

from harpoon.core.drawing import Arc, Box, Picture, State, label_of, lines_of
from harpoon.core.printing import printable

#: Of a box, by what its operation is.
_SHAPES: Final[Mapping[str, str]] = {"wait": "hexagon", "choose": "diamond", "each": "box3d", "call": "component"}
#: State → the colour that it is filled with, and the way its border is drawn.
_LOOKS: Final[Mapping[State, tuple[str, str]]] = {
    State.RUNNING: ("#bfdbfe", "filled,bold"),
    State.RETRYING: ("#fde68a", "filled,bold"),
    State.WAITING: ("#fef3c7", "filled"),
    State.READY: ("#e0f2fe", "filled"),
    State.PARKED: ("#fed7aa", "filled,bold"),
    State.FAILED: ("#fecaca", "filled,bold"),
    State.CANCELLED: ("#e5e7eb", "filled,dashed"),
    State.DONE: ("#bbf7d0", "filled"),
    State.AHEAD: ("#ffffff", "filled,dashed"),
    State.SKIPPED: ("#f3f4f6", "filled,dotted"),
}
_GREY: Final = "#9ca3af"


def write(told: Picture) -> str:
    """Return a picture in DOT."""
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Picture) -> Iterator[str]:
    yield f"digraph {_quoted(told.title)} {{"
    yield f"  label={_quoted(f'{told.title}. {told.description}')}; labelloc=t; rankdir=TB;"
    yield '  node [shape=box, style=filled, fillcolor="#ffffff", fontname="sans-serif"]; edge [fontname="sans-serif"];'
    for number, box in enumerate(told.boxes):
        yield f"  n{number} [{_attributes(_box(box))}];"
    for arc in told.arcs:
        yield f"  n{arc.source} -> n{arc.target} [{_attributes(_arc(told, arc))}];"
    yield "}"


def _box(box: Box) -> dict[str, str]:
    found = {"label": "\n".join(lines_of(box)), "tooltip": box.aside or box.title}
    if shape := _SHAPES.get(box.kind):
        found["shape"] = shape
    if box.state is not None:
        found["fillcolor"], found["style"] = _LOOKS[box.state]
    if box.state is State.SKIPPED:
        found |= {"color": _GREY, "fontcolor": _GREY}
    if box.is_start:
        found["peripheries"] = "2"
    return found


def _arc(told: Picture, arc: Arc) -> dict[str, str]:
    found = {"label": label_of(arc)}
    if arc.group >= 0:
        # An open dot where all of several are needed.
        found["arrowhead"] = "normalodot"
    if arc.times is not None:
        found["penwidth"] = "2"
    elif told.boxes[arc.target].state is State.SKIPPED:
        found |= {"color": _GREY, "fontcolor": _GREY, "style": "dashed"}
    return found


def _attributes(told: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={_quoted(value)}" for name, value in told.items())


def _quoted(text: str) -> str:
    """Return a text between quotes, in which nothing means anything but itself."""
    escaped = printable(text, "\n").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
