"""A lease as its holder has it: renewed by a task of the instance, counted by its clock as `harpoon.store.renewing` says."""

import asyncio
from typing import TYPE_CHECKING

from harpoon.store.port import Renewal, StoreUnavailable
from harpoon.store.renewing import AGAIN_S, counted, patience
from tests.sim.asking import AT
from tests.sim.lost import Lost

if TYPE_CHECKING:
    from tests.sim.way import SimWay


class SimLease:
    """See the module; `EtcdLease` with its part of the keeper, whose thread is a task here."""

    def __init__(self, way: "SimWay", number: int, ttl_s: int, sent: float, renewal: Renewal) -> None:
        self.lost = asyncio.Event()
        self.number = number
        self.ttl_s = ttl_s
        self._way = way
        self._renewal = renewal
        self.until, self.due = counted(sent, ttl_s, renewal)
        self._timer: asyncio.TimerHandle | None = None
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Renew it from now on."""
        self._watch_end()
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="lease-keeper")

    def stop(self) -> None:
        """Renew it no longer; its holder is told when it ends."""
        if self._keeping is not None and self._keeping is not asyncio.current_task():
            self._keeping.cancel()

    async def revoke(self) -> None:
        """End the lease now and delete its keys; nothing when it is over."""
        await self._way.revoke(self)

    def end(self) -> None:
        """Tell the holder that it is over, or may be."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._way.leases.pop(self.number, None)
        self.lost.set()

    def _watch_end(self) -> None:
        """Tell the holder when the lease may be over; again after each renewal."""
        if self._timer is not None:
            self._timer.cancel()
        left = self.until - self._way.elapsed()
        if left <= 0 and not self.lost.is_set():
            is_kept = self.number in self._way.store.leases
            self._way.happened["lease lapsed while it was kept" if is_kept else "lease lapsed"] += 1
            self.end()
        elif not self.lost.is_set():
            # A moment of a clock is told in whole microseconds, a loop's time is not.
            self._timer = asyncio.get_running_loop().call_later(max(left, 1e-6), self._watch_end)

    async def _keep(self) -> None:
        """Renew whenever it is due."""
        within = patience(self.ttl_s)
        while not self.lost.is_set():
            await asyncio.sleep(self.due - self._way.elapsed())
            sent = self._way.elapsed()
            try:
                left_s = await self._way.net.call(
                    AT, lambda: self._way.store.serve_keep_alive(self.number), connect_s=within, within_s=within
                )
            except (Lost, StoreUnavailable):
                self._way.happened["lease not renewed"] += 1
                self.due = self._way.elapsed() + AGAIN_S
                continue
            if left_s <= 0:
                self._way.happened["lease found to be gone"] += 1
                self.end()
                return
            self.until, self.due = counted(sent, left_s, self._renewal)
            self._watch_end()
