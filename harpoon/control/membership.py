"""An instance's membership: the one lease it has, and the record under it that tells the others of it.

Whatever this instance holds is under this lease, so all of it is lost together, and given back together.
"""

import asyncio
from dataclasses import replace
from typing import Self

import structlog

from harpoon import __version__
from harpoon.control.means import HoldLost, Means
from harpoon.control.view import View
from harpoon.core.assign import fit
from harpoon.kit import codec
from harpoon.model.instance import Instance
from harpoon.store.hold import INSTANCES
from harpoon.store.port import Lease, Put, StoreUnavailable
from harpoon.store.table import RowChange

_log = structlog.get_logger(__name__)


class Membership:
    """One instance among those that are live; made by `join`."""

    def __init__(self, means: Means, view: View, lease: Lease, record: Instance) -> None:
        self.lease = lease
        #: The revision at which it joined; what it holds was taken later.
        self.joined = 0
        #: The revision at which it told last how fit it is.
        self.declared = 0
        self.instance = means.instance
        self._means = means
        self._view = view
        self._record = record

    @classmethod
    async def join(cls, means: Means, view: View, lease: Lease) -> Self:
        """Tell the others of this instance.

        Raises:
            StoreUnavailable: The store could not answer; revoke the lease before trying again with another.
        """
        record = Instance(
            name=means.instance, url=means.url, version=__version__, since_ms=means.clock.now().wall, unfit=""
        )
        member = cls(means, view, lease, record)
        member.joined = await member._write(record)
        return member

    @property
    def reason_unfit(self) -> str:
        """Why this instance takes no holds; empty: it does."""
        return self._record.unfit

    def fit(self) -> frozenset[str]:
        """Return the instances that may take holds, as all of them see it."""
        return fit({name: row.value for name, row in self._view.instances.rows.items()})

    def is_others_to_lead(self) -> bool:
        """Whether this instance is to leave to others what only one can have."""
        return self.instance not in (able := self.fit()) and bool(able)

    async def declare(self, unfit: str) -> None:
        """Tell the others why this instance takes no holds, or that it does.

        Raises:
            HoldLost: The lease is over.
            StoreUnavailable: The store could not answer; it is to be told again.
        """
        record, row = replace(self._record, unfit=unfit), self._view.instances.rows.get(self.instance)
        # A write of which nobody knew may have happened behind a later one.
        if record == self._record and (row is None or row.value == record):
            return
        try:
            self.declared = await self._write(record)
        except StoreUnavailable:
            if self.lease.lost.is_set():
                raise HoldLost("the lease of this instance was lost") from None
            raise
        is_news, self._record = record != self._record, record
        if not is_news:
            return
        if unfit:
            _log.warning("holds_declined", instance=self.instance, reason=unfit)
        else:
            _log.info("holds_taken_again", instance=self.instance)

    def concerns(self, change: RowChange) -> bool:
        """Whether a change is one of who is live and fit."""
        return change.table is self._view.instances

    async def guard(self) -> None:
        """Wait for the end of it.

        Raises:
            HoldLost: The lease is over.
        """
        await self.lease.lost.wait()
        raise HoldLost("the lease of this instance was lost")

    async def _write(self, record: Instance) -> int:
        # Nobody else writes this key, so there is nothing to compare.
        revision = await self._means.store.commit((), (Put(INSTANCES + record.name, codec.dump(record), self.lease),))
        assert revision is not None, "a commit without compares fails by none"
        return revision


async def until(event: asyncio.Event, span_s: float) -> bool:
    """Wait for an event, but for so long at most, and clear it; return whether it happened."""
    try:
        async with asyncio.timeout(span_s):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
