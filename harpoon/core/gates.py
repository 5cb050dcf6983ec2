"""Limits of how many attempts may be claimed at once under one key.

A gate counts nothing: it has the set of the live claims themselves, so whatever ends a claim makes room, and nothing
can leak. Attempts that find it full are parked apart from their line, in the order in which their turn came; when a
claim ends, as many as there is room for are called back into it. A handler without workers keeps nobody out: the
attempts of each handler are called on their own, and whoever is claimed first goes through.
"""

from collections import OrderedDict
from collections.abc import Iterator

from harpoon.core.offers import AttemptId, Entry, Limit


class _Gate:
    """One key."""

    __slots__ = ("called", "live", "parked")

    def __init__(self) -> None:
        self.live: set[AttemptId] = set()
        #: Handler → what waits for room, the first to be called first.
        self.parked: dict[str, OrderedDict[AttemptId, Entry]] = {}
        #: Handler → how many stand in its line that were called.
        self.called: dict[str, int] = {}

    @property
    def is_idle(self) -> bool:
        return not (self.live or self.parked or self.called)

    def call_off(self, entry: Entry) -> None:
        """Take note that one that was called stands in line no more."""
        handler = entry.offer.handler
        entry.is_called = False
        self.called[handler] -= 1
        if not self.called[handler]:
            del self.called[handler]

    def call(self) -> Iterator[Entry]:
        """Call those for whom there is room: of each handler, as if the others' would not come."""
        for handler in list(self.parked):
            own = self.parked[handler]
            while own and len(self.live) + self.called.get(handler, 0) < _most(next(iter(own.values()))):
                _, entry = own.popitem(last=False)
                entry.is_called = True
                self.called[handler] = self.called.get(handler, 0) + 1
                yield entry
            if not own:
                del self.parked[handler]


class Gates:
    """The gates of all keys that anything is claimed or parked under; for attempts that have a limit."""

    def __init__(self) -> None:
        self._gates: dict[tuple[str, str], _Gate] = {}

    def __len__(self) -> int:
        return len(self._gates)

    def has_room(self, entry: Entry) -> bool:
        """Whether its limit lets one more be claimed."""
        gate = self._find(entry)
        return gate is None or len(gate.live) < _most(entry)

    def is_next(self, entry: Entry) -> bool:
        """Whether one that has just come need not wait behind others for its limit."""
        gate = self._find(entry)
        return gate is None or (len(gate.live) < _most(entry) and entry.offer.handler not in gate.parked)

    def park(self, entry: Entry) -> None:
        """Let it wait for room: before all others if it had been called, else behind them."""
        gate = self._of(entry)
        own = gate.parked.setdefault(entry.offer.handler, OrderedDict())
        own[entry.offer.id] = entry
        if entry.is_called:
            gate.call_off(entry)
            own.move_to_end(entry.offer.id, last=False)

    def enter(self, entry: Entry) -> None:
        """Count its claim among the live ones."""
        gate = self._of(entry)
        gate.live.add(entry.offer.id)
        if entry.is_called:
            gate.call_off(entry)

    def leave(self, entry: Entry) -> list[Entry]:
        """Forget it, wherever it stands; return those that are called thereby."""
        gate = self._find(entry)
        if gate is None:
            return []
        offer = entry.offer
        gate.live.discard(offer.id)
        own = gate.parked.get(offer.handler)
        if own is not None and own.pop(offer.id, None) is not None and not own:
            del gate.parked[offer.handler]
        if entry.is_called:
            gate.call_off(entry)
        called = list(gate.call())
        if gate.is_idle:
            del self._gates[self._key(entry)]
        return called

    def live(self, namespace: str, limit: Limit) -> int:
        """Return how many are claimed under a limit's key."""
        gate = self._gates.get((namespace, limit.key))
        return 0 if gate is None else len(gate.live)

    def _find(self, entry: Entry) -> _Gate | None:
        return self._gates.get(self._key(entry))

    def _of(self, entry: Entry) -> _Gate:
        return self._gates.setdefault(self._key(entry), _Gate())

    @staticmethod
    def _key(entry: Entry) -> tuple[str, str]:
        limit = entry.offer.limit
        assert limit is not None, "only what has a limit goes through a gate"
        return entry.offer.id.namespace, limit.key


def _most(entry: Entry) -> int:
    limit = entry.offer.limit
    assert limit is not None, "only what has a limit goes through a gate"
    return limit.most
