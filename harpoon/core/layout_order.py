"""In which order boxes and bends stand in each layer of a drawing, so that few lines cross."""

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from typing import Final

#: Links up to which orders are compared by how many lines cross, and how often each layer is looked at then.
_SMALL: Final = 4_000
_ROUNDS: Final = 8
#: How often otherwise.
_ROUNDS_LARGE: Final = 1


def arrange(
    layers: Sequence[list[int]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    beside: Mapping[int, int],
) -> None:
    """Sort each layer, so that what is linked stands near each other; those that are given begin.

    Each layer is sorted by where the neighbours of each of its items stand on average, downwards and upwards in turn.

    Args:
        layers: Of items, by their numbers; they are sorted in place.
        above: Of each item, those of the layer above that it is linked with.
        below: Likewise of the layer below.
        beside: Item → another one of its layer that it is to stand beside.
    """
    places = [0.0] * len(above)
    for layer in layers:
        _note(layer, places)
    links = sum(map(len, above))
    is_small = links <= _SMALL
    best, fewest = [list(layer) for layer in layers], _crossings(layers, below, places) if is_small else 0
    for _ in range(_ROUNDS if is_small else _ROUNDS_LARGE):
        if is_small and not fewest:
            break
        for layer in layers[1:]:
            _sort(layer, above, beside, places)
        for layer in layers[-2::-1]:
            _sort(layer, below, beside, places)
        if is_small:
            found = _crossings(layers, below, places)
            if found < fewest:
                best, fewest = [list(layer) for layer in layers], found
    if is_small:
        for layer, kept in zip(layers, best, strict=True):
            layer[:] = kept


def _sort(layer: list[int], towards: Sequence[Sequence[int]], beside: Mapping[int, int], places: list[float]) -> None:
    if len(layer) == 1:
        return
    wanted = {}
    for item in layer:
        others = towards[item]
        wanted[item] = sum([places[other] for other in others]) / len(others) if others else places[item]
    if beside:
        for item in layer:
            if item in beside:
                other = wanted[beside[item]]
                wanted[item] = (wanted[item] + other) / 2 if towards[item] else other
    layer.sort(key=wanted.__getitem__)
    _note(layer, places)


def _note(layer: Sequence[int], places: list[float]) -> None:
    """Take note of where items stand, as shares of their layer: wide and narrow ones compare so."""
    count = len(layer)
    for place, item in enumerate(layer):
        places[item] = (place + 0.5) / count


def _crossings(layers: Sequence[Sequence[int]], below: Sequence[Sequence[int]], places: Sequence[float]) -> int:
    """Count the pairs of links that cross."""
    found = 0
    for layer in layers:
        ends: list[float] = []
        for item in layer:
            own = sorted([places[other] for other in below[item]])
            for end in own:
                found += len(ends) - bisect_right(ends, end)
            for end in own:
                insort(ends, end)
    return found
