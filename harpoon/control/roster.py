"""Which agents there are: registered by themselves, or named in a static list and asked who they are."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from harpoon.agent.client import AgentTransport
from harpoon.control.view import ACTUAL, AGENTS, LINKS, View
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, NotFound, Unavailable
from harpoon.model.agent import Agent, LinkState
from harpoon.store import settle
from harpoon.store.port import WRITES_MAX, Compare, Delete, Put, Store, StoreUnavailable

#: A listed agent that is not connected is asked again so often.
ASK_EVERY_S: Final = 2.0

_log = structlog.get_logger(__name__)


class Roster:
    """The one writer of agents' registrations."""

    def __init__(self, store: Store, view: View) -> None:
        self._store = store
        self._view = view

    async def register(self, agent: Agent) -> int:
        """Record an agent that announced itself; nothing is written when it is known like that.

        Raises:
            Conflict: Another agent of that name is connected or has exclusive tasks, or the endpoint is another's.
            StoreUnavailable: The store could not answer.
        """
        row = self._view.agents.rows.get(agent.name)
        if row is not None and row.value == agent:
            return row.mod_revision
        if row is not None and row.value.uid != agent.uid and self._link_state(agent.name) is LinkState.CONNECTED:
            raise Conflict(
                f"another agent named {agent.name} is connected (uid {row.value.uid}); give this one another --name"
            )
        if row is not None and row.value.uid != agent.uid:
            # Its tasks may run on, and the new one would start them a second time.
            self._check_free(agent.name, f"agent {agent.name} is known with another state directory ({row.value.uid})")
        for other in self._view.agents.rows.values():
            if other.value.endpoint == agent.endpoint and other.value.name != agent.name:
                raise Conflict(f"endpoint {agent.endpoint} belongs to agent {other.value.name}")
        found = 0 if row is None else row.mod_revision
        compares = (Compare(AGENTS + agent.name, mod=found),)
        revision = await settle.commit(self._store, compares, (Put(AGENTS + agent.name, codec.dump(agent)),))
        if revision is None:
            raise Conflict(f"agent {agent.name} was registered by someone else just now; try again")
        await self._view.mirror.shows(revision)
        return revision

    async def remove(self, name: str) -> int:
        """Drop an agent that cannot be reached, with everything it reported; its tasks are taken for gone.

        Raises:
            NotFound: There is no such agent.
            Conflict: It is connected, or has exclusive tasks.
            StoreUnavailable: The store could not answer; some of what it reported may be gone.
        """
        row = self._view.agents.rows.get(name)
        if row is None:
            raise NotFound(f"there is no agent {name}")
        if self._link_state(name) is LinkState.CONNECTED:
            raise Conflict(f"agent {name} is connected; stop it first, or it would register again")
        self._check_free(name, f"agent {name} cannot be reached")
        told = [Delete(f"{ACTUAL}{name}/{task}") for task in self._view.tasks_on(name)]
        parts = [told[start : start + WRITES_MAX] for start in range(0, len(told), WRITES_MAX)]
        # Compared each time: what the store does late is to take nothing from an agent that was registered since.
        is_same = Compare(AGENTS + name, mod=row.mod_revision)
        revision: int | None = None
        for writes in (*parts, [Delete(AGENTS + name), Delete(LINKS + name)]):
            revision = await self._store.commit((is_same,), writes)
            if revision is None:
                raise Conflict(f"agent {name} changed just now; look again")
        assert revision is not None, "the last of them was committed"
        await self._view.mirror.shows(revision)
        return revision

    def _check_free(self, name: str, why: str) -> None:
        """Refuse to take an agent for gone while tasks of it might be started elsewhere that must not run twice.

        Raises:
            Conflict: It has such tasks.
        """
        rows = self._view.placements_on(name)
        exclusive = sorted(task for task, row in rows.items() if row.value.is_exclusive and not row.value.is_denied)
        if exclusive:
            more = f" and {len(exclusive) - 1} more of exclusive jobs" if len(exclusive) > 1 else " of an exclusive job"
            raise Conflict(
                f"{why}, and {exclusive[0]}{more} may still run there; if it will never come back: "
                f"harpoon declare-dead {name}"
            )

    def _link_state(self, agent: str) -> LinkState:
        row = self._view.links.rows.get(agent)
        return LinkState.UNKNOWN if row is None else row.value.state

    async def follow(self, listed: Mapping[str, str], connect: Callable[[str], AgentTransport]) -> None:
        """Keep the agents of a static list registered, by asking each that is not connected who it is.

        Args:
            listed: Agent → endpoint.
            connect: Opens the way to an endpoint.
        """
        told: dict[str, str] = {}
        while True:
            for name, endpoint in listed.items():
                if self._link_state(name) is not LinkState.CONNECTED:
                    reason = await self._ask(name, endpoint, connect(endpoint))
                    if reason and told.get(name) != reason:
                        _log.warning("listed_agent_missing", agent=name, reason=reason)
                    told[name] = reason
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self, name: str, endpoint: str, transport: AgentTransport) -> str:
        """Register the agent at an endpoint; return what is in the way, or nothing."""
        try:
            agent = await transport.describe()
            if agent.name != name:
                return f"the agent at {endpoint} calls itself {agent.name}"
            await self.register(replace(agent, endpoint=endpoint))
        except (Unavailable, Conflict, StoreUnavailable) as error:
            return str(error)
        return ""
