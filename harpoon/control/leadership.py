"""Leading: one instance schedules for all. Whoever is fit takes the scheduler's hold when it is nobody's."""

import asyncio
from typing import Final

import structlog

from harpoon.control.bookings import Bookings
from harpoon.control.means import HoldLost, Means
from harpoon.control.membership import Membership, until
from harpoon.control.metrics import Metrics
from harpoon.control.scheduler import Scheduler
from harpoon.control.view import View
from harpoon.kit.apart import apart
from harpoon.kit.errors import leaves
from harpoon.kit.news import News
from harpoon.store.hold import SCHEDULER, Hold, acquire, held, seal
from harpoon.store.port import StoreUnavailable, Trouble
from harpoon.store.table import RowChange

#: Wait after the store could not answer, or another was faster.
RETRY_S: Final = 0.5
#: A hold that is another's is looked at again so often, even if nothing is heard of it.
LOOK_AGAIN_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Leadership:
    """Schedules whenever it is this instance's turn."""

    def __init__(self, means: Means, metrics: Metrics, view: View, member: Membership) -> None:
        self._means = means
        self._metrics = metrics
        self._view = view
        self._member = member
        self._scheduler: Scheduler | None = None
        self._is_changed = asyncio.Event()
        self._news = News()

    @property
    def bookings(self) -> Bookings | None:
        """The index that slots are placed by, for reading; None: nothing is scheduled here."""
        return None if self._scheduler is None else self._scheduler.bookings

    async def run(self) -> None:
        """Lead whenever nobody else does, until cancelled."""
        with self._view.mirror.listening(self._hear):
            while True:
                hold = await self._take()
                if hold is not None:
                    await self._lead(hold)
                is_free = SCHEDULER not in self._view.holds.rows
                await until(self._is_changed, RETRY_S if is_free else LOOK_AGAIN_S)

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        for change in changes:
            is_ours = change.table is self._view.holds and change.key == SCHEDULER
            if is_ours or self._member.concerns(change):
                self._is_changed.set()

    async def _take(self) -> Hold | None:
        """Take the scheduler's hold if it is to be had."""
        means, view, member = self._means, self._view, self._member
        row = view.holds.rows.get(SCHEDULER)
        if member.is_others_to_lead():
            return None
        if row is not None and row.value.instance != means.instance:
            if self._news.is_news(row.value.instance, asyncio.get_running_loop().time()):
                _log.info("led_by_another", leader=row.value.instance)
            return None
        try:
            arguments = (means.store, member.lease, SCHEDULER, means.instance, view.incarnation)
            if row is None:
                return await acquire(*arguments)
            # One that shows as ours was not given back when it was left, or is a try of ours that was not told.
            hold = await held(*arguments)
            # What was written when it was ours to lead before may come yet: not behind what is decided now.
            return None if hold is None else await seal(means.store, hold, means.instance)
        except StoreUnavailable as error:
            if error.trouble in {Trouble.CLOSED, Trouble.ROLLED_BACK}:
                raise
            if self._news.is_news(str(error), asyncio.get_running_loop().time()):
                _log.warning("leading_waits_for_store", reason=str(error))
            self._is_changed.set()
            await asyncio.sleep(RETRY_S)
            return None

    async def _lead(self, hold: Hold) -> None:
        """Schedule by virtue of a hold until it is gone, or another instance is to have it."""
        self._news.forget()
        self._metrics.takeovers.labels("scheduler").inc()
        _log.info("leading", token=str(hold.token), revision=self._view.revision)
        try:
            # What was written before the hold was taken is to be known before anything is done by virtue of it.
            await self._view.mirror.reached(hold.sealed)
            self._scheduler = Scheduler(self._means, self._metrics, self._view, hold)
            await apart(self._schedule(self._scheduler))
        except* HoldLost as lost:
            reasons = sorted({str(error) for error in leaves(lost)})
            _log.warning("leading_ended", token=str(hold.token), reasons=reasons)
        finally:
            self._scheduler = None
        try:
            await hold.release(self._means.store)
        except StoreUnavailable as error:
            _log.warning("hold_not_given_back", hold=SCHEDULER, reason=str(error))

    async def _schedule(self, scheduler: Scheduler) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(scheduler.run(), name="scheduler")
            group.create_task(self._until_unfit(), name="fit")

    async def _until_unfit(self) -> None:
        while not self._member.is_others_to_lead():
            await until(self._is_changed, LOOK_AGAIN_S)
        raise HoldLost(f"it is left to others: {self._member.reason_unfit}")
