"""The holds of one kind of thing under one lease: taken many at once, renewed after an unknown outcome, given back."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from harpoon.control.means import HoldLost, Means
from harpoon.control.membership import Membership
from harpoon.control.view import AGENT_HOLDS, View
from harpoon.kit.news import News
from harpoon.store.hold import Hold, acquire, acquire_all, held, seal
from harpoon.store.port import StoreUnavailable, Trouble

#: Stands for whoever holds what this instance had under an earlier lease.
_FORMER: Final = "(a former lease)"

_log = structlog.get_logger(__name__)


class Holding:
    """What this instance holds of one kind of thing, such as agents, and what the view shows of it.

    Args:
        means: The store, and who we are.
        view: Shows the holds.
        member: Whose lease they are under.
        prefix: Of their names.
    """

    def __init__(self, means: Means, view: View, member: Membership, prefix: str = AGENT_HOLDS) -> None:
        self._prefix = prefix
        self._means = means
        self._view = view
        self._member = member
        #: The latest of each agent.
        self._holds: dict[str, Hold] = {}
        self._news = News()

    def holder(self, name: str) -> str | None:
        """Return which instance has the hold of this name, as far as is known here; None: nobody."""
        known, row = self._holds.get(name), self._view.holds.rows.get(self._full(name))
        me = self._means.instance
        if known is not None and known.token.revision > self._view.revision:
            return me
        if row is None:
            self._holds.pop(name, None)
            return None
        if row.value.instance == me and row.create_revision > self._member.joined:
            return me
        self._holds.pop(name, None)
        return _FORMER if row.value.instance == me else row.value.instance

    def shows(self, name: str, hold: Hold) -> bool:
        """Whether nobody else can have had it since a hold of it was taken, up to where the view is."""
        row = self._view.holds.rows.get(self._full(name))
        return row is not None and row.create_revision == hold.token.revision

    def has(self, name: str) -> bool:
        """Whether a hold of this name is kept here."""
        return name in self._holds

    def keep(self, name: str, hold: Hold) -> None:
        """Keep a hold as it was sealed last; nothing, if another has taken its place."""
        known = self._holds.get(name)
        if known is not None and known.token == hold.token and known.sealed < hold.sealed:
            self._holds[name] = hold

    async def take(self, names: Sequence[str]) -> dict[str, Hold]:
        """Take the holds that nobody has; return those that were taken."""
        means, member, view = self._means, self._member, self._view
        taken: dict[str, Hold] = {}
        try:
            full = [self._full(name) for name in names]
            holds = await acquire_all(means.store, member.lease, full, means.instance, view.incarnation)
            if holds is None:
                await self._take_each(names, taken)
            else:
                taken = dict(zip(names, holds, strict=True))
        except StoreUnavailable as error:
            if error.trouble in {Trouble.CLOSED, Trouble.ROLLED_BACK}:
                raise
            if self._news.is_news(str(error), asyncio.get_running_loop().time()):
                _log.warning("holds_wait_for_store", kind=self._prefix, count=len(names), reason=str(error))
        else:
            self._news.forget()
        self._holds |= taken
        return taken

    async def _take_each(self, names: Iterable[str], taken: dict[str, Hold]) -> None:
        """Take what is to be had one by one: somebody was faster with one of them, perhaps an earlier try of ours."""
        means, view, lease = self._means, self._view, self._member.lease

        async def one(name: str) -> StoreUnavailable | None:
            arguments = (means.store, lease, self._full(name), means.instance, view.incarnation)
            try:
                hold = await acquire(*arguments) or await held(*arguments)
            except StoreUnavailable as error:
                return error
            if hold is not None:
                taken[name] = hold
            return None

        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(one(name)) for name in names]
        for each in tries:
            if (error := each.result()) is not None:
                raise error

    async def renewed(self, name: str) -> Hold:
        """Return the hold to go on with, so that nothing more comes of what was written by it before.

        Raises:
            HoldLost: It is not ours any more.
            StoreUnavailable: The store could not answer.
        """
        means, known = self._means, self._holds.get(name)
        if known is None:
            hold = await held(means.store, self._member.lease, self._full(name), means.instance, self._view.incarnation)
        else:
            hold = await seal(means.store, known, means.instance)
        if hold is None:
            self._holds.pop(name, None)
            raise HoldLost(f"the hold of {self._full(name)} is gone")
        self._holds[name] = hold
        return hold

    async def give_back(self, names: Iterable[str]) -> list[str]:
        """Give holds back; return those that were."""

        async def one(name: str) -> bool:
            try:
                hold = self._holds.get(name) or await self.renewed(name)
                await hold.release(self._means.store)
            except HoldLost:
                return False
            except StoreUnavailable as error:
                _log.warning("hold_not_given_back", hold=self._full(name), reason=str(error))
                return False
            self._holds.pop(name, None)
            return True

        async with asyncio.TaskGroup() as group:
            tries = {name: group.create_task(one(name)) for name in names}
        return [name for name, task in tries.items() if task.result()]

    def _full(self, name: str) -> str:
        return self._prefix + name
