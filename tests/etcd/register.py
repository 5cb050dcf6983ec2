"""Whether a recorded history of reads and compare-and-swaps could have happened on registers at all.

A store that tells the truth is *linearizable*: each operation can be given one moment between its call and its return
such that, taken in the order of these moments, every outcome follows. `violation` looks for such an order, key by
key, by the search of Wing and Gong with the memory of Lowe: place any operation that nothing unplaced has to precede
and that fits; go back when none does; never try the same set of placed operations in the same state twice.

A swap whose outcome is unknown may be given any moment after its call, or none. The revision that it made is not
known either until somebody sees it; till then the register is at *some* revision above the one that was compared.
Revisions are one counter for all keys, so what was told before a swap was called is below what that swap made.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple


class Register(NamedTuple):
    """A key as it stands between two operations."""

    #: Of the last write; 0 when there was none; None when it was never seen.
    revision: int | None = 0
    value: bytes | None = None
    #: What an unseen revision is above, and which it is not.
    above: int = 0
    unlike: frozenset[int] = frozenset()

    def may_be_at(self, revision: int) -> bool:
        if self.revision is not None:
            return self.revision == revision
        return revision > self.above and revision not in self.unlike


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A read, and what it returned; one that returned nothing tells nothing, and is not recorded."""

    key: str
    invoked: float
    returned: float
    #: 0 and None: the key was absent.
    revision: int = 0
    value: bytes | None = None

    def applied(self, register: Register) -> Register | None:
        if not register.may_be_at(self.revision) or register.value != self.value:
            return None
        return register if register.revision is not None else Register(self.revision, self.value)

    def told(self) -> int:
        return self.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A write on the condition that the key is at a revision; one known not to have happened is not recorded."""

    key: str
    invoked: float
    #: None: the outcome is unknown.
    returned: float | None
    #: What the key's revision was compared with; 0: it must be absent.
    expected: int
    value: bytes
    #: What it made; None: it was refused, or the outcome is unknown.
    revision: int | None = None

    def applied(self, register: Register) -> Register | None:
        fits = register.may_be_at(self.expected)
        if self.returned is None:
            return Register(None, self.value, above=self.expected) if fits else None
        if self.revision is not None:
            return Register(self.revision, self.value) if fits and self.revision > self.expected else None
        if not fits:
            return register
        # Refused: if the register is at a revision unseen, then at another one.
        return register._replace(unlike=register.unlike | {self.expected}) if register.revision is None else None

    def told(self) -> int:
        return self.revision or 0


Operation = Read | Swap


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Why a history cannot have happened."""

    #: How many operations could be placed at most.
    placed: int
    #: How the register stands then.
    register: Register | None
    #: What had returned by then, but does not fit.
    operation: Operation

    def __str__(self) -> str:
        return f"after {self.placed} operations at {self.register}, this does not fit: {self.operation}"


def violation(history: Iterable[Operation]) -> Violation | None:
    """Return why the operations cannot have happened on registers that were absent at first, or None if they can."""
    operations = sorted(history, key=lambda operation: operation.invoked)
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    found = (_Search(alike).run() for alike in by_key.values())
    return next((one for one in chain([_unrisen(operations)], found) if one is not None), None)


def _unrisen(operations: Sequence[Operation]) -> Violation | None:
    """Return a swap that made a revision not above all that was told before its call."""
    returned = sorted((one for one in operations if one.returned is not None), key=lambda one: one.returned or 0)
    told = placed = 0
    for operation in operations:
        while placed < len(returned) and (returned[placed].returned or 0) < operation.invoked:
            told = max(told, returned[placed].told())
            placed += 1
        if isinstance(operation, Swap) and operation.revision is not None and operation.revision <= told:
            return Violation(placed=placed, register=None, operation=operation)
    return None


_HEAD: Final = 0


class _Search:
    """The search for an order of the operations on one key.

    Their calls and returns stand in a linked list by time. What is placed is taken out of it, so that the calls before
    the first return left are exactly those that may come next.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        moments = [(operation.invoked, 0, n) for n, operation in enumerate(operations)]
        moments += [(one.returned, 1, n) for n, one in enumerate(operations) if one.returned is not None]
        self._call, self._return = [0] * len(operations), [0] * len(operations)
        #: Which operation is called at a place of the list; the last place stands for its end.
        self._called: list[int | None] = [None] * (len(moments) + 2)
        self._returning: list[int] = [-1] * (len(moments) + 2)
        for place, (_, is_return, n) in enumerate(sorted(moments), 1):
            if is_return:
                self._return[n], self._returning[place] = place, n
            else:
                self._call[n], self._called[place] = place, n
        self._next = [*range(1, len(moments) + 2), _HEAD]
        self._previous = [_HEAD, *range(len(moments) + 1)]
        self._left = len(moments) - len(operations)
        self._placed: list[tuple[int, Register, bool]] = []
        self._deepest: Violation | None = None

    def run(self) -> Violation | None:
        register, done, tried = Register(), 0, set()
        place = self._next[_HEAD]
        while self._left:
            n = self._called[place]
            if n is None:
                self._note(register, self._operations[self._returning[place]])
                undone = self._go_back()
                if undone is None:
                    return self._deepest
                register, place, gone = undone
                done ^= gone
                continue
            after = self._operations[n].applied(register)
            if after is None or (mark := (done | 1 << n, after)) in tried:
                place = self._next[place]
                continue
            tried.add(mark)
            # What changes nothing is best placed at once: an order with it later is as good with it here.
            self._placed.append((n, register, after == register))
            self._take_out(n)
            done, register, place = mark[0], after, self._next[_HEAD]
        return None

    def _go_back(self) -> tuple[Register, int, int] | None:
        """Undo up to the last choice; return how the register stood, where to look on, and what is no longer done."""
        gone = 0
        while self._placed:
            n, register, is_no_choice = self._placed.pop()
            gone |= 1 << n
            self._put_back(n)
            if not is_no_choice:
                return register, self._next[self._call[n]], gone
        return None

    def _places(self, n: int) -> tuple[int, ...]:
        return (self._call[n], self._return[n]) if self._return[n] else (self._call[n],)

    def _take_out(self, n: int) -> None:
        for place in self._places(n):
            before, after = self._previous[place], self._next[place]
            self._next[before], self._previous[after] = after, before
        self._left -= self._return[n] > 0

    def _put_back(self, n: int) -> None:
        for place in reversed(self._places(n)):
            self._next[self._previous[place]] = self._previous[self._next[place]] = place
        self._left += self._return[n] > 0

    def _note(self, register: Register, operation: Operation) -> None:
        if self._deepest is None or len(self._placed) > self._deepest.placed:
            self._deepest = Violation(placed=len(self._placed), register=register, operation=operation)
