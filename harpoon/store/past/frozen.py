"""A store that holds one state of the past: it is read like any other, and nothing in it ever changes."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from typing import Final, NoReturn

from harpoon.kit.errors import Conflict
from harpoon.store.commit import prefix_end
from harpoon.store.past.fold import State
from harpoon.store.port import BY_THIRDS, Change, Compare, Entry, Lease, Page, Renewal, StoreHealth, Write

_PAGE_ENTRIES: Final = 1_000


class FrozenStore:
    """The contract of `store.port` for reading; whoever would write is refused with `Conflict`."""

    def __init__(self, state: State, at: str = "") -> None:
        self._state = state
        self._at = at
        self._keys = [entry.key for entry in state.entries]

    async def get(self, key: str) -> Entry | None:
        """Return the key as it was, or None."""
        place = bisect_left(self._keys, key)
        return self._state.entries[place] if place < len(self._keys) and self._keys[place] == key else None

    async def list(self, prefix: str) -> AsyncIterator[Page]:
        """Yield all keys under ``prefix`` in pages of one revision."""
        end = prefix_end(prefix)
        start = bisect_left(self._keys, prefix)
        stop = len(self._keys) if end is None else bisect_left(self._keys, end)
        for place in range(start, max(start + 1, stop), _PAGE_ENTRIES):
            yield Page(self._state.revision, self._state.entries[place : min(place + _PAGE_ENTRIES, stop)])

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:  # noqa: ARG002
        """Refuse to write."""
        _refuse()

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[tuple[int, tuple[Change, ...]]]:  # noqa: ARG002
        """Wait for ever: nothing happens any more."""
        await asyncio.get_running_loop().create_future()
        yield self._state.revision, ()

    async def lease(self, ttl_s: float, renewal: Renewal = BY_THIRDS) -> Lease:  # noqa: ARG002
        """Refuse to hold anything."""
        _refuse()

    async def compact(self, revision: int) -> None:  # noqa: ARG002
        """Refuse to forget."""
        _refuse()

    async def revision(self) -> int:
        """Return the revision that it is of."""
        return self._state.revision

    def health(self) -> StoreHealth:
        """Tell what it is; nothing can be wrong with it."""
        gauges = {"revision": self._state.revision, "keys": len(self._keys)}
        return StoreHealth(kind="history", at=self._at, gauges=gauges)

    async def close(self) -> None:
        """Hold nothing that would have to be given back."""


def _refuse() -> NoReturn:
    raise Conflict("this is a history: it can be read, and not be changed")
