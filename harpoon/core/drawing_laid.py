"""A picture laid out: its boxes and arcs as `core.layout` takes them, and back."""

from collections.abc import Sequence
from dataclasses import dataclass

from harpoon.core.drawing import Arc, Picture, label_of
from harpoon.core.layout import Layout, Measures, Port, Size, Tie, lay_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """Where everything of a picture is."""

    layout: Layout
    #: Of each port, what stands beside it.
    labels: tuple[str, ...]
    #: Of each port, the arcs that begin there.
    arcs: tuple[tuple[Arc, ...], ...]


def laid_out(told: Picture, sizes: Sequence[Size], measures: Measures, letter: float) -> Laid:
    """Return where everything is.

    Args:
        told: The picture.
        sizes: Of its boxes.
        measures: What is left between things.
        letter: How wide a character of a label is.
    """
    ports: list[Port] = []
    arcs: list[list[Arc]] = []
    numbers: dict[tuple[int, str], int] = {}
    ties = []
    for arc in told.arcs:
        key = (arc.source, arc.label)
        number = numbers.get(key)
        if number is None:
            number = numbers[key] = len(ports)
            ports.append(Port(arc.source, int(len(label_of(arc)) * letter) + 1))
            arcs.append([])
        arcs[number].append(arc)
        ties.append(Tie(number, arc.target, arc.group))
    starts = [number for number, box in enumerate(told.boxes) if box.is_start]
    return Laid(
        layout=lay_out(sizes, ports, ties, starts, measures),
        labels=tuple([label_of(own[0]) for own in arcs]),
        arcs=tuple(map(tuple, arcs)),
    )
