"""Agents, typed: where things run."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from harpoon.client.answer import Answer
from harpoon.client.caller import Caller, noun, pages
from harpoon.kit import codec
from harpoon.model.shown import AgentList, AgentObject, Revised
from harpoon.model.upkeep import Cordoning, DeathNotice, Draining, Uncordoning
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

    async def cordon(self, name: str, *, reason: str | None = None) -> Revised:
        """Have an agent take no new tasks; those that it has stay."""
        return await self._post(name, "cordon", Cordoning(reason=reason))

    async def uncordon(self, name: str) -> Revised:
        """Let an agent take new tasks again."""
        return await self._post(name, "uncordon", Uncordoning())

    async def drain(self, name: str, *, deadline: timedelta | None = None, reason: str | None = None) -> Revised:
        """Have an agent take no new tasks, and its tasks moved elsewhere; how far it is, `get` tells as ``drain``."""
        return await self._post(name, "drain", Draining(deadline=deadline, reason=reason))

    async def declare_dead(self, name: str, *, reason: str | None = None) -> Revised:
        """Say that an agent will never come back, so that what it ran may run elsewhere."""
        return await self._post(name, "declare-dead", DeathNotice(reason=reason))

    async def _post(self, name: str, action: str, order: object) -> Revised:
        return noun(Revised, await self._caller.post("agents", name, action, body=codec.dump(order)))

    async def why(self, name: str) -> Why:
        """Return why an agent is as it is."""
        return noun(Why, await self._caller.get("agents", name, "why"))


def _page(answer: Answer) -> tuple[tuple[AgentObject, ...], str | None]:
    page = noun(AgentList, answer)
    return page.items, page.continue_
