"""The shepherd: the one interface to all agents. It keeps a minder for each registered agent.

It publishes actual state. It decides neither what should run nor where; it knows what does.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog

from harpoon.control.means import HoldLost, Means
from harpoon.control.metrics import Metrics
from harpoon.control.minder import RETRY_S, Minder, Wake
from harpoon.control.view import View
from harpoon.core import machine
from harpoon.kit.news import News
from harpoon.model.agent import Agent
from harpoon.model.command import Command
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Task
from harpoon.store.hold import Hold, acquire, held, holder, seal
from harpoon.store.port import Lease, StoreUnavailable
from harpoon.store.table import RowChange

_log = structlog.get_logger(__name__)


class Shepherd:
    """Reaches every agent that this instance holds."""

    def __init__(self, means: Means, metrics: Metrics, view: View, lease: Lease) -> None:
        self._means = means
        self._view = view
        self._lease = lease
        self._metrics = metrics
        self._minders: dict[str, Minder] = {}
        self._running: dict[str, tuple[Agent, asyncio.Task[None]]] = {}
        #: The latest of each agent; kept when its minder ends.
        self._holds: dict[str, Hold] = {}
        self._wakes: list[Wake] = []
        self._is_changed = asyncio.Event()

    def listen(self, wake: Wake) -> None:
        """Have ``wake(agent, tasks)`` called when tasks of an agent may differ from what is desired."""
        self._wakes.append(wake)

    def agents(self) -> Iterable[str]:
        """Return the agents minded here."""
        return tuple(self._minders)

    def tasks(self, agent: str) -> Mapping[TaskId, Task]:
        """Return the tasks of an agent as it told them last; complete once it is commandable."""
        return self._minders[agent].state.tasks

    def is_commandable(self, agent: str) -> bool:
        """Whether the agent is connected and has taken our token."""
        minder = self._minders.get(agent)
        return minder is not None and machine.commandable(minder.state)

    def pending(self, agent: str, tasks: Iterable[TaskId], now: Instant) -> frozenset[TaskId]:
        """Return those of an agent's tasks for which a command was sent whose effect may still be on its way."""
        state = self._minders[agent].state
        return frozenset(task for task in tasks if machine.is_pending(state, task, now))

    async def command(self, agent: str, commands: Sequence[Command]) -> None:
        """Send commands to an agent; what becomes of them shows in its tasks."""
        minder = self._minders.get(agent)
        if minder is not None and machine.commandable(minder.state):
            await minder.command(commands)

    async def run(self) -> None:
        """Mind all registered agents until cancelled.

        Raises:
            HoldLost: The hold of an agent is gone.
        """
        with self._view.mirror.listening(self._hear):
            async with asyncio.TaskGroup() as group:
                while True:
                    self._is_changed.clear()
                    await self._reconcile(group)
                    await self._is_changed.wait()

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        view, claims = self._view, dict[str, set[TaskId]]()
        for change in changes:
            if change.table is view.agents:
                self._is_changed.set()
            elif change.new is not None and (
                change.table is view.disowned
                or (change.table is view.placements and change.new.value.incarnation < view.incarnation)
            ):
                agent, _, task = change.key.partition("/")
                claims.setdefault(agent, set()).add(TaskId(task))
        for agent, tasks in claims.items():
            if agent in self._minders:
                self._minders[agent].claim(frozenset(tasks))

    async def _reconcile(self, group: asyncio.TaskGroup) -> None:
        wanted = {name: row.value for name, row in self._view.agents.rows.items()}
        for name, (agent, task) in tuple(self._running.items()):
            if wanted.get(name) != agent:
                task.cancel()
                await asyncio.wait((task,))
                del self._running[name]
        for name, agent in wanted.items():
            if name not in self._running:
                self._running[name] = (agent, group.create_task(self._mind(agent), name=f"minder-{name}"))

    async def _mind(self, agent: Agent) -> None:
        hold = await self._take(agent.name)
        # What an earlier minder wrote is to be known: this one publishes what differs from the view.
        await self._view.mirror.reached(hold.sealed)
        minder = Minder(self._means, self._metrics, self._view, hold, agent, self._wake)
        self._minders[agent.name] = minder
        try:
            await minder.run()
        finally:
            del self._minders[agent.name]
            self._holds[agent.name] = minder.hold

    async def _take(self, name: str) -> Hold:
        """Take the hold of an agent; if it was taken in this term, so that nothing more comes of what was written."""
        news = News()
        while True:
            try:
                hold = await self._try(name)
            except StoreUnavailable as error:
                if news.is_news(str(error), asyncio.get_running_loop().time()):
                    _log.warning("agent_waits_for_store", agent=name, reason=str(error))
            else:
                if hold is not None:
                    self._holds[name] = hold
                    _log.info("agent_held", agent=name, token=str(hold.token))
                    return hold
            await asyncio.sleep(RETRY_S)

    async def _try(self, name: str) -> Hold | None:
        """Try to take the hold; None: it is nobody's, or of a try of ours that came late.

        Raises:
            HoldLost: It is another instance's.
        """
        means, incarnation, key = self._means, self._view.incarnation, f"agents/{name}"
        if name in self._holds:
            hold = await seal(means.store, self._holds[name], means.instance)
        else:
            hold = await acquire(means.store, self._lease, key, means.instance, incarnation)
            # An earlier try may have come so far, and not have been told.
            hold = hold or await held(means.store, self._lease, key, means.instance, incarnation)
        if hold is None:
            self._holds.pop(name, None)
            entry = await holder(means.store, key)
            if entry is not None and entry.value != means.instance.encode():
                raise HoldLost(f"instance {entry.value.decode(errors='replace')} holds agent {name}")
        return hold

    def _wake(self, agent: str, tasks: Iterable[TaskId] | None) -> None:
        for wake in self._wakes:
            wake(agent, tasks)
