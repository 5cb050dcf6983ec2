"""How the store of a simulation tells watches what happens: whole revisions in order, late and with holes where asked."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, NamedTuple

from harpoon.store.port import Change, Compacted

if TYPE_CHECKING:
    from tests.sim.store import SimStore
    from tests.sim.way import SimWay

#: A connection shows so often that it is alive, as it does by answering pings; also while there is no quorum.
BEAT_S: Final = 3.0
#: One who is told late is looked after so often within the span.
_LOOKS: Final = 4

Revision = tuple[int, tuple[Change, ...]]


class Word(NamedTuple):
    """What a watch is told at once: everything between two revisions; nothing but that the stream is alive, when equal."""

    after: int
    until: int
    revisions: tuple[Revision, ...]


class Telling:
    """All watches of a store, at its node."""

    def __init__(self, store: "SimStore") -> None:
        self._store = store
        self._waiters: list[asyncio.Future[None]] = []
        self._beats = 0

    def wake(self) -> None:
        """Have all watches look at what there is."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _release(waiter)

    async def tell(self, way: "SimWay", prefix: str, after: int) -> AsyncIterator[Word | Compacted]:
        """Tell one watch, until its instance is gone."""
        if not self._beats:
            self._beat()
        told, is_first = after, True
        while not way.is_gone:
            # One that keeps up is told as it happens; another has to find what it lacks in the history.
            if told < self._store.oldest and (is_first or way.lag_s):
                self._store.happened["compacted under a watch"] += 1
                yield Compacted(self._store.oldest)
                return
            is_first, beats = False, self._beats
            until = self._ripe(way, told)
            if until > told:
                yield Word(told, until, self._between(way, prefix, told, until))
                told = until
                continue
            await self._news(way)
            if self._beats != beats:
                yield Word(told, told, ())

    def _between(self, way: "SimWay", prefix: str, after: int, until: int) -> tuple[Revision, ...]:
        found = []
        for revision in range(after + 1, until + 1):
            changes = self._store.past[revision - 1].changes
            own = tuple([change for change in changes if change.key.startswith(prefix)])
            if own and not way.leaves_out(revision):
                found.append((revision, own))
        if not found or found[-1][0] < until:
            # So far it has come; that is asked for when it matters.
            found.append((until, ()))
        return tuple(found)

    def _ripe(self, way: "SimWay", told: int) -> int:
        """Return the last revision that is old enough for a way to be told of."""
        now = self._store.now
        if way.lag_s:
            latest = self._store.time() - way.lag_s
            while now > told and self._store.past[now - 1].at > latest + 1e-9:
                now -= 1
        return now

    async def _news(self, way: "SimWay") -> None:
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        if way.lag_s:
            loop.call_later(way.lag_s / _LOOKS, _release, waiter)
        await waiter

    def _beat(self) -> None:
        self._beats += 1
        self.wake()
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
