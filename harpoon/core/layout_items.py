"""What stands in the layers of a drawing: its boxes, and bends for lines that pass by, linked with each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from harpoon.core.layout_nets import Net, Port


@dataclass(slots=True)
class Items:
    """Boxes, then bends, as they stand in layers."""

    count: int
    layers: list[list[int]]
    #: Of each net, its first bend.
    first_bend: list[int]
    #: Upper item, lower item, and the port where the upper end is; -1: at a bend.
    links: list[tuple[int, int, int]]
    #: Bend → a box of its layer that its line comes from or goes to.
    beside: dict[int, int]

    def neighbours(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return, of each item, those of the layer above that it is linked with, and those of the layer below."""
        above: list[list[int]] = [[] for _ in range(self.count)]
        below: list[list[int]] = [[] for _ in range(self.count)]
        for upper, lower, _ in self.links:
            below[upper].append(lower)
            above[lower].append(upper)
        return above, below


def items_of(ports: Sequence[Port], ranks: Sequence[int], nets: Sequence[Net]) -> Items:
    """Put boxes into layers, and bends beside the boxes that their lines come from or go to."""
    items = Items(len(ranks), [[] for _ in range(max(ranks) + 1)], [], [], {})
    after: list[list[tuple[int, int]]] = [[] for _ in ranks]
    for net in nets:
        items.first_bend.append(items.count)
        if net.rail >= 0:
            continue
        _link(items, ports, ranks, net)
        box = ports[net.feeds[0]].box if len(net.feeds) == 1 else net.drops[0]
        after[box] += [(layer, items.count + layer - net.first) for layer in range(net.first, net.last + 1)]
        if net.is_back:
            _turn(items, ports, ranks, net)
        items.count += max(0, net.last - net.first + 1)
    for box, rank in enumerate(ranks):
        items.layers[rank].append(box)
        for layer, bend in after[box]:
            items.layers[layer].append(bend)
    return items


def _turn(items: Items, ports: Sequence[Port], ranks: Sequence[int], net: Net) -> None:
    """Have the bends where a line turns back stand beside its boxes: there is nothing above or below to stand by."""
    for layer, boxes in ((net.last, [ports[port].box for port in net.feeds]), (net.first, net.drops)):
        near = next(box for box in boxes if ranks[box] == layer)
        items.beside.setdefault(items.count + layer - net.first, near)


def _link(items: Items, ports: Sequence[Port], ranks: Sequence[int], net: Net) -> None:
    """Link what a net leads from in each layer with what it leads to in the next."""
    first = items.count - net.first
    uppers: dict[int, list[tuple[int, int]]] = {}
    lowers: dict[int, list[int]] = {}
    for port in net.feeds:
        uppers.setdefault(ranks[ports[port].box], []).append((ports[port].box, port))
    for box in net.drops:
        lowers.setdefault(ranks[box] - 1, []).append(box)
    for layer in range(net.first, net.last + 1):
        uppers.setdefault(layer, []).append((first + layer, -1))
        lowers.setdefault(layer - 1, []).append(first + layer)
    for gap, ends in uppers.items():
        for upper, port in ends:
            items.links += [(upper, lower, port) for lower in lowers.get(gap, ())]


def shifts_of(
    widths: Sequence[int], ports: Sequence[Port], own: Sequence[Sequence[int]], items: Items, beside: int
) -> list[int]:
    """Return how far each port is right of the middle of its box: in the order of where its lines go.

    Args:
        widths: Of the boxes.
        ports: All of them.
        own: Of each box, its ports.
        items: In their order.
        beside: What is left between the label of one and the line of the next.
    """
    at = [0.0] * items.count
    for layer in items.layers:
        for number, item in enumerate(layer):
            at[item] = (number + 0.5) / len(layer)
    towards: list[list[float]] = [[] for _ in ports]
    for _, lower, port in items.links:
        if port >= 0:
            towards[port].append(at[lower])
    # What leads back up stands on the right.
    wanted = [sum(each) / len(each) if each else 1.0 for each in towards]
    found = [0] * len(ports)
    for width, numbers in zip(widths, own, strict=True):
        if len(numbers) > 1:
            needed = sum([ports[port].width + beside for port in numbers])
            x = (width - needed) // 2 + 1 - width // 2
            for port in sorted(numbers, key=wanted.__getitem__):
                found[port] = x
                x += ports[port].width + beside
    return found
