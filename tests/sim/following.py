"""How an instance of a simulation follows its store: one stream after the other, resumed where the last one broke off.

As with `harpoon.store.etcd.watching`, a watch outlives whatever becomes of the connection; a store that is away is waited
for. Only history that is gone, a stream that tells what it told before, and the end of the store end it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from harpoon.store.port import Compacted, Rewound, RolledBack, StoreUnavailable
from tests.sim.asking import AT, BACKOFF_S, CONNECT_S, Asking
from tests.sim.lost import Lost
from tests.sim.telling import Revision, Word

if TYPE_CHECKING:
    from tests.sim.way import SimWay

#: A connection that shows no life for so long is gone: a ping's interval, and the time in which it is answered.
SILENCE_S: Final = 9.0


class Following:
    """All watches of one instance."""

    def __init__(self, way: "SimWay", asking: Asking) -> None:
        self._way = way
        self._asking = asking
        #: Of what is being waited for; cancelled, it is resumed.
        self._scopes: dict[asyncio.Timeout, None] = {}
        #: The next one that is told something is told what it was told before.
        self.is_rewinding = False

    def move(self) -> None:
        """Break all streams; they are resumed where they stopped."""
        scopes, self._scopes = self._scopes, {}
        for scope in scopes:
            scope.reschedule(0)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Revision]:
        """Yield every revision above ``after``, whole; see `store.port.Store.watch`."""
        told, pause, is_first = after, BACKOFF_S[0], True
        while True:
            self._asking.check_open()
            if not is_first:
                await asyncio.sleep(pause * self._asking.rng.uniform(0.5, 1.0))
                pause = min(2 * pause, BACKOFF_S[1])
                if not await self._is_in_step(told):
                    continue
                self._asking.happened["watch resumed"] += 1
            is_first = False
            with suppress(Lost):
                async with aclosing(self._words(prefix, told)) as words:
                    async for word in words:
                        pause = BACKOFF_S[0]
                        assert word.after == told, "a connection keeps its order"
                        if self.is_rewinding and word.revisions:
                            self.is_rewinding = False
                            self._asking.happened["watch rewound"] += 1
                            raise Rewound(f"the store told revision {told} of {prefix!r} again")
                        for revision, changes in word.revisions:
                            yield revision, changes
                        told = word.until

    async def _words(self, prefix: str, told: int) -> AsyncIterator[Word]:
        """Follow one stream until it breaks off."""
        way = self._way
        stream = way.net.stream(
            AT, lambda: way.store.serve_watch(way, prefix, told), connect_s=CONNECT_S, silence_s=SILENCE_S
        )
        async with aclosing(stream):
            while True:
                scope = asyncio.timeout(None)
                try:
                    async with scope:
                        self._scopes[scope] = None
                        word = await anext(stream)
                except (TimeoutError, StopAsyncIteration):
                    self._asking.check_open()
                    raise Lost("the stream was broken", is_sent=True) from None
                finally:
                    self._scopes.pop(scope, None)
                if isinstance(word, Compacted):
                    raise word
                self._asking.saw(word.until)
                yield word

    async def _is_in_step(self, told: int) -> bool:
        """Whether the store can be asked, and has not gone back behind what was told."""
        try:
            now = await self._way.revision()
        except RolledBack:
            raise
        except StoreUnavailable:
            return False
        if now < told:
            raise RolledBack(told, now)
        return True
