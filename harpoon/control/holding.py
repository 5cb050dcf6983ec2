"""The holds of agents under one lease: taken many at once, renewed after an unknown outcome, given back."""

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
    """What this instance holds of agents, and what the view shows of it."""

    def __init__(self, means: Means, view: View, member: Membership) -> None:
        self._means = means
        self._view = view
        self._member = member
        #: The latest of each agent.
        self._holds: dict[str, Hold] = {}
        self._news = News()

    def holder(self, agent: str) -> str | None:
        """Return which instance has the agent's hold, as far as is known here; None: nobody."""
        known, row = self._holds.get(agent), self._view.holds.rows.get(_name(agent))
        me = self._means.instance
        if known is not None and known.token.revision > self._view.revision:
            return me
        if row is None:
            self._holds.pop(agent, None)
            return None
        if row.value.instance == me and row.create_revision > self._member.joined:
            return me
        self._holds.pop(agent, None)
        return _FORMER if row.value.instance == me else row.value.instance

    def shows(self, agent: str, hold: Hold) -> bool:
        """Whether nobody else can have had the agent since a hold of it was taken, up to where the view is."""
        row = self._view.holds.rows.get(_name(agent))
        return row is not None and row.create_revision == hold.token.revision

    def has(self, agent: str) -> bool:
        """Whether a hold of the agent is kept here."""
        return agent in self._holds

    def keep(self, agent: str, hold: Hold) -> None:
        """Keep a hold as it was sealed last."""
        if agent in self._holds:
            self._holds[agent] = hold

    async def take(self, agents: Sequence[str]) -> dict[str, Hold]:
        """Take the holds of agents that nobody has; return those that were taken."""
        means, member, view = self._means, self._member, self._view
        taken: dict[str, Hold] = {}
        try:
            names = [_name(agent) for agent in agents]
            holds = await acquire_all(means.store, member.lease, names, means.instance, view.incarnation)
            if holds is None:
                await self._take_each(agents, taken)
            else:
                taken = dict(zip(agents, holds, strict=True))
        except StoreUnavailable as error:
            if error.trouble in {Trouble.CLOSED, Trouble.ROLLED_BACK}:
                raise
            if self._news.is_news(str(error), asyncio.get_running_loop().time()):
                _log.warning("agents_wait_for_store", agents=len(agents), reason=str(error))
        else:
            self._news.forget()
        self._holds |= taken
        return taken

    async def _take_each(self, agents: Iterable[str], taken: dict[str, Hold]) -> None:
        """Take what is to be had one by one: somebody was faster with one of them, perhaps an earlier try of ours."""
        means, view, lease = self._means, self._view, self._member.lease

        async def one(agent: str) -> StoreUnavailable | None:
            arguments = (means.store, lease, _name(agent), means.instance, view.incarnation)
            try:
                hold = await acquire(*arguments) or await held(*arguments)
            except StoreUnavailable as error:
                return error
            if hold is not None:
                taken[agent] = hold
            return None

        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(one(agent)) for agent in agents]
        for each in tries:
            if (error := each.result()) is not None:
                raise error

    async def renewed(self, agent: str) -> Hold:
        """Return the hold to go on with, so that nothing more comes of what was written by it before.

        Raises:
            HoldLost: It is not ours any more.
            StoreUnavailable: The store could not answer.
        """
        means, known = self._means, self._holds.get(agent)
        if known is None:
            hold = await held(means.store, self._member.lease, _name(agent), means.instance, self._view.incarnation)
        else:
            hold = await seal(means.store, known, means.instance)
        if hold is None:
            self._holds.pop(agent, None)
            raise HoldLost(f"the hold of agent {agent} is gone")
        self._holds[agent] = hold
        return hold

    async def give_back(self, agents: Iterable[str]) -> list[str]:
        """Give holds back; return the agents whose were."""

        async def one(agent: str) -> bool:
            try:
                hold = self._holds.get(agent) or await self.renewed(agent)
                await hold.release(self._means.store)
            except HoldLost:
                return False
            except StoreUnavailable as error:
                _log.warning("hold_not_given_back", agent=agent, reason=str(error))
                return False
            self._holds.pop(agent, None)
            return True

        async with asyncio.TaskGroup() as group:
            tries = {agent: group.create_task(one(agent)) for agent in agents}
        return [agent for agent, task in tries.items() if task.result()]


def _name(agent: str) -> str:
    return AGENT_HOLDS + agent
