"""Cycles of a graph: its strongly connected components, and the shortest way round from one of its nodes."""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Search:
    """Where the search for components stands."""

    #: Node → when it was met, from 1; 0: it was not.
    met: list[int]
    #: Node → the earliest node that is open and can be reached from it, by when that was met.
    low: list[int]
    clock: int = 0
    #: Nodes met whose component is not known yet.
    open_: list[int] = field(default_factory=list)
    is_open: set[int] = field(default_factory=set)
    found: list[list[int]] = field(default_factory=list)


def components(successors: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the strongly connected components, each before those that lead to it (Tarjan's, without recursion).

    Args:
        successors: Of each node, the nodes that it leads to.
    """
    search = _Search([0] * len(successors), [0] * len(successors))
    for root in range(len(successors)):
        if not search.met[root]:
            _from(search, root, successors)
    return search.found


def way_round(start: int, successors: Sequence[Sequence[int]], within: Collection[int]) -> list[int]:
    """Return the shortest way from a node back to itself through some nodes, it at both ends; there must be one."""
    came_from: dict[int, int] = {}
    queue = deque([start])
    while start not in came_from:
        node = queue.popleft()
        for following in successors[node]:
            if following in within and following not in came_from:
                came_from[following] = node
                queue.append(following)
    way = [start]
    while len(way) == 1 or way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


def _from(search: _Search, root: int, successors: Sequence[Sequence[int]]) -> None:
    met, low, is_open = search.met, search.low, search.is_open
    way = [(root, iter(successors[root]))]
    _meet(search, root)
    while way:
        node, rest = way[-1]
        for following in rest:
            if not met[following]:
                _meet(search, following)
                way.append((following, iter(successors[following])))
                break
            if following in is_open:
                low[node] = min(low[node], met[following])
        else:
            way.pop()
            if way:
                before = way[-1][0]
                low[before] = min(low[before], low[node])
            if low[node] == met[node]:
                _close(search, node)


def _meet(search: _Search, node: int) -> None:
    search.clock += 1
    search.met[node] = search.low[node] = search.clock
    search.open_.append(node)
    search.is_open.add(node)


def _close(search: _Search, node: int) -> None:
    component: list[int] = []
    while not component or component[-1] != node:
        component.append(search.open_.pop())
        search.is_open.discard(component[-1])
    search.found.append(component)
