"""A picture laid out: its boxes and arcs as `core.layout` takes them, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harpoon.core.drawing import Arc, Picture, label_of
from harpoon.core.layout import Layout, Measures, Port, Size, Tie, lay_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """Where everything of a picture is."""

    layout: Layout
    #: Of each port, what stands beside it.
    labels: tuple[str, ...]
    #: Of each port, the arcs that begin there, by the boxes that they lead to.
    arcs: Sequence[Mapping[int, Sequence[Arc]]]


def laid_out(told: Picture, sizes: Sequence[Size], measures: Measures, letter: float) -> Laid:
    """Return where everything is.

    Args:
        told: The picture.
        sizes: Of its boxes.
        measures: What is left between things.
        letter: How wide a character of a label is.
    """
    ports: list[Port] = []
    labels: list[str] = []
    arcs: list[dict[int, list[Arc]]] = []
    numbers: dict[tuple[int, str], int] = {}
    ties = []
    for arc in told.arcs:
        key = (arc.source, arc.label)
        number = numbers.get(key)
        if number is None:
            number = numbers[key] = len(ports)
            label = label_of(arc)
            labels.append(label)
            ports.append(Port(arc.source, int(len(label) * letter) + 1))
            arcs.append({})
        arcs[number].setdefault(arc.target, []).append(arc)
        ties.append(Tie(number, arc.target, arc.group))
    starts = [number for number, box in enumerate(told.boxes) if box.is_start]
    return Laid(
        layout=lay_out(sizes, ports, ties, starts, measures),
        labels=tuple(labels),
        arcs=arcs,
    )


def let_go(*parts: list[Any]) -> None:
    """Let go of the many things in some lists one by one: all at once, other threads would have to wait for long."""
    for many in parts:
        while many:
            many.pop()
