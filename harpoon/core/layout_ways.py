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
    #: Passes beside all, there.
    rail: int | None
    #: Where it comes from above, and where it goes to below; ports and boxes by number, -1: neither.
    uppers: list[tuple[int, int]] = field(default_factory=list)
    lowers: list[tuple[int, int]] = field(default_factory=list)
    #: -1: it goes straight down.
    lane: int = -1
    #: From where to where it goes across.
    span: tuple[int, int] = (0, 0)

    def is_straight(self) -> bool:
        """Whether it goes straight down; otherwise find out how far it goes across."""
        uppers, lowers = self.uppers, self.lowers
        if self.rail is not None:
            # That is on the right of everything.
            self.span = (min(uppers + lowers)[0], self.rail)
            return False
        if len(uppers) == 1 and len(lowers) == 1 and uppers[0][0] == lowers[0][0]:
            return True
        across = uppers + lowers
        self.span = (min(across)[0], max(across)[0])
        return False


class _Gap(NamedTuple):
    """What is between two layers."""

    crossings: list[_Crossing]
    #: Those of them that come to boxes.
    coming: list[_Crossing]


def ways(frame: Frame, nets: Sequence[Net]) -> Ways:
    """Return the ways of nets, and where the layers are that they run between."""
    layers = max(frame.ranks) + 1
    #: Gap n is above layer n.
    gaps = [_Gap([], []) for _ in range(layers + 1)]
    for number, net in enumerate(nets):
        _cross(frame, net, number, gaps)
    lanes = []
    for gap in gaps:
        _enter(frame, gap)
        lanes.append(_assign(gap.crossings))
    tall = [0] * layers
    for box, rank in enumerate(frame.ranks):
        tall[rank] = max(tall[rank], frame.heights[box])
    has_label = [False] * (layers + 1)
    for box in frame.port_box:
        has_label[frame.ranks[box] + 1] = True
    tops, first_lanes, y = [], [], 0
    for layer in range(layers + 1):
        y += frame.label if has_label[layer] else 0
        first_lanes.append(y)
        # Below the lanes there is room for the heads of arrows.
        y += lanes[layer] + (1 if layer < layers and (layer or lanes[layer]) else 0)
        if layer < layers:
            tops.append(y)
            y += tall[layer]
    return Ways(tuple(_strands(frame, nets, gaps, tops, first_lanes)), tuple(tops), y)


def _cross(frame: Frame, net: Net, number: int, gaps: Sequence[_Gap]) -> None:
    """Take note of what a net does between layers."""
    ranks, port_box, port_x = frame.ranks, frame.port_box, frame.port_x
    rail = frame.right + net.rail * frame.beside if net.rail >= 0 else None
    found: dict[int, _Crossing] = {}
    for port in net.feeds:
        layer = ranks[port_box[port]] + 1
        crossing = found.get(layer)
        if crossing is None:
            crossing = found[layer] = _Crossing(number, rail)
            gaps[layer].crossings.append(crossing)
        crossing.uppers.append((port_x[port], port))
    for box in net.drops:
        layer = ranks[box]
        crossing = found.get(layer)
        if crossing is None:
            crossing = found[layer] = _Crossing(number, rail)
            gaps[layer].crossings.append(crossing)
        if not crossing.lowers:
            gaps[layer].coming.append(crossing)
        # Where it comes to the box is found when it is known where it comes from.
        crossing.lowers.append((-1, box))
    if rail is None and net.first <= net.last:
        _pass(frame, net, number, gaps, found)


def _pass(frame: Frame, net: Net, number: int, gaps: Sequence[_Gap], found: dict[int, _Crossing]) -> None:
    """Take note of where a net passes layers; ``found`` is what it does between them, by the layer below."""
    for layer in range(net.first, net.last + 2):
        if layer not in found:
            found[layer] = _Crossing(number, None)
            gaps[layer].crossings.append(found[layer])
    first = frame.first_bend[number]
    for layer, x in enumerate(frame.bends[first : first + net.last - net.first + 1], net.first):
        found[layer].lowers.append((x, -1))
        found[layer + 1].uppers.append((x, -1))


def _enter(frame: Frame, gap: _Gap) -> None:
    """Find where nets come to boxes: straight down if that can be, each at a place of its own."""
    wanted: dict[int, list[tuple[int, _Crossing, int]]] = {}
    for crossing in gap.coming:
        fixed = [x for x, _ in crossing.uppers] + [x for x, box in crossing.lowers if box < 0]
        for place, (_, box) in enumerate(crossing.lowers):
            if box >= 0:
                left, width = frame.lefts[box], frame.widths[box]
                middle, right = left + width // 2, left + width - 1
                # Straight down from where it comes, if that is above the box.
                over = [x for x in fixed if left < x < right]
                at = min(over, key=lambda x: abs(x - middle)) if over else middle
                wanted.setdefault(box, []).append((at, crossing, place))
    above = _comes(gap.crossings) if wanted else {}
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
    # No two of them are of one net, so they themselves are never compared.
    for (low, high), _, crossing in sorted([(each.span, each.net, each) for each in across]):
        if free and free[0][0] < low - 1:
            crossing.lane = heappop(free)[1]
        else:
            crossing.lane, count = count, count + 1
        heappush(free, (high, crossing.lane))
    return count


def _strands(
    frame: Frame,
    nets: Sequence[Net],
    gaps: Sequence[_Gap],
    tops: Sequence[int],
    first_lanes: Sequence[int],
) -> list[Strand]:
    pieces: list[list[Piece]] = [[] for _ in nets]
    heads: list[dict[int, tuple[int, int]]] = [{} for _ in nets]
    rails: dict[int, list[int]] = {}
    begins = [tops[rank] + height for rank, height in zip(frame.ranks, frame.heights, strict=True)]
    for layer, gap in enumerate(gaps):
        above = tops[layer - 1]
        for crossing in gap.crossings:
            net, lane, own = crossing.net, crossing.lane, pieces[crossing.net]
            ups = [(x, begins[frame.port_box[port]] if port >= 0 else above) for x, port in crossing.uppers]
            downs = []
            for x, box in crossing.lowers:
                if box >= 0:
                    heads[net][box] = (x, tops[layer] - 1)
                downs.append((x, tops[layer] - (box >= 0)))
            if lane < 0:
                _lengthen(own, *ups[0], downs[0][1])
                continue
            y = first_lanes[layer] + lane
            own += [Piece(x, begin, x, y) for x, begin in (dict.fromkeys(ups) if len(ups) > 1 else ups)]
            own.append(Piece(crossing.span[0], y, crossing.span[1], y))
            own += [Piece(x, y, x, end) for x, end in (dict.fromkeys(downs) if len(downs) > 1 else downs)]
            if crossing.rail is not None:
                rails.setdefault(net, []).append(y)
    for number, turns in rails.items():
        x = frame.right + nets[number].rail * frame.beside
        pieces[number].append(Piece(x, turns[0], x, turns[-1]))
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


def _lengthen(pieces: list[Piece], x: int, begin: int, end: int) -> None:
    """Go on straight down: where a line passes a layer so, it is one piece."""
    if pieces and pieces[-1][::2] == (x, x) and pieces[-1].y2 == begin:
        begin = pieces.pop().y1
    pieces.append(Piece(x, begin, x, end))
