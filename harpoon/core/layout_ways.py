"""Along which ways the lines of a drawing run: down from layer to layer, and across on lanes between two layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, NamedTuple

from harpoon.core.layout_nets import Net

#: Nets between two layers up to which no two lines of theirs run along each other, if that can be.
_CAREFUL: Final = 50


#: A straight piece of a line, downwards or to the right: x and y of its beginning, then of its end, both included.
#: There are many of these, so they are plain tuples.
Piece = tuple[int, int, int, int]


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
    uppers: list[tuple[int, int]]
    lowers: list[tuple[int, int]]
    #: -1: it goes straight down.
    lane: int = -1
    #: From where to where it goes across.
    low: int = 0
    high: int = 0

    def spread(self) -> bool:
        """Find out how far it goes across; return whether it does: it may go straight down."""
        uppers, lowers, rail = self.uppers, self.lowers, self.rail
        if rail is not None:
            # That is on the right of everything.
            self.low, self.high = (uppers[0] if len(uppers) == 1 and not lowers else min(uppers + lowers))[0], rail
            return True
        if len(uppers) == 1 and len(lowers) == 1:
            one, other = uppers[0][0], lowers[0][0]
            self.low, self.high = (one, other) if one < other else (other, one)
            return one != other
        across = uppers + lowers
        self.low, self.high = min(across)[0], max(across)[0]
        return True


@dataclass(slots=True)
class _Gap:
    """What is between two layers."""

    crossings: list[_Crossing] = field(default_factory=list)
    #: Those of them that come to boxes.
    coming: list[_Crossing] = field(default_factory=list)


def ways(frame: Frame, nets: Sequence[Net]) -> Ways:
    """Return the ways of nets, and where the layers are that they run between."""
    layers = max(frame.ranks) + 1
    #: Gap n is above layer n.
    gaps = [_Gap() for _ in range(layers + 1)]
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

    def at(layer: int) -> _Crossing:
        crossing = found.get(layer)
        if crossing is None:
            found[layer] = crossing = _Crossing(number, rail, [], [])
            gaps[layer].crossings.append(crossing)
        return crossing

    for port in net.feeds:
        at(ranks[port_box[port]] + 1).uppers.append((port_x[port], port))
    for box in net.drops:
        crossing = at(ranks[box])
        if not crossing.lowers:
            gaps[ranks[box]].coming.append(crossing)
        # Where it comes to the box is found when it is known where it comes from.
        crossing.lowers.append((-1, box))
    if rail is None:
        bends = frame.bends[frame.first_bend[number] : frame.first_bend[number] + net.last - net.first + 1]
        for layer, x in enumerate(bends, net.first):
            at(layer + 1).uppers.append((x, -1))
            at(layer).lowers.append((x, -1))


def _enter(frame: Frame, gap: _Gap) -> None:
    """Find where nets come to boxes: straight down if that can be, each at a place of its own."""
    if not gap.coming:
        return
    comes = {(x, crossing.net) for crossing in gap.crossings for x, _ in crossing.uppers}
    taken = {x for x, _ in comes}
    for box, ends in _wanted(frame, gap).items():
        low, high = frame.lefts[box] + 1, frame.lefts[box] + frame.widths[box] - 2
        # So far apart, all fit.
        apart = max(1, min(frame.beside, (high - low) // len(ends)))
        x, room = low, high - len(ends) * apart
        # A net comes to a box once, so no more than the first two of each are compared.
        for at, net, place, crossing in sorted(ends):
            room += apart
            most = max(x, room)
            best = min(max(at, x), most)
            if best in taken and (best, net) not in comes:
                near = [one for one in (best + 1, best - 1) if x <= one <= most and one not in taken]
                best = near[0] if near else best
            crossing.lowers[place] = (best, box)
            x = min(best + apart, max(low, high))


def _wanted(frame: Frame, gap: _Gap) -> dict[int, list[tuple[int, int, int, _Crossing]]]:
    """Return, of each box, where nets would best come to it: place across, net, number of its end, the net there."""
    lefts, widths = frame.lefts, frame.widths
    found: dict[int, list[tuple[int, int, int, _Crossing]]] = {}
    for crossing in gap.coming:
        fixed = [x for x, _ in crossing.uppers]
        if crossing.rail is None:
            fixed += [x for x, box in crossing.lowers if box < 0]
        for place, (_, box) in enumerate(crossing.lowers):
            if box >= 0:
                left, width = lefts[box], widths[box]
                at = middle = left + width // 2
                if fixed:
                    # Straight down from where it comes, if that is above the box.
                    over = [x for x in fixed if left < x < left + width - 1]
                    away = [abs(x - middle) for x in over]
                    at = over[away.index(min(away))] if over else middle
                found.setdefault(box, []).append((at, crossing.net, place, crossing))
    return found


def _assign(crossings: Sequence[_Crossing]) -> int:
    """Give lanes to what goes across; return how many there are."""
    across = [crossing for crossing in crossings if crossing.spread()]
    if len(across) <= 1:
        for crossing in across:
            crossing.lane = 0
        return len(across)
    if len(across) > _CAREFUL:
        return _assign_fast(across)
    before = _before(across)
    lanes: list[list[tuple[int, int]]] = []
    given: dict[int, int] = {}
    rest = sorted(across, key=lambda crossing: (crossing.low, crossing.high, crossing.net))
    while rest:
        # Those that would wait for each other do not wait.
        ready = [crossing for crossing in rest if before[crossing.net] <= given.keys()] or rest[:1]
        for crossing in ready:
            first = max([given[net] + 1 for net in before[crossing.net] if net in given], default=0)
            crossing.lane = given[crossing.net] = _free_lane(lanes, first, (crossing.low, crossing.high))
        rest = [crossing for crossing in rest if crossing.lane < 0]
    return len(lanes)


def _before(across: Sequence[_Crossing]) -> dict[int, set[int]]:
    """Return, of each net, those that turn off before it comes: they come from above where it goes down."""
    comes: dict[int, list[int]] = {}
    for crossing in across:
        for x, _ in crossing.uppers:
            comes.setdefault(x, []).append(crossing.net)
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
    for low, high, _, crossing in sorted([(each.low, each.high, each.net, each) for each in across]):
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
    turns: list[list[int]] = [[] for _ in nets]
    begins = [tops[frame.ranks[box]] + frame.heights[box] for box in frame.port_box]
    for layer, gap in enumerate(gaps):
        above, below = tops[layer - 1], tops[layer] if layer < len(tops) else 0
        for crossing in gap.crossings:
            net, lane, uppers, lowers = crossing.net, crossing.lane, crossing.uppers, crossing.lowers
            own, y = pieces[net], first_lanes[layer] + lane
            for x, box in lowers:
                if box >= 0:
                    heads[net][box] = (x, below - 1)
            if lane < 0:
                (x, port), (_, box) = uppers[0], lowers[0]
                _lengthen(own, x, begins[port] if port >= 0 else above, below - (box >= 0))
                continue
            ups = [(x, begins[port] if port >= 0 else above, x, y) for x, port in uppers]
            own += dict.fromkeys(ups) if len(ups) > 1 else ups
            own.append((crossing.low, y, crossing.high, y))
            downs = [(x, y, x, below - (box >= 0)) for x, box in lowers]
            own += dict.fromkeys(downs) if len(downs) > 1 else downs
            if crossing.rail is not None:
                turns[net].append(y)
        # Let go of them gap by gap: all at once, in a large drawing, other threads would have to wait for long.
        gap.crossings.clear()
        gap.coming.clear()
    found = []
    for one, own, at, ends in zip(nets, pieces, turns, heads, strict=True):
        if at:
            x = frame.right + one.rail * frame.beside
            own.append((x, at[0], x, at[-1]))
        drawn = tuple(own), tuple([ends[box] for box in one.drops])
        found.append(Strand(tuple(one.feeds), tuple(one.drops), one.is_back, *drawn))
    return found


def _lengthen(pieces: list[Piece], x: int, begin: int, end: int) -> None:
    """Go on straight down: where a line passes a layer so, it is one piece."""
    if pieces and pieces[-1][0] == pieces[-1][2] == x and pieces[-1][3] == begin:
        begin = pieces.pop()[1]
    pieces.append((x, begin, x, end))
