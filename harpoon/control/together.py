"""What several ledgers write in one turn of the loop, as one commit.

One request of a worker concerns runs of many shards, and each shard has a writer of its own. A store takes one commit
of twenty records in little more than the time of one, so whoever writes here waits for the end of the turn.

Each keeps its own conditions: where one of those does not hold, nobody's writes are made, and each is asked for alone.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from harpoon.store.port import COMPARES_MAX, WRITES_MAX, Compare, Put, Store, StoreUnavailable, Write

#: Turns of the loop that a worker's request takes from being woken to its claims.
FOLLOWING: Final = 6
#: Of a commit of several; one alone may be as large as the store allows.
BYTES_MAX: Final = 512 << 10


class _Share:
    """What one writer asks for, and what came of it."""

    __slots__ = ("compares", "done", "writes")

    def __init__(self, compares: Sequence[Compare], writes: Sequence[Write]) -> None:
        self.compares = compares
        self.writes = writes
        self.done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    @property
    def size(self) -> int:
        """Bytes, without keys: of those there are few."""
        return sum([len(write.value) for write in self.writes if isinstance(write, Put)])


class _Group:
    """Shares that fit into one commit."""

    def __init__(self) -> None:
        self.shares: list[_Share] = []
        self.compares: dict[Compare, None] = {}
        self.writes: list[Write] = []
        self._size = 0

    def takes(self, share: _Share) -> bool:
        """Add a share, unless it is too much."""
        size = share.size
        # Many rely on the same thing, but hardly ever in one turn: so they are counted as they come.
        is_too_much = (
            len(self.compares) + len(share.compares) > COMPARES_MAX
            or len(self.writes) + len(share.writes) > WRITES_MAX
            or self._size + size > BYTES_MAX
        )
        if is_too_much and self.shares:
            return False
        self.shares.append(share)
        self.compares.update(dict.fromkeys(share.compares))
        self.writes += share.writes
        self._size += size
        return True


class Together:
    """Commits for writers none of which writes a key that another writes or compares.

    Args:
        store: Where.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._gathering: _Group | None = None
        self._following: asyncio.Event | None = None

    async def followed(self) -> None:
        """Wait a few turns for what follows at once from what is to be written, so that it is written along with it.

        A worker that waits takes what a run begins with, say: one commit instead of two, and told that much earlier.
        """
        if self._following is not None:
            await self._following.wait()
            return
        following = self._following = asyncio.Event()
        try:
            for _ in range(FOLLOWING):
                await asyncio.sleep(0)
        finally:
            self._following = None
            following.set()
        # All go on in the same turn.
        await asyncio.sleep(0)

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        """Write as `harpoon.store.port.Store.commit` does, in one commit with what others write in this turn.

        Raises:
            ValueError: It is more than a store takes at once.
            StoreUnavailable: The store could not answer.
        """
        share, group = _Share(compares, writes), self._gathering
        if group is not None and group.takes(share):
            return await share.done
        group = self._gathering = _Group()
        group.takes(share)
        await self._lead(group)
        return share.done.result()

    async def _lead(self, group: _Group) -> None:
        """Have a group committed by whoever is the first of it."""
        is_asked = False
        try:
            await asyncio.sleep(0)
            self._leave(group)
            is_asked = True
            await self._commit(group)
        except StoreUnavailable as error:
            self._tell(group, error)
        except BaseException:
            self._leave(group)
            self._tell(group, StoreUnavailable("whoever wrote it for all has stopped", maybe_applied=is_asked))
            raise

    async def _commit(self, group: _Group) -> None:
        revision = await self.store.commit(tuple(group.compares), tuple(group.writes))
        if revision is None and len(group.shares) > 1:
            await asyncio.gather(*map(self._alone, group.shares))
            return
        for share in group.shares:
            if not share.done.done():
                share.done.set_result(revision)

    async def _alone(self, share: _Share) -> None:
        try:
            revision = await self.store.commit(share.compares, share.writes)
        except StoreUnavailable as error:
            _fail(share, error)
        else:
            if not share.done.done():
                share.done.set_result(revision)

    def _leave(self, group: _Group) -> None:
        """Let what comes from now on begin a group of its own."""
        if self._gathering is group:
            self._gathering = None

    def _tell(self, group: _Group, error: StoreUnavailable) -> None:
        for share in group.shares:
            _fail(share, error)


def _fail(share: _Share, error: StoreUnavailable) -> None:
    """Tell a writer by an error of its own: it is raised in several places."""
    if not share.done.done():
        told = StoreUnavailable(str(error), maybe_applied=error.maybe_applied, trouble=error.trouble)
        share.done.set_exception(told)
        # Whoever asked may have left.
        share.done.exception()
