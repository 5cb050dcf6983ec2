"""Large pictures made smaller: what stands in a row, or side by side, becomes one box; and that it did is told.

Only what stands alike is drawn as one, so what fails or goes on is still seen. Where that does not make a picture small
enough, boxes of one layer become one, and at last those of layers that follow each other.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final

from harpoon.core.drawing import Arc, Box, Picture, State, standing
from harpoon.core.layout_ranks import ranks

#: Rounds of folding: what was folded may stand in a row with others.
_ROUNDS: Final = 4
_BESIDE: Final = "side by side"
_IN_A_ROW: Final = "in a row"
_TOGETHER: Final = "drawn together"
#: Where states differ, the first of these is shown.
_TELLING: Final = (State.PARKED, State.FAILED, *State)


def fold(whole: Picture, boxes_max: int) -> Picture:
    """Return a picture of at most so many boxes; the same one if it is small enough as it is."""
    told = whole
    if len(told.boxes) <= boxes_max:
        return told
    for _ in range(_ROUNDS):
        told = _together(told, _siblings(told), _BESIDE)
        told = _together(told, _chains(told), _IN_A_ROW)
    if len(told.boxes) > boxes_max:
        told = _together(told, _layers(told, 1, is_alike=True), _BESIDE)
        told = _together(told, _chains(told), _IN_A_ROW)
    if len(told.boxes) > boxes_max:
        deep = max(_layers_of(told)) + 1
        told = _together(told, _layers(told, -(-deep // boxes_max), is_alike=False), _TOGETHER)
    folded = f"{len(whole.boxes):,} operations are drawn as {len(told.boxes):,} boxes"
    return replace(told, folded=folded, description=f"{whole.description} {folded}.")


def _siblings(told: Picture) -> Sequence[Hashable]:
    """Return, of each box, what it shares with those that stand beside it: where it comes from and leads to."""
    into: list[list[Arc]] = [[] for _ in told.boxes]
    out: list[list[Arc]] = [[] for _ in told.boxes]
    for arc in told.arcs:
        into[arc.target].append(arc)
        out[arc.source].append(arc)
    return [
        (
            frozenset([(arc.source, arc.label) for arc in into[box]]),
            frozenset([(arc.label, arc.target, arc.group) for arc in out[box]]),
            _look(told.boxes[box]),
        )
        # One that leads to itself is like no other.
        if not any(arc.target == box for arc in out[box])
        else box
        for box in range(len(told.boxes))
    ]


def _chains(told: Picture) -> Sequence[Hashable]:
    """Return, of each box, the first one of the row that it stands in."""
    into: list[set[int]] = [set() for _ in told.boxes]
    out: list[set[int]] = [set() for _ in told.boxes]
    for arc in told.arcs:
        into[arc.target].add(arc.source)
        out[arc.source].add(arc.target)

    def follows(box: int) -> int | None:
        """Return the only one before it, if it is also the only one after that."""
        before = next(iter(into[box])) if len(into[box]) == 1 else None
        if before is None or before == box or len(out[before]) != 1 or told.boxes[box].is_start:
            return None
        return before if _look(told.boxes[before]) == _look(told.boxes[box]) else None

    before = [follows(box) for box in range(len(told.boxes))]
    after = {one: box for box, one in enumerate(before) if one is not None}
    found: list[int] = list(range(len(told.boxes)))
    for box, one in enumerate(before):
        if one is None:
            at: int | None = box
            while at is not None:
                found[at] = box
                at = after.get(at)
    return found


def _layers(told: Picture, thick: int, *, is_alike: bool) -> Sequence[Hashable]:
    """Return the layer of each box, so many as one; and how it stands, if only those alike are to become one."""
    looks = map(_look, told.boxes)
    return [(layer // thick, look if is_alike else None) for layer, look in zip(_layers_of(told), looks, strict=True)]


def _layers_of(told: Picture) -> list[int]:
    successors: list[list[int]] = [[] for _ in told.boxes]
    for arc in told.arcs:
        successors[arc.source].append(arc.target)
    return ranks(successors, [number for number, box in enumerate(told.boxes) if box.is_start])[0]


def _look(box: Box) -> Hashable:
    return box.kind, box.does if len(box.ops) == 1 else "", box.state, len(box.ops) == 1


def _together(told: Picture, shares: Sequence[Hashable], how: str) -> Picture:
    """Draw the boxes as one that share the same."""
    parts: dict[Hashable, list[int]] = {}
    for box, share in enumerate(shares):
        parts.setdefault(share, []).append(box)
    if len(parts) == len(told.boxes):
        return told
    number = {box: place for place, part in enumerate(parts.values()) for box in part}
    # Sorted part by part, as `core.drawing` does it, and for the same reason.
    counts = [Counter[tuple[str, int, int]]() for _ in parts]
    for arc in told.arcs:
        source, target = number[arc.source], number[arc.target]
        # What leads from one to another of a part is not seen any more; what led to itself still is.
        if source != target or arc.source == arc.target:
            counts[source][arc.label, target, arc.group] += arc.times or 0
    boxes = [_one([told.boxes[box] for box in part], how) for part in parts.values()]
    arcs = [
        Arc(source, *ends, count or None) for source, own in enumerate(counts) for ends, count in sorted(own.items())
    ]
    return replace(told, boxes=tuple(boxes), arcs=tuple(arcs))


def _one(boxes: Sequence[Box], how: str) -> Box:
    if len(boxes) == 1:
        return boxes[0]
    first, last = boxes[0], boxes[-1]
    states = {box.state for box in boxes}
    whats = {box.does for box in boxes if len(box.ops) == 1}
    ops = tuple([op for box in boxes for op in box.ops])
    what = f": {first.does}" if len(whats) == 1 and len(first.ops) == 1 else ""
    return Box(
        title=f"{first.ops[0]} … {last.ops[-1]}",
        kind=first.kind,
        does=f"{len(ops):,} {how}{what}",
        state=next((state for state in _TELLING if state in states), None),
        note=standing(boxes) if len(states) > 1 else "",
        aside=next((box.aside for box in boxes if box.aside), ""),
        ops=ops,
        is_start=any(box.is_start for box in boxes),
    )
