"""What several ledgers write, as one commit.

One request of a worker concerns runs of many shards, and each shard has a ledger of its own. A store takes one commit
of twenty records in little more than the time of one, and one writer takes less time than twenty that wake in turn. So
a ledger that has something to write says so here, and is asked for it a few turns of the loop later.

Each keeps its own conditions: where one of those does not hold, nobody's writes are made; and what became of a commit
may not be known. Then each is told, and makes what is its own durable by itself.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Final, NamedTuple, Protocol

from harpoon.control.turns import Turns
from harpoon.store.port import COMPARES_MAX, WRITES_MAX, Compare, Put, Store, StoreUnavailable, Write

#: Turns of the loop that a worker's request takes from being woken to its claims: what follows at once from what is
#: to be written is written along with it.
FOLLOWING: Final = 6
#: Of a commit of several; one alone may be as large as the store allows.
BYTES_MAX: Final = 512 << 10


class Flight(NamedTuple):
    """What one ledger has written by one commit."""

    compares: Sequence[Compare]
    writes: Sequence[Write]

    @property
    def size(self) -> int:
        """Bytes, without keys: of those there are few."""
        return sum([len(write.value) for write in self.writes if isinstance(write, Put)])


class Author(Protocol):
    """A ledger, as far as it writes with others: one flight at a time."""

    def flight(self) -> Flight | None:
        """Return what is to be written now; None: nothing, or nothing that goes with others."""

    def landed(self, revision: int) -> None:
        """Take note that the flight is durable."""

    def failed(self, error: StoreUnavailable | None) -> None:
        """Take note that it is not, or may not be; None: a condition did not hold, of this flight or of another."""


class _Group:
    """Flights that fit into one commit."""

    def __init__(self) -> None:
        self.authors: list[Author] = []
        self.compares: dict[Compare, None] = {}
        self.writes: list[Write] = []
        self._size = 0

    def takes(self, author: Author, flight: Flight) -> bool:
        """Add a flight, unless it is too much."""
        size = flight.size
        # Many rely on the same thing, but hardly ever at once: so they are counted as they come.
        is_too_much = (
            len(self.compares) + len(flight.compares) > COMPARES_MAX
            or len(self.writes) + len(flight.writes) > WRITES_MAX
            or self._size + size > BYTES_MAX
        )
        if is_too_much and self.authors:
            return False
        self.authors.append(author)
        self.compares.update(dict.fromkeys(flight.compares))
        self.writes += flight.writes
        self._size += size
        return True


class Together:
    """Commits for ledgers none of which writes a key that another writes or compares.

    Args:
        store: Where.
        turns: What may be done in one turn.
    """

    def __init__(self, store: Store, turns: Turns) -> None:
        self.store = store
        self._turns = turns
        #: Those that have something to write; a dict for its order.
        self._fed: dict[Author, None] = {}
        self._is_gathering = False
        self._rounds: set[asyncio.Task[None]] = set()

    def feed(self, author: Author) -> None:
        """Have a ledger asked for its flight soon."""
        self._fed[author] = None
        if not self._is_gathering:
            self._is_gathering = True
            self._begin(self._gather())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)

    async def _gather(self) -> None:
        """Ask everybody who has something to write, and have it written."""
        group = _Group()
        try:
            for _ in range(FOLLOWING):
                await asyncio.sleep(0)
            while self._fed:
                if self._turns.is_spent:
                    await self._turns.wait()
                author = next(iter(self._fed))
                del self._fed[author]
                flight = author.flight()
                if flight is not None and not group.takes(author, flight):
                    self._begin(self._commit(group))
                    group = _Group()
                    group.takes(author, flight)
        finally:
            self._is_gathering = False
        if group.authors:
            await self._commit(group)

    async def _commit(self, group: _Group) -> None:
        error: StoreUnavailable | None = None
        try:
            revision = await self.store.commit(tuple(group.compares), tuple(group.writes))
        except StoreUnavailable as raised:
            error, revision = raised, None
        except BaseException:
            error = StoreUnavailable("whoever wrote it for all has stopped", maybe_applied=True)
            _tell(group, error)
            raise
        if revision is None:
            _tell(group, error)
            return
        for author in group.authors:
            if self._turns.is_spent:
                await self._turns.wait()
            author.landed(revision)


def _tell(group: _Group, error: StoreUnavailable | None) -> None:
    for author in group.authors:
        # It is raised in several places, so each has one of its own.
        author.failed(
            None
            if error is None
            else StoreUnavailable(str(error), maybe_applied=error.maybe_applied, trouble=error.trouble)
        )
