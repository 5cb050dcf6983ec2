"""Which agents there are: registered by themselves, or named in a static list and asked who they are."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from harpoon.agent.client import AgentTransport
from harpoon.control.view import ACTUAL, AGENTS, CORDONS, DEAD, DISOWNED, LINKS, View, job_key, job_key_of
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, NotFound, Unavailable
from harpoon.model.agent import Agent, LinkState
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, TaskState
from harpoon.store import settle
from harpoon.store.port import WRITES_MAX, Compare, Delete, Put, Store, StoreUnavailable

#: A listed agent that is not connected is asked again so often.
ASK_EVERY_S: Final = 2.0
#: Tries to remove an agent against others that change it.
TRIES: Final = 5
#: Word from an agent that cannot be reached all the same is taken for news so often.
COUNT_AGAIN_S: Final = 30.0

_log = structlog.get_logger(__name__)


class Roster:
    """The one writer of agents' registrations."""

    def __init__(self, store: Store, view: View, instance: str = "") -> None:
        """Make one; ``instance`` is whose it is: agents that reach it are left to it again."""
        self._store = store
        self._view = view
        self._instance = instance
        #: Agent → when word from it was taken for news last, if lately, by the event loop's clock.
        self._counted: dict[str, float] = {}

    async def register(self, agent: Agent) -> int:
        """Record an agent that announced itself; nothing is written when it is known like that.

        Raises:
            Conflict: Another agent of that name is there, or waited for, or the endpoint belongs to another name.
            StoreUnavailable: The store could not answer.
        """
        row = self._view.agents.rows.get(agent.name)
        if row is not None and row.value == agent and agent.name not in self._view.dead.rows:
            await self._count_again(agent.name)
            return row.mod_revision
        if row is not None and row.value.uid != agent.uid:
            self._check_succession(row.value)
        for other in self._view.agents.rows.values():
            if other.value.endpoint == agent.endpoint and other.value.name != agent.name:
                raise Conflict(self._taken(agent.endpoint, other.value.name))
        found = 0 if row is None else row.mod_revision
        compares = (Compare(AGENTS + agent.name, mod=found),)
        # Whoever registers is not dead, or no more.
        writes = (Put(AGENTS + agent.name, codec.dump(agent)), Delete(DEAD + agent.name))
        revision = await settle.commit(self._store, compares, writes)
        if revision is None:
            raise Conflict(f"agent {agent.name} was registered by someone else just now; try again")
        await self._view.mirror.shows(revision)
        return revision

    async def _count_again(self, name: str) -> None:
        """Have this instance count again for an agent it failed to reach: there has just been word from it.

        1. An agent's disk is full: each instance in turn fails to adopt it, and leaves it to the next. 2. It is with
        the last of them, which is cut off from it. 3. The agent is well again, and nobody else would try for minutes.
        """
        row = self._view.links.rows.get(name)
        if row is None or row.value.state is LinkState.CONNECTED or self._instance not in row.value.failed_by:
            return
        now = asyncio.get_running_loop().time()
        self._counted = {one: at for one, at in self._counted.items() if now < at + COUNT_AGAIN_S}
        if name in self._counted:
            return
        self._counted[name] = now
        failed_by = tuple(one for one in row.value.failed_by if one != self._instance)
        link = replace(row.value, failed_by=failed_by)
        # Should it be written by its holder just now, that is the newer word, and the next will come.
        is_same = Compare(LINKS + name, mod=row.mod_revision)
        # Nor is it what the agent asked for: it is registered, whatever becomes of this.
        with suppress(StoreUnavailable):
            if await self._store.commit((is_same,), (Put(LINKS + name, codec.dump(link)),)) is not None:
                _log.info("agent_counted_again", agent=name)

    async def remove(self, name: str) -> int:
        """Drop an agent that cannot be reached, with everything it reported; its tasks are taken for gone.

        Raises:
            NotFound: There is no such agent.
            Conflict: It is connected, or tasks are still placed on it.
            StoreUnavailable: The store could not answer; some of what it reported may be gone.
            Unavailable: It keeps changing.
        """
        for _ in range(TRIES):
            revision = await self._try_remove(name)
            if revision is not None:
                await self._view.mirror.shows(revision)
                return revision
        raise Unavailable(f"others keep changing agent {name}; try again")

    async def _try_remove(self, name: str) -> int | None:
        """Drop an agent that is as the view shows it; None: it is not, or somebody has just tried to reach it."""
        row = self._view.agents.rows.get(name)
        if row is None:
            raise NotFound(f"there is no agent {name}")
        if self._link_state(name) is LinkState.CONNECTED:
            raise Conflict(f"agent {name} is connected; stop it first, or it would register again")
        placed = len(self._view.placements_on(name).keys() | self._unclaimed(name))
        if placed:
            raise Conflict(
                f"{placed} tasks are still placed on agent {name}, or unclaimed, and may run there; if it will never "
                f"come back: harpoon declare-dead {name}"
            )
        told = [Delete(f"{ACTUAL}{name}/{task}") for task in self._view.tasks_on(name)]
        told += [Delete(f"{DISOWNED}{name}/{task}") for task in self._view.disowned_on(name)]
        parts = [told[start : start + WRITES_MAX] for start in range(0, len(told), WRITES_MAX)]
        # Compared each time: what the store does late is to take nothing from an agent that was registered since, nor
        # from one that was reached again, and may have been given tasks.
        link = self._view.links.rows.get(name)
        is_same = (
            Compare(AGENTS + name, mod=row.mod_revision),
            Compare(LINKS + name, mod=0 if link is None else link.mod_revision),
        )
        revision: int | None = None
        for writes in (*parts, [Delete(table + name) for table in (AGENTS, LINKS, CORDONS)]):
            revision = await self._store.commit(is_same, writes)
            if revision is None:
                await settle.see_others(self._store, self._view.mirror, is_same)
                return None
        return revision

    def _check_succession(self, former: Agent) -> None:
        """Refuse that another agent takes a name whose owner may still run what nobody else is to run."""
        name, state = former.name, self._link_state(former.name)
        told = f"another agent named {name} is {state} (uid {former.uid}); give this one another --name"
        if state is LinkState.CONNECTED:
            raise Conflict(told)
        if state is LinkState.INTERRUPTED:
            raise Conflict(f"{told}, or wait until that one is lost")
        waiting = {task for task, row in self._view.placements_on(name).items() if self._waits(row.value)}
        waiting |= self._unclaimed(name)
        if waiting:
            raise Conflict(
                f"{told}; {len(waiting)} tasks wait for that one, such as {min(waiting)}, and may still run there: "
                f"if it is gone for good: harpoon declare-dead {name}"
            )

    def _waits(self, placement: Placement) -> bool:
        if placement.is_exclusive:
            return not placement.is_denied
        job = self._view.jobs.rows.get(job_key(placement.namespace, placement.job))
        return job is not None and job.value.spec.waits_for_lost

    def _unclaimed(self, name: str) -> set[TaskId]:
        """Return the tasks of exclusive jobs that may run there though nothing places them: their slots wait."""
        told = (row.value for row in self._view.tasks_on(name).values())
        unclaimed = (task.id for task in told if task.state is TaskState.UNCLAIMED and not task.is_over)
        jobs = self._view.jobs.rows
        return {task for task in unclaimed if (job := jobs.get(job_key_of(task))) and job.value.spec.exclusive}

    def _taken(self, endpoint: str, owner: str) -> str:
        """Say whose an endpoint is, and the way out where that one is not there any more."""
        state = self._link_state(owner)
        told = f"endpoint {endpoint} belongs to agent {owner}, which is {state}"
        if state is LinkState.CONNECTED:
            return f"{told}; give this one another --listen"
        way = f"harpoon declare-dead {owner}" if self._view.placements_on(owner) else f"harpoon delete agent/{owner}"
        return f"{told}; if {owner} is gone for good, make it free: {way}"

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
