"""What goes on while faults happen, and whether the store told the truth about all of it.

Every commit writes a key of its own that must be absent, so a key tells for good whether its commit happened. New ones
are begun at a steady pace, whatever becomes of those before. A watch goes on all the while.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from harpoon.kit.clock import SystemClock
from harpoon.store.etcd.store import EtcdStore
from harpoon.store.port import Change, Compare, Lease, Put, Store, StoreUnavailable
from harpoon.store.url import EtcdUrl, parse_url
from tests.etcd.members import Member
from tests.store.reading import Told, entries, in_order, put

PREFIX = "/w/"
#: An answer is waited for no longer than 5 s; the rest is for a busy machine.
ANSWERED_WITHIN_S = 6.0
#: Faults come when the watch has told so many.
WARM_REVISIONS = 10


@asynccontextmanager
async def a_store(*members: Member) -> AsyncIterator[EtcdStore]:
    """Open a store on these members, the first of them first."""
    url = parse_url("etcd://" + ",".join(member.endpoint for member in members))
    assert isinstance(url, EtcdUrl)
    store = await EtcdStore.open(url, clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit, when, and what its caller was told."""

    key: str
    began: float
    ended: float
    told: int | StoreUnavailable


@dataclass
class Traffic:
    """Commits and a watch of them."""

    store: Store
    every_s: float
    after: int
    commits: list[Commit] = field(default_factory=list)
    seen: Told = field(default_factory=list)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    seen_more: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self) -> None:
        number = 0
        async with asyncio.TaskGroup() as group:
            while not self.is_over.is_set():
                group.create_task(self._commit(f"{PREFIX}{number:06}"))
                number += 1
                await asyncio.sleep(self.every_s)

    async def _commit(self, key: str) -> None:
        began = time.monotonic()
        try:
            # Two keys, so that half a revision would be seen.
            told = await self.store.commit((Compare(key, mod=0),), (Put(key, key.encode()), Put(f"{key}/b", b"")))
        except StoreUnavailable as error:
            told = error
        assert told is not None, f"nobody else writes {key}: it was tried twice"
        self.commits.append(Commit(key=key, began=began, ended=time.monotonic(), told=told))

    async def watch(self) -> None:
        last = self.after
        async with aclosing(self.store.watch(PREFIX, after=self.after)) as stream:
            async for revision, changes in stream:
                assert revision > last, f"revision {revision} was told after {last}"
                last = revision
                if changes:
                    self.seen.append((revision, changes))
                    self.seen_more.set()

    async def works_again(self, since: float, within_s: float) -> float:
        """Wait for an answer to a commit begun since then, and return how many seconds after it came."""
        while True:
            done = [one.ended - since for one in self.commits if one.began >= since and isinstance(one.told, int)]
            if done:
                assert min(done) <= within_s, f"commits went on only after {min(done):.2f} s"
                return min(done)
            assert time.monotonic() - since <= within_s, f"no commit in {within_s} s: {self.store.health()}"
            await asyncio.sleep(0.01)

    async def has_seen(self, revision: int, within_s: float = 10.0) -> None:
        """Wait until the watch has told this revision."""
        async with asyncio.timeout(within_s):
            while not self.seen or self.seen[-1][0] < revision:
                self.seen_more.clear()
                await self.seen_more.wait()

    def failures(self) -> list[tuple[Commit, StoreUnavailable]]:
        return [(one, one.told) for one in self.commits if isinstance(one.told, StoreUnavailable)]

    async def check(self) -> None:
        """Read all back: what was acknowledged is there, what was denied is not, and all that is was seen once."""
        last = await put(self.store, f"{PREFIX}last")
        await self.has_seen(last)
        kept = {entry.key: entry for entry in await entries(self.store, PREFIX)}
        for one in self.commits:
            found = kept.get(one.key)
            if isinstance(one.told, int):
                assert found is not None, f"{one} was acknowledged and is lost"
                assert found.mod_revision == one.told
            elif not one.told.maybe_applied:
                assert found is None, f"{one} was said not to have happened, at {one.told}"
            assert one.ended - one.began <= ANSWERED_WITHIN_S
        whole: dict[int, list[Change]] = defaultdict(list)
        for entry in kept.values():
            if self.after < entry.mod_revision <= last:
                whole[entry.mod_revision].append(Change(entry.key, entry))
        seen = [(revision, changes) for revision, changes in self.seen if revision <= last]
        assert in_order(seen) == in_order([(revision, tuple(whole[revision])) for revision in sorted(whole)])


async def renewed_since(store: Store, lease: Lease, moment: float, within_s: float = 10.0) -> None:
    """Wait until the only lease of a store, granted for 10 s, has been renewed after a moment."""
    async with asyncio.timeout(within_s):
        while store.health().gauges["lease_left_seconds"] <= 10 - (time.monotonic() - moment):
            assert not lease.lost.is_set()
            await asyncio.sleep(0.05)
    assert not lease.lost.is_set()


@asynccontextmanager
async def traffic(store: Store, *, every_s: float = 0.02) -> AsyncIterator[Traffic]:
    """Write and watch for as long as the block runs, then have everything checked."""
    made = Traffic(store, every_s, await store.revision())
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(made.watch())
        writing = group.create_task(made.write())
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            while len(made.seen) < WARM_REVISIONS:
                await asyncio.sleep(0.01)
        yield made
        made.is_over.set()
        await writing
        await made.check()
        watching.cancel()
