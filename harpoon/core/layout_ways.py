"""Along which ways the lines of a drawing run: down from layer to layer, and across on lanes between two layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, NamedTuple

from harpoon.core.layout_nets import Net

#: Nets between two layers up to which no two lines of theirs run along each other, if that can be.
_CAREFUL: Final = 50


class Piece(NamedTuple):
    """A straight piece of a line, both ends included: downwards or to the right."""

    x1: int
    y1: int
    x2: int
    y2: int


class Strand(NamedTuple):
    """A net, drawn."""

    feeds: tuple[int, ...]
    drops: tuple[int, ...]
    is_back: bool
    pieces: tuple[Piece, ...]
    #: The last place above each of its boxes, in their order.
    heads: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where boxes, bends and ports are across, and what is known of the height."""

    heights: Sequence[int]
    lefts: Sequence[int]
    widths: Sequence[int]
    ranks: Sequence[int]
    #: Where each item is across; boxes come first.
    bends: Sequence[int]
    #: Of each net.
    first_bend: Sequence[int]
    port_x: Sequence[int]
    port_box: Sequence[int]
    #: What is on rails begins there.
    right: int
    beside: int
    label: int


class Ways(NamedTuple):
    """What comes of it."""

    strands: tuple[Strand, ...]
    #: Of each layer, where it begins.
    tops: tuple[int, ...]
    height: int


@dataclass(slots=True)
class _Crossing:
    """What a net does between two layers."""

    net: int
    #: Where it comes from above, and where it goes to below; ports and boxes by number, -1: neither.
    uppers: list[tuple[int, int]] = field(default_factory=list)
    lowers: list[tuple[int, int]] = field(default_factory=list)
    #: Passes beside all, there.
    rail: int | None = None
    #: -1: it goes straight down.
    lane: int = -1
    #: From where to where it goes across.
    span: tuple[int, int] = (0, 0)

    def is_straight(self) -> bool:
        """Whether it goes straight down; otherwise find out how far it goes across."""
        uppers, lowers = self.uppers, self.lowers
        if self.rail is None and len(uppers) == 1 and len(lowers) == 1 and uppers[0][0] == lowers[0][0]:
            return True
        across = [end[0] for end in uppers] + [end[0] for end in lowers]
        if self.rail is not None:
            across.append(self.rail)
        self.span = (min(across), max(across))
        return False


def ways(frame: Frame, nets: Sequence[Net]) -> Ways:
    """Return the ways of nets, and where the layers are that they run between."""
    layers = max(frame.ranks) + 1
    #: Gap n is above layer n.
    gaps: list[list[_Crossing]] = [[] for _ in range(layers + 1)]
    for number, net in enumerate(nets):
        for gap, crossing in _crossings(frame, net, number):
            gaps[gap].append(crossing)
    lanes = []
    for crossings in gaps:
        _enter(frame, crossings)
        lanes.append(_assign(crossings))
    tall = [0] * layers
    for box, rank in enumerate(frame.ranks):
        tall[rank] = max(tall[rank], frame.heights[box])
    has_label = [False] * (layers + 1)
    for box in frame.port_box:
        has_label[frame.ranks[box] + 1] = True
    tops, first_lanes, y = [], [], 0
    for gap in range(layers + 1):
        y += frame.label if has_label[gap] else 0
        first_lanes.append(y)
        # Below the lanes there is room for the heads of arrows.
        y += lanes[gap] + (1 if gap < layers and (gap or lanes[gap]) else 0)
        if gap < layers:
            tops.append(y)
            y += tall[gap]
    return Ways(tuple(_strands(frame, nets, gaps, tops, first_lanes)), tuple(tops), y)


def _crossings(frame: Frame, net: Net, number: int) -> list[tuple[int, _Crossing]]:
    """Return what a net does between layers, by the number of the layer below."""
    found: dict[int, _Crossing] = {}

    def at(gap: int) -> _Crossing:
        crossing = found.get(gap)
        if crossing is None:
            crossing = found[gap] = _Crossing(number)
            if net.rail >= 0:
                crossing.rail = frame.right + net.rail * frame.beside
        return crossing

    for port in net.feeds:
        at(frame.ranks[frame.port_box[port]] + 1).uppers.append((frame.port_x[port], port))
    for box in net.drops:
        # Where it comes to the box is found when it is known where it comes from.
        at(frame.ranks[box]).lowers.append((-1, box))
    if net.rail < 0:
        bends = frame.bends[frame.first_bend[number] : frame.first_bend[number] + net.last - net.first + 1]
        for layer, x in enumerate(bends, net.first):
            at(layer + 1).uppers.append((x, -1))
            at(layer).lowers.append((x, -1))
    return list(found.items())


def _enter(frame: Frame, crossings: Sequence[_Crossing]) -> None:
    """Find where nets come to boxes: straight down if that can be, each at a place of its own."""
    above = _comes(crossings)
    wanted: dict[int, list[tuple[int, _Crossing, int]]] = {}
    for crossing in crossings:
        fixed = [x for x, _ in crossing.uppers] + [x for x, box in crossing.lowers if box < 0]
        for place, (_, box) in enumerate(crossing.lowers):
            if box >= 0:
                left, middle = frame.lefts[box], frame.lefts[box] + frame.widths[box] // 2
                # Straight down from where it comes, if that is above the box.
                over = [x for x in fixed if left < x < left + frame.widths[box] - 1]
                at = min(over, key=lambda x: abs(x - middle)) if over else middle
                wanted.setdefault(box, []).append((at, crossing, place))
    for box, ends in wanted.items():
        low, high = frame.lefts[box] + 1, frame.lefts[box] + frame.widths[box] - 2
        # So far apart, all fit.
        apart = max(1, min(frame.beside, (high - low) // len(ends)))
        ends.sort(key=lambda end: (end[0], end[1].net))
        x = low
        for left, (at, crossing, place) in zip(range(len(ends) - 1, -1, -1), ends, strict=True):
            most = max(x, high - left * apart)
            best = min(max(at, x), most)
            if crossing.net not in above.get(best, (crossing.net,)):
                near = [one for one in (best + 1, best - 1) if x <= one <= most and one not in above]
                best = near[0] if near else best
            crossing.lowers[place] = (best, box)
            x = min(best + apart, max(low, high))


def _comes(crossings: Sequence[_Crossing]) -> dict[int, list[int]]:
    """Return, of each place across, the nets that come from above there."""
    found: dict[int, list[int]] = {}
    for crossing in crossings:
        for x, _ in crossing.uppers:
            found.setdefault(x, []).append(crossing.net)
    return found


def _assign(crossings: Sequence[_Crossing]) -> int:
    """Give lanes to what goes across; return how many there are."""
    across = [crossing for crossing in crossings if not crossing.is_straight()]
    if len(across) <= 1:
        for crossing in across:
            crossing.lane = 0
        return len(across)
    if len(across) > _CAREFUL:
        return _assign_fast(across)
    before = _before(across)
    lanes: list[list[tuple[int, int]]] = []
    given: dict[int, int] = {}
    rest = sorted(across, key=lambda crossing: (crossing.span, crossing.net))
    while rest:
        # Those that would wait for each other do not wait.
        ready = [crossing for crossing in rest if before[crossing.net] <= given.keys()] or rest[:1]
        for crossing in ready:
            first = max([given[net] + 1 for net in before[crossing.net] if net in given], default=0)
            crossing.lane = given[crossing.net] = _free_lane(lanes, first, crossing.span)
        rest = [crossing for crossing in rest if crossing.lane < 0]
    return len(lanes)


def _before(across: Sequence[_Crossing]) -> dict[int, set[int]]:
    """Return, of each net, those that turn off before it comes: they come from above where it goes down."""
    comes = _comes(across)
    before: dict[int, set[int]] = {crossing.net: set() for crossing in across}
    for crossing in across:
        for x, _ in crossing.lowers:
            if crossing.net not in (nets := comes.get(x, ())):
                before[crossing.net].update(nets)
    return before


def _free_lane(lanes: list[list[tuple[int, int]]], first: int, span: tuple[int, int]) -> int:
    """Return the first lane from that one on where nothing is in the way, and take it."""
    lane = first
    while lane < len(lanes) and any(low <= span[1] + 1 and span[0] <= high + 1 for low, high in lanes[lane]):
        lane += 1
    while lane >= len(lanes):
        lanes.append([])
    lanes[lane].append(span)
    return lane


def _assign_fast(across: Sequence[_Crossing]) -> int:
    free: list[tuple[int, int]] = []
    count = 0
    for (low, high), _, crossing in sorted([(each.span, each.net, each) for each in across], key=lambda one: one[:2]):
        if free and free[0][0] < low - 1:
            crossing.lane = heappop(free)[1]
        else:
            crossing.lane, count = count, count + 1
        heappush(free, (high, crossing.lane))
    return count


def _strands(
    frame: Frame,
    nets: Sequence[Net],
    gaps: Sequence[Sequence[_Crossing]],
    tops: Sequence[int],
    first_lanes: Sequence[int],
) -> list[Strand]:
    pieces: list[list[Piece]] = [[] for _ in nets]
    heads: list[dict[int, tuple[int, int]]] = [{} for _ in nets]
    rails: dict[int, list[tuple[int, int]]] = {}
    for gap, crossings in enumerate(gaps):
        for crossing in crossings:
            own, y = pieces[crossing.net], first_lanes[gap] + crossing.lane
            begins = [
                (x, tops[gap - 1] + (frame.heights[frame.port_box[port]] if port >= 0 else 0))
                for x, port in crossing.uppers
            ]
            ends = [(x, tops[gap] - (box >= 0)) for x, box in crossing.lowers]
            for (x, end), (_, box) in zip(ends, crossing.lowers, strict=True):
                if box >= 0:
                    heads[crossing.net][box] = (x, end)
            if crossing.lane < 0:
                (x, begin), (_, end) = begins[0], ends[0]
                if own and own[-1][::2] == (x, x) and own[-1][3] == begin:
                    # It passes a layer, and goes on straight.
                    begin = own.pop()[1]
                own.append(Piece(x, begin, x, end))
                continue
            own += [Piece(x, begin, x, y) for x, begin in dict.fromkeys(begins)]
            own.append(Piece(crossing.span[0], y, crossing.span[1], y))
            own += [Piece(x, y, x, end) for x, end in dict.fromkeys(ends)]
            if crossing.rail is not None:
                rails.setdefault(crossing.net, []).append((crossing.rail, y))
    for net, turns in rails.items():
        pieces[net].append(Piece(turns[0][0], turns[0][1], turns[0][0], turns[-1][1]))
    return [
        Strand(
            tuple(net.feeds),
            tuple(net.drops),
            net.is_back,
            tuple(own),
            tuple([heads[number][box] for box in net.drops]),
        )
        for number, (net, own) in enumerate(zip(nets, pieces, strict=True))
    ]
