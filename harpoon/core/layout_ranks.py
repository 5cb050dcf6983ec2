"""Which layer each box of a drawing stands in: lines go down from layer to layer, but for those that close a cycle."""

from collections.abc import Iterable, Sequence


def ranks(successors: Sequence[Sequence[int]], starts: Iterable[int]) -> tuple[list[int], set[tuple[int, int]]]:
    """Return the layer of each box, and the pairs whose line goes back up, or to the box itself.

    A layer is as low as the longest way down to it is long. Cycles are cut where a walk from the starts comes round,
    so what a run passes first stands above what it passes later. It takes time by the number of boxes and lines.

    Args:
        successors: Of each box, those that it leads to, in the order in which they are walked.
        starts: What is walked from first; the rest follows in order.
    """
    count = len(successors)
    order: list[int] = []
    back: set[tuple[int, int]] = set()
    #: 0: not met; 1: on the way to where the walk is; 2: left for good.
    state = bytearray(count)
    for root in (*starts, *range(count)):
        if state[root]:
            continue
        state[root] = 1
        way = [(root, iter(successors[root]))]
        while way:
            box, rest = way[-1]
            for following in rest:
                if not state[following]:
                    state[following] = 1
                    way.append((following, iter(successors[following])))
                    break
                if state[following] == 1:
                    back.add((box, following))
            else:
                state[box] = 2
                order.append(box)
                way.pop()
    found = [0] * count
    for box in reversed(order):
        below = found[box] + 1
        for following in successors[box]:
            if found[following] < below and (box, following) not in back:
                found[following] = below
    return found, back
