"""Where the boxes and lines of a drawing are: layer by layer, from top to bottom, with lines that turn at right angles.

The unit is whatever the drawing takes for it: a character, or some pixels. Nothing overlaps: boxes do not touch each
other, no line runs through a box, and lines that run beside each other are of one net (`core.layout_nets`), or a unit
apart at least, but where there is no room for more. The same boxes and lines, in the same order, are always laid out
alike; it takes time by their number.

The work is that of five steps: which layer (`core.layout_ranks`), which lines are one (`core.layout_nets`), in which
order (`core.layout_order`), where across (`core.layout_place`), and along which ways (`core.layout_ways`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from harpoon.core.layout_items import Items, items_of, shifts_of
from harpoon.core.layout_nets import Net, Port, Tie, bundle, put_on_rails
from harpoon.core.layout_order import arrange
from harpoon.core.layout_place import Link, place
from harpoon.core.layout_ranks import ranks
from harpoon.core.layout_ways import Frame, Piece, Strand, Ways, ways

__all__ = ["Layout", "Measures", "Piece", "Port", "Size", "Spot", "Strand", "Tie", "lay_out"]

#: Bends for each box, and for any drawing: of what would take more, the longest passes beside all.
_BENDS_EACH: Final = 2
_BENDS: Final = 2_000
#: Lines that come to a box, for which it is made wide enough.
_INTO_MAX: Final = 8


class Size(NamedTuple):
    """Of a box."""

    width: int
    height: int


class Spot(NamedTuple):
    """A place in a drawing, from its upper left corner."""

    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is left between things."""

    #: Between boxes of a layer.
    between: int
    #: Between a line and a box or another line beside it.
    beside: int
    #: Below boxes, for the labels of lines.
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything is."""

    size: Size
    #: The upper left corner of each box, and how large it has become.
    boxes: tuple[Spot, ...]
    sizes: tuple[Size, ...]
    #: Where the lines of each port begin: the first place below its box.
    ports: tuple[Spot, ...]
    strands: tuple[Strand, ...]
    #: Of each box, its layer.
    ranks: tuple[int, ...]


def lay_out(
    sizes: Sequence[Size], ports: Sequence[Port], ties: Sequence[Tie], starts: Iterable[int], measures: Measures
) -> Layout:
    """Return where the boxes and lines of a drawing are.

    Args:
        sizes: Of the boxes; those that many lines leave become wider.
        ports: Where lines leave boxes.
        ties: The lines.
        starts: The boxes that stand first.
        measures: What is left between things.
    """
    if not sizes:
        return Layout(size=Size(0, 0), boxes=(), sizes=(), ports=(), strands=(), ranks=())
    successors: list[list[int]] = [[] for _ in sizes]
    own: list[list[int]] = [[] for _ in sizes]
    for port, box, _ in ties:
        successors[ports[port].box].append(box)
    for number, (box, _) in enumerate(ports):
        own[box].append(number)
    found, back = ranks(successors, starts)
    nets = bundle(ports, ties, found, back)
    rails = put_on_rails(nets, _BENDS_EACH * len(sizes) + _BENDS)
    grown = _grown(sizes, ports, own, nets, measures)
    items = items_of(ports, found, nets)
    above, below = items.neighbours()
    arrange(items.layers, above, below, items.beside)
    shifts = shifts_of([size.width for size in grown], ports, own, items, measures.beside)
    # One label stands beside the middle, and may be longer than its box is wide.
    halves = [
        max((size.width + 1) // 2, ports[numbers[0]].width + 2 if len(numbers) == 1 else 0)
        for size, numbers in zip(grown, own, strict=True)
    ]
    halves += [0] * (items.count - len(sizes))
    middles = _middles(items, nets, halves, shifts, measures)
    frame = Frame(
        heights=[size.height for size in grown],
        lefts=[middles[box] - size.width // 2 for box, size in enumerate(grown)],
        widths=[size.width for size in grown],
        ranks=found,
        bends=middles,
        first_bend=items.first_bend,
        port_x=[middles[box] + shift for (box, _), shift in zip(ports, shifts, strict=True)],
        port_box=[box for box, _ in ports],
        right=max([middles[item] + max(1, each) for item, each in enumerate(halves)]) + measures.beside,
        beside=measures.beside,
        label=measures.label,
    )
    return _laid_out(frame, grown, ways(frame, nets), rails)


def _laid_out(frame: Frame, sizes: Sequence[Size], told: Ways, rails: int) -> Layout:
    tops = [told.tops[rank] for rank in frame.ranks]
    below = [top + height for top, height in zip(tops, frame.heights, strict=True)]
    return Layout(
        size=Size(frame.right + (rails - 1) * frame.beside + (1 if rails else 0), told.height),
        boxes=tuple([Spot(x, top) for x, top in zip(frame.lefts, tops, strict=True)]),
        sizes=tuple(sizes),
        ports=tuple([Spot(x, below[box]) for x, box in zip(frame.port_x, frame.port_box, strict=True)]),
        strands=told.strands,
        ranks=tuple(frame.ranks),
    )


def _middles(
    items: Items, nets: Sequence[Net], halves: Sequence[int], shifts: Sequence[int], measures: Measures
) -> list[int]:
    """Return where the middles of boxes and bends are, from the left edge of the leftmost on."""
    above: list[list[Link]] = [[] for _ in halves]
    below: list[list[Link]] = [[] for _ in halves]
    firsts = frozenset(items.first_bend)
    lasts = frozenset([first + net.last - net.first for net, first in zip(nets, items.first_bend, strict=True)])
    for upper, lower, port in items.links:
        shift = shifts[port] if port >= 0 else 0
        if shift and halves[lower]:
            # A line may come to a box anywhere on its upper side, so the box need not stand right below the port.
            reach = halves[lower] - 2
            shift = min(0, shift + reach) if shift < 0 else max(0, shift - reach)
        # What goes on straight from bend to bend is not drawn aside by what joins it, or leaves it, on the way.
        if port < 0 or halves[lower] or lower in firsts:
            above[lower].append((upper, shift))
        if halves[upper] or not halves[lower] or upper in lasts:
            below[upper].append((lower, -shift))
    alone = {bend: box for bend, box in items.beside.items() if not (above[bend] or below[bend])}
    middles = place(items.layers, halves, (measures.between, measures.beside), above, below, alone)
    leftmost = min([middles[layer[0]] - halves[layer[0]] for layer in items.layers])
    return [middle - leftmost for middle in middles]


def _grown(
    sizes: Sequence[Size], ports: Sequence[Port], own: Sequence[Sequence[int]], nets: Sequence[Net], measures: Measures
) -> list[Size]:
    """Return how large boxes become, so that there is room for their labels, and for the lines that come to them."""
    into = [0] * len(sizes)
    for net in nets:
        for box in net.drops:
            into[box] += 1
    found = []
    for box, size in enumerate(sizes):
        labels = sum([ports[port].width + measures.beside for port in own[box]]) + 1 if len(own[box]) > 1 else 0
        lines = min(into[box], _INTO_MAX) * measures.beside + 1 if into[box] > 1 else 0
        found.append(size if size.width >= max(labels, lines) else Size(max(labels, lines), size.height))
    return found
