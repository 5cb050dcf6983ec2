"""Which agent comes first, while the slots of one job are placed one by one.

Agents that the placing has not touched stand as their kind is ranked (`core.ranking`), and are read from there as far
as needed. Each that it has touched has an *entry*, kept in a heap. There is a heap, and a part of the ranking, for each
combination of the values that the job is spread over: a *group*. Who is first of a group mostly only gets worse, by
what is placed there: so groups wait in a heap of their own by how good they were when last looked at, and only those at
its top are looked at again. What gets better is put there once more.
"""

from collections import Counter, deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from harpoon.core.ranking import Ranking, Values

#: Tasks of the job there, how little it is preferred, how empty it is, its name, and the mark that makes it valid.
Entry = tuple[int, int, float, str, int]
#: Tasks of the job by the values of the group, and the entry.
Standing = tuple[tuple[int, ...], Entry]

_NOBODY: Final[frozenset[str]] = frozenset()
_NOTHING: Final = iter(())


@dataclass(slots=True)
class _Group:
    #: Agents that nobody has touched, in order.
    rest: Iterator[tuple[int, float, str]] = _NOTHING
    #: Read of these already, but not used.
    ahead: deque[Entry] = field(default_factory=deque)
    heap: list[Entry] = field(default_factory=list)


class Contest:
    """All agents that could take the next task."""

    def __init__(self, ranking: Ranking, spread: int) -> None:
        """Begin with nobody touched.

        Args:
            ranking: Of the agents, as they stand before the placing.
            spread: How many tags the job is spread over.
        """
        #: Who was touched → the mark of its valid entry, if there is one.
        self.marks: dict[str, int] = {}
        #: For each tag: value → tasks of the job's generation.
        self.counts: tuple[Counter[str], ...] = tuple(Counter() for _ in range(spread))
        self._groups = {values: _Group(ranking.names(values)) for values in ranking.groups}
        #: Each group that has anybody, at its present standing or a better one; None: to be made anew.
        self._order: list[tuple[tuple[int, ...], Entry, Values]] | None = None

    def admit(self, values: Values, entry: Entry) -> None:
        """Let one that was touched take part, before it begins."""
        self._groups[values].heap.append(entry)

    def enter(self, values: Values, entry: Entry) -> None:
        """Let one that was touched take part; its entry is not better than what its group had before."""
        group = self._groups.get(values)
        if group is None:
            group = self._groups[values] = _Group()
        heappush(group.heap, entry)

    def begin(self) -> None:
        """Put those in order that were let in without; `first` is asked afterwards."""
        for group in self._groups.values():
            heapify(group.heap)

    def improve(self, values: Values) -> None:
        """Look again at all groups that share one of these values: they may stand better than before."""
        if self._order is None or not self.counts:
            return
        alike = (values,) if len(values) == 1 else [one for one in self._groups if _share(one, values)]
        for one in alike:
            standing = self._standing(one) if one in self._groups else None
            if standing is not None:
                heappush(self._order, (*standing, one))

    def standing(self, values: Values, entry: Entry) -> Standing:
        """Return what an entry is compared by."""
        return self._spread(values), entry

    def first(self, shunned: AbstractSet[str] = _NOBODY) -> Standing | None:
        """Return the best, but none that is shunned; None: there is none."""
        if not self.counts:
            group = self._groups.get(())
            entry = None if group is None else self._top(group, shunned)
            return None if entry is None else ((), entry)
        if self._order is None:
            found = ((values, self._standing(values)) for values in self._groups)
            self._order = [(*standing, values) for values, standing in found if standing is not None]
            heapify(self._order)
        return self._search(self._order, shunned)

    def _search(self, order: list[tuple[tuple[int, ...], Entry, Values]], shunned: AbstractSet[str]) -> Standing | None:
        best: Standing | None = None
        passed = []
        while order and (best is None or order[0][:2] < best):
            spread, entry, values = order[0]
            standing = self._standing(values)
            if standing is None:
                heappop(order)
            elif standing != (spread, entry):
                heapreplace(order, (*standing, values))
            elif entry[3] not in shunned:
                best = standing
            else:
                passed.append(heappop(order))
                other = self._top(self._groups[values], shunned)
                if other is not None and (best is None or (spread, other) < best):
                    best = (spread, other)
        for one in passed:
            heappush(order, one)
        return best

    def _standing(self, values: Values) -> Standing | None:
        entry = self._top(self._groups[values], _NOBODY)
        return None if entry is None else (self._spread(values), entry)

    def _spread(self, values: Values) -> tuple[int, ...]:
        return tuple([count[value] for count, value in zip(self.counts, values, strict=True)])

    def _top(self, group: _Group, shunned: AbstractSet[str]) -> Entry | None:
        """Return the first of a group that is not shunned."""
        heap, marks, passed = group.heap, self.marks, []
        while heap and (marks[heap[0][3]] != heap[0][4] or heap[0][3] in shunned):
            entry = heappop(heap)
            if marks[entry[3]] == entry[4]:
                passed.append(entry)
        found = heap[0] if heap else None
        for entry in passed:
            heappush(heap, entry)
        untouched = self._untouched(group, shunned)
        if found is None or (untouched is not None and untouched < found):
            return untouched
        return found

    def _untouched(self, group: _Group, shunned: AbstractSet[str]) -> Entry | None:
        ahead, marks = group.ahead, self.marks
        while ahead and ahead[0][3] in marks:
            ahead.popleft()
        for entry in ahead:
            if entry[3] not in marks and entry[3] not in shunned:
                return entry
        for dislike, emptiness, name in group.rest:
            if name not in marks:
                entry = (0, dislike, emptiness, name, 0)
                ahead.append(entry)
                if name not in shunned:
                    return entry
        return None


def _share(one: Values, other: Values) -> bool:
    return any(mine == its for mine, its in zip(one, other, strict=True))
