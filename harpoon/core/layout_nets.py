"""How the lines of a drawing are bundled: into nets, each of which is drawn as one line that forks and joins.

What leaves a box by one port forks, and what comes to one box joins, whichever brings more together. So ten thousand
operations that lead to one are one net, and not ten thousand lines beside each other.

A net passes each layer between its ends at one *bend*, which stands among the boxes of that layer. There are not more
bends than `bends_max` allows: of nets beyond that, the longest pass by all boxes on the right instead, on a *rail*.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple


class Port(NamedTuple):
    """Where lines leave a box: on its lower side, with a label that is so wide."""

    box: int
    width: int


class Tie(NamedTuple):
    """A line from a port to a box. Lines of different groups to one box are not joined before it."""

    port: int
    box: int
    group: int = -1


@dataclass(slots=True)
class Net:
    """Lines that are drawn as one."""

    #: Whether it goes up.
    is_back: bool
    #: Ports, and boxes, each once.
    feeds: list[int] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    #: The layers that it passes, from the first to the last; none if the last is the smaller one.
    first: int = 0
    last: int = -1
    #: Its place beside all boxes; -1: it passes among them.
    rail: int = -1


def bundle(ports: Sequence[Port], ties: Sequence[Tie], ranks: Sequence[int], back: set[tuple[int, int]]) -> list[Net]:
    """Return the nets of a drawing, in the order of the first line of each; `Net.rail` is not set yet.

    Args:
        ports: Where lines leave boxes.
        ties: The lines.
        ranks: The layer of each box.
        back: The pairs of boxes between which lines go up.
    """
    owners = [box for box, _ in ports]
    #: Of each line, what it leaves by, and what it comes to by: those that share one of these may be one net.
    lines = [
        ((port, is_back), (box, group, is_back))
        for port, box, group in ties
        for is_back in ((owners[port], box) in back,)
    ]
    out, into = Counter([leaves for leaves, _ in lines]), Counter([comes for _, comes in lines])
    nets: dict[tuple[int, bool] | tuple[int, int, bool], Net] = {}
    for leaves, comes in lines:
        key = comes if into[comes] > out[leaves] else leaves
        net = nets.get(key)
        if net is None:
            net = nets[key] = Net(leaves[1])
        net.feeds.append(leaves[0])
        net.drops.append(comes[0])
    for net in nets.values():
        net.feeds, net.drops = list(dict.fromkeys(net.feeds)), list(dict.fromkeys(net.drops))
        above, below = [ranks[owners[port]] for port in net.feeds], [ranks[box] for box in net.drops]
        net.first, net.last = (min(below), max(above)) if net.is_back else (min(above) + 1, max(below) - 1)
    return list(nets.values())


def put_on_rails(nets: Sequence[Net], bends_max: int) -> int:
    """Put nets on rails until the others have no more bends than that; return how many rails there are."""
    room = bends_max
    beside: list[Net] = []
    for net in sorted(nets, key=lambda net: net.last - net.first):
        bends = max(0, net.last - net.first + 1)
        if bends > room:
            beside.append(net)
        room -= bends
    # Two may share a rail if one ends before the other begins.
    free: list[tuple[int, int]] = []
    count = 0
    for net in sorted(beside, key=lambda net: (net.first, net.last)):
        if free and free[0][0] < net.first - 1:
            net.rail = heappop(free)[1]
        else:
            net.rail, count = count, count + 1
        heappush(free, (net.last, net.rail))
    return count
