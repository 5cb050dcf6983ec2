"""The stores that must pass `test_contract*`. A further one is named in `IMPLEMENTATIONS`, and nowhere else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from harpoon.model.instant import Instant
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put, Store
from harpoon.store.sqlite import SqliteStore


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.elapsed = timedelta(hours=1)

    def now(self) -> Instant:
        return Instant(elapsed=self.elapsed, wall=self.elapsed // timedelta(milliseconds=1))

    def advance(self, span: timedelta) -> None:
        self.elapsed += span


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One kind of store, and what a test cannot do through its contract."""

    name: str
    #: Open what is kept under a folder.
    open: Callable[[Path, HandClock], Awaitable[Store]]
    #: Let more time pass than any lease has, with nobody renewing.
    outlast_leases: Callable[[Store, HandClock], Awaitable[None]]
    #: Whether what was committed is still there when it is opened again.
    is_durable: bool

    def __str__(self) -> str:
        return self.name


async def _stand_still(store: Store, clock: HandClock) -> None:
    """Leases renew themselves unless the process stands still; so that is what it looks like it did."""
    clock.advance(timedelta(hours=1))
    await store.commit((), (Put("/awake", b""),))


async def _open_memory(_folder: Path, clock: HandClock) -> Store:
    return MemoryStore(clock=clock)


async def _open_sqlite(folder: Path, clock: HandClock) -> Store:
    return await SqliteStore.open(folder / "store.db", clock=clock, synchronous="NORMAL")


IMPLEMENTATIONS = (
    Implementation(name="memory", open=_open_memory, outlast_leases=_stand_still, is_durable=False),
    Implementation(name="sqlite", open=_open_sqlite, outlast_leases=_stand_still, is_durable=True),
)
