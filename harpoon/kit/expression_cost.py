"""How much work an evaluation may be, found before it begins: the library cannot be stopped, nor can its memory.

A unit is a byte that is copied or searched, about 3 ns. Nothing of this is exact; it is an upper bound, and what it
refuses is far from what expressions are for. Measured with the library:

- A value is converted once an evaluation, however often it is named: 150 ns for each number or text in it. Text is
  copied wherever it goes.
- ``map`` and ``filter`` copy the list that they make for each element: 9,000 elements take 1.9 s.
- Rounds of all loops of an evaluation are counted by the library, up to `ROUNDS_MAX`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from harpoon.kit.expression_tree import Tree

#: Bytes of JSON of all values that one expression uses.
VALUES_MAX: Final = 256 << 10
#: Units of work of one evaluation: 50 ms.
WORK_MAX: Final = 16 << 20
#: Rounds of all loops of one evaluation; the library's.
ROUNDS_MAX: Final = 10_000
#: What it costs to copy an element of a list.
_ELEMENT: Final = 8
#: Bytes of JSON of a value that is neither text nor list nor mapping.
_SMALL: Final = 24


def size_of(value: Any) -> int:
    """Return how large a value is, in bytes of JSON.

    Raises:
        TypeError: JSON cannot hold it.
    """
    if isinstance(value, str | list | dict):
        return len(orjson.dumps(value))
    return _SMALL


def work_of(tree: Tree, sizes: Sequence[int], values: Sequence[Any]) -> int:
    """Return an upper bound of the work of an evaluation.

    Args:
        tree: Of the expression.
        sizes: Of the value of each of its uses, in their order.
        values: All that is used.
    """
    outer, inner = _lengths(tree, values) if tree.loops else (1, 1)
    rounds = (1, outer, min(outer * inner, ROUNDS_MAX))
    used = sum(size * (1 + use.copies) * rounds[use.depth] for size, use in zip(sizes, tree.uses, strict=True))
    fixed = sum(part.bytes * rounds[part.depth] for part in tree.fixed)
    turned = sum(sizes) * sum((1 + turn.copies) * (1, inner)[turn.depth] for turn in tree.turns)
    lists = sum(_ELEMENT * (outer, inner)[loop.depth] * rounds[loop.depth + 1] for loop in tree.loops if loop.is_list)
    return used + fixed + turned + lists


def _lengths(tree: Tree, values: Sequence[Any]) -> tuple[int, int]:
    """Return how long a list can be that a loop goes over, and one that a loop in another does."""
    found = [_longest(value) for value in values]
    longest = max(tree.longest, *(max(pair) for pair in found), 1)
    within = max(tree.longest, *(nested for _, nested in found), 1)
    inner = within if all(loop.is_of_element for loop in tree.loops if loop.depth) else longest
    return min(longest * (1 + tree.joins), ROUNDS_MAX), min(inner * (1 + tree.joins), ROUNDS_MAX)


def _longest(value: Any) -> tuple[int, int]:
    """Return how long a list or mapping is, and the longest of those in it."""
    longest, waiting = [0, 0], [(value, 0)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, Mapping | list):
            longest[level] = max(longest[level], len(value))
            waiting += [(item, 1) for item in (value.values() if isinstance(value, Mapping) else value)]
    return longest[0], longest[1]
