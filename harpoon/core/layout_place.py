"""Where across a drawing boxes and bends stand: as near to what they are linked with as their order allows."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

#: Links up to which each layer is looked at so often, downwards and upwards.
_SMALL: Final = 4_000
_ROUNDS: Final = 6
#: How often otherwise.
_ROUNDS_LARGE: Final = 1
#: A bend in a line is seen more than a box that is off its middle.
_BEND_WEIGHT: Final = 4


#: The other end of a link, and by how much its own middle is left of where it would be straight. There are many of
#: these, so they are plain tuples.
Link = tuple[int, int]


def place(
    layers: Sequence[Sequence[int]],
    halves: Sequence[int],
    gaps: tuple[int, int],
    above: Sequence[Sequence[Link]],
    below: Sequence[Sequence[Link]],
    beside: Mapping[int, int],
) -> list[int]:
    """Return where the middle of each item is.

    Args:
        layers: Of items, in their order.
        halves: Of each item, how far it reaches from its middle; 0: it is a bend.
        gaps: Between two boxes; and where a bend is one of the two.
        above: Of each item, its links with the layer above.
        below: Likewise with the layer below.
        beside: Bend → the box of its own layer that it is to stand beside; of those that have no links.
    """
    sums = [_apart(layer, halves, gaps) for layer in layers]
    middles = [0.0] * len(halves)
    for layer, offsets in zip(layers, sums, strict=True):
        first = -offsets[-1] / 2
        for item, offset in zip(layer, offsets, strict=True):
            middles[item] = first + offset
    links = sum(map(len, above))
    near = {bend: (box, halves[box] + gaps[1]) for bend, box in beside.items()}
    for _ in range(_ROUNDS if links <= _SMALL else _ROUNDS_LARGE):
        for layer, offsets in zip(layers, sums, strict=True):
            _settle(layer, offsets, above, near, halves, middles)
        for layer, offsets in zip(layers[::-1], sums[::-1], strict=True):
            _settle(layer, offsets, below, near, halves, middles)
    for layer, offsets in zip(layers, sums, strict=True):
        _settle(layer, offsets, above, near, halves, middles)
    found = [0] * len(halves)
    for layer, offsets in zip(layers, sums, strict=True):
        # What they are beyond the room that they need is rounded, and it never falls: so none comes nearer to another.
        beyond = int((middles[layer[0]] - offsets[0]) // 1)
        for item, offset in zip(layer, offsets, strict=True):
            beyond = max(beyond, int((middles[item] - offset) // 1))
            found[item] = offset + beyond
    return found


def _apart(layer: Sequence[int], halves: Sequence[int], gaps: tuple[int, int]) -> list[int]:
    """Return how far from the first item each has to be at least."""
    found, at = [0], 0
    for left, right in pairwise(layer):
        at += halves[left] + halves[right] + gaps[not (halves[left] and halves[right])]
        found.append(at)
    return found


def _settle(
    layer: Sequence[int],
    offsets: Sequence[int],
    towards: Sequence[Sequence[Link]],
    near: Mapping[int, tuple[int, int]],
    halves: Sequence[int],
    middles: list[float],
) -> None:
    """Move the items of a layer to where they are to be, on a weighted average as near as can be.

    Without the room that each needs, their places may only rise from one to the next: neighbours that would not are
    put together, at the average of their places (pool adjacent violators). That takes time by their number.
    """
    pools: list[tuple[float, int, int]] = []
    for item, offset in zip(layer, offsets, strict=True):
        links = towards[item]
        if len(links) == 1:
            ((other, shift),) = links
            wanted = middles[other] + shift - offset
            weight = 1 if halves[item] else _BEND_WEIGHT
        elif links:
            wanted = sum([middles[other] + shift for other, shift in links]) / len(links) - offset
            weight = len(links) if halves[item] else _BEND_WEIGHT
        elif item in near:
            box, away = near[item]
            wanted, weight = middles[box] + away - offset, 1
        else:
            wanted, weight = middles[item] - offset, 1
        count = 1
        while pools and pools[-1][0] > wanted:
            before, other_weight, others = pools.pop()
            wanted = (before * other_weight + wanted * weight) / (other_weight + weight)
            weight, count = weight + other_weight, count + others
        pools.append((wanted, weight, count))
    at = 0
    for wanted, _, count in pools:
        for place_ in range(at, at + count):
            middles[layer[place_]] = wanted + offsets[place_]
        at += count
