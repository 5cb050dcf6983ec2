"""The stores that must pass `test_contract*`. A further one is named in `IMPLEMENTATIONS`, and nowhere else."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from harpoon.kit.clock import Random, SystemClock
from harpoon.model.instant import Instant
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put, Store
from harpoon.store.sqlite import SqliteStore
from harpoon.store.url import EtcdUrl, parse_url
from tests.etcd.members import Member
from tests.sim.store import SimStore
from tests.sim.straight import StraightNet
from tests.sim.way import SimWay

EXPIRED_WITHIN_S = 15.0


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.elapsed = timedelta(hours=1)

    def now(self) -> Instant:
        return Instant(elapsed=self.elapsed, wall=self.elapsed // timedelta(milliseconds=1))

    def advance(self, span: timedelta) -> None:
        self.elapsed += span


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a test's store stands on."""

    folder: Path
    clock: HandClock = field(default_factory=HandClock)
    #: With nothing in it when the test begins; only for kinds that need it.
    etcd: Member | None = None


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One kind of store, what a test cannot do through its contract, and where the contract leaves it a choice."""

    name: str
    #: Open what is kept on a ground.
    open: Callable[[Ground], Awaitable[Store]]
    #: Let more time pass than any lease has, with nobody renewing.
    outlast_leases: Callable[[Store, Ground], Awaitable[None]]
    #: Whether what was committed is still there when it is opened again.
    is_durable: bool
    #: Whether it is kept by an etcd, which the ground then has.
    is_on_etcd: bool = False
    #: What a lease of hardly any time lasts.
    shortest_lease_s: float = 0.2
    #: Whether commits in flight at once are done one after another, as they were begun, each at a revision of its own.
    is_one_by_one: bool = True
    #: Whether a watcher that falls behind is cut off for certain; otherwise it may be told everything as well.
    cuts_slow_watchers: bool = True
    #: Whether a watch tells of revisions that had nothing under its prefix; otherwise it may leave them out.
    tells_of_others: bool = True
    #: Whether leases are over, and their keys gone, when `close` returns; otherwise, when the store is opened again.
    revokes_on_close: bool = False

    def __str__(self) -> str:
        return self.name


async def _stand_still(store: Store, ground: Ground) -> None:
    """Leases renew themselves unless the process stands still; so that is what it looks like it did."""
    ground.clock.advance(timedelta(hours=1))
    await store.commit((), (Put("/awake", b""),))


async def _renew_no_more(store: Store, ground: Ground) -> None:
    """Leases of etcd run out where it is, whatever is thought of them here."""
    assert ground.etcd is not None
    store._keeper.pause()
    until = time.monotonic() + EXPIRED_WITHIN_S
    while ground.etcd.ask("lease/leases", {}).get("leases"):
        assert time.monotonic() < until, "etcd keeps leases that nobody renews"
        await asyncio.sleep(0.05)


async def _open_memory(ground: Ground) -> Store:
    return MemoryStore(clock=ground.clock)


async def _open_simulated(ground: Ground) -> Store:
    clock, rng = SystemClock(), Random(1)
    return SimWay(SimStore(clock, rng), StraightNet(), clock=clock, rng=rng)


async def _renew_simulated_no_more(store: Store, ground: Ground) -> None:
    assert isinstance(store, SimWay)
    for lease in store.leases.values():
        lease.stop()
    async with asyncio.timeout(EXPIRED_WITHIN_S):
        while store.store.leases:
            await asyncio.sleep(0.05)


async def _open_sqlite(ground: Ground) -> Store:
    return await SqliteStore.open(ground.folder / "store.db", clock=ground.clock, synchronous="NORMAL")


async def _open_etcd(ground: Ground) -> Store:
    from harpoon.store.etcd.store import EtcdStore

    assert ground.etcd is not None
    url = parse_url(ground.etcd.url)
    assert isinstance(url, EtcdUrl)
    return await EtcdStore.open(url, clock=SystemClock())


MEMORY = Implementation(name="memory", open=_open_memory, outlast_leases=_stand_still, is_durable=False)
SQLITE = Implementation(name="sqlite", open=_open_sqlite, outlast_leases=_stand_still, is_durable=True)
ETCD = Implementation(
    name="etcd",
    open=_open_etcd,
    outlast_leases=_renew_no_more,
    is_durable=True,
    is_on_etcd=True,
    shortest_lease_s=2.0,
    is_one_by_one=False,
    cuts_slow_watchers=False,
    tells_of_others=False,
    revokes_on_close=True,
)
SIMULATED = Implementation(
    name="simulated",
    open=_open_simulated,
    outlast_leases=_renew_simulated_no_more,
    is_durable=False,
    shortest_lease_s=2.0,
    cuts_slow_watchers=False,
    tells_of_others=False,
)
IMPLEMENTATIONS = (MEMORY, SQLITE, ETCD, SIMULATED)
