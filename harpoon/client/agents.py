"""Agents, typed: where things run."""

from collections.abc import AsyncIterator, Sequence

from harpoon.client.answer import Answer
from harpoon.client.caller import Caller, noun, pages
from harpoon.model.shown import AgentList, AgentObject, Revised
from harpoon.model.why import Why


class Agents:
    """The agents of one server; errors are those of `Jobs`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, name: str) -> AgentObject:
        """Return an agent."""
        return noun(AgentObject, await self._caller.get("agents", name))

    def list(self, *, tags: Sequence[str] = ()) -> AsyncIterator[AgentObject]:
        """Yield agents with all of these tags (``key=value``)."""
        return pages(self._caller, ("agents",), {"tag": tags}, _page)

    async def delete(self, name: str) -> Revised:
        """Forget an agent that is not connected."""
        return noun(Revised, await self._caller.delete("agents", name))

    async def why(self, name: str) -> Why:
        """Return why an agent is as it is."""
        return noun(Why, await self._caller.get("agents", name, "why"))


def _page(answer: Answer) -> tuple[tuple[AgentObject, ...], str | None]:
    page = noun(AgentList, answer)
    return page.items, page.continue_
