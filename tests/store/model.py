"""What a store is, in as few words as possible and with nothing of any store in it; and what a store may answer.

Commits in flight at once may be done in any order, and several may share a revision. So what a store made of them is
*explained*: those that succeeded are put in the order of their revisions, and each must then do what it was to do at
that place; a commit that failed must fail at some place. Whatever is left in the store is then known to the last byte.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

from harpoon.store.port import Compare, Delete, Entry, Put, StoreUnavailable

Entries = dict[str, Entry]
Changes = dict[str, Entry | None]


@dataclass(frozen=True)
class Deed:
    """A commit; leases are numbers here."""

    compares: tuple[Compare, ...]
    writes: tuple[Put | Delete, ...]
    #: Key → lease that it is put under.
    leases: dict[str, int]

    def changes(self, entries: Entries, revision: int) -> Changes | None:
        """Return what it changes at a revision, or None: a compare does not hold."""
        for compare in self.compares:
            entry = entries.get(compare.key, Entry(compare.key, b"", 0, 0))
            if compare.mod not in (None, entry.mod_revision) or compare.create not in (None, entry.create_revision):
                return None
        changes: Changes = {}
        for write in self.writes:
            before = entries.get(write.key)
            if isinstance(write, Put):
                created = revision if before is None else before.create_revision
                changes[write.key] = Entry(write.key, write.value, created, revision)
            elif before is not None:
                changes[write.key] = None
        return changes


class Placed(NamedTuple):
    """A revision, and what was done at it in that order."""

    revision: int
    changes: Changes
    leases: dict[str, int]


class Model:
    """A store, and its whole history since the test began."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.revision = base
        self.compacted = base
        self.entries: Entries = {}
        self.leases: dict[str, int] = {}
        self.over: set[int] = set()
        self.history: list[tuple[int, Changes]] = []

    def listed(self, prefix: str) -> list[Entry]:
        return sorted(entry for key, entry in self.entries.items() if key.startswith(prefix))

    def watched(self, prefix: str, after: int) -> list[tuple[int, dict[str, Entry | None]]]:
        found = []
        for revision, changes in self.history:
            own = {key: entry for key, entry in changes.items() if key.startswith(prefix)}
            if revision > after and own:
                found.append((revision, own))
        return found

    def revoke(self, lease: int) -> None:
        self.over.add(lease)
        keys = [key for key, holder in self.leases.items() if holder == lease]
        if keys:
            self._apply(Placed(self.revision + 1, dict.fromkeys(keys), {}))

    def compact(self, revision: int) -> None:
        self.compacted = max(self.compacted, revision)

    def commit(self, deeds: Sequence[Deed], outcomes: Sequence[object], revision: int, *, is_one_by_one: bool) -> None:
        """Take over what a store made of commits begun at once.

        Args:
            deeds: The commits, as they were begun.
            outcomes: What each returned or raised.
            revision: Of the store, after all of them.
            is_one_by_one: Whether the order was that one, and each has a revision of its own.

        Raises:
            AssertionError: No store may answer so.
        """
        before = self.revision
        done: dict[int, list[Deed]] = {}
        failed: list[Deed] = []
        for deed, outcome in zip(deeds, outcomes, strict=True):
            if self.over & set(deed.leases.values()):
                assert isinstance(outcome, StoreUnavailable), "what is put under a lease that is over is not written"
                assert not outcome.maybe_applied
            elif outcome is None:
                failed.append(deed)
            else:
                assert isinstance(outcome, int), outcome
                done.setdefault(outcome, []).append(deed)
        expected = self._one_by_one(deeds) if is_one_by_one else None
        states = [dict(self.entries)]
        for number in sorted(done):
            assert before <= number <= revision
            placed = self._place(done[number], number)
            assert placed is not None, f"at revision {number} these cannot have been done: {done[number]}"
            if placed.changes:
                assert number == self.revision + 1, "each revision is of some change, and they are in order"
                self._apply(placed)
                states.append(dict(self.entries))
        assert self.revision == revision, "what takes a revision changes something"
        for deed in failed:
            assert any(deed.changes(state, 0) is None for state in states), f"this cannot have failed: {deed}"
        if expected is not None:
            assert [outcome if isinstance(outcome, int) else None for outcome in outcomes] == expected

    def _one_by_one(self, deeds: Iterable[Deed]) -> list[int | None]:
        """Return what commits return that are done one after another."""
        entries, revision, outcomes = dict(self.entries), self.revision, []
        for deed in deeds:
            changes = None if self.over & set(deed.leases.values()) else deed.changes(entries, revision + 1)
            revision += bool(changes)
            outcomes.append(None if changes is None else revision)
            _put(entries, changes or {})
        return outcomes

    def _place(self, deeds: Sequence[Deed], revision: int) -> Placed | None:
        """Find an order in which commits that returned the same revision can all have succeeded."""
        for order in permutations(deeds):
            entries, placed = dict(self.entries), Placed(revision, {}, {})
            for deed in order:
                changes = deed.changes(entries, revision)
                # A revision writes a key once; so what is done at it leaves the same, whatever the order.
                if changes is None or changes.keys() & placed.changes.keys():
                    break
                if changes and revision == self.revision:
                    break
                placed.changes.update(changes)
                placed.leases.update(deed.leases)
                _put(entries, changes)
            else:
                return placed
        return None

    def _apply(self, placed: Placed) -> None:
        self.revision = placed.revision
        self.history.append((placed.revision, placed.changes))
        _put(self.entries, placed.changes)
        for key in placed.changes:
            self.leases.pop(key, None)
        self.leases |= placed.leases


def _put(entries: Entries, changes: Changes) -> None:
    for key, entry in changes.items():
        if entry is None:
            del entries[key]
        else:
            entries[key] = entry
