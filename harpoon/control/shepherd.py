"""The shepherd: the one interface to this instance's agents. It keeps a minder for each agent whose hold it has.

It publishes actual state. It decides neither what should run nor where; it knows what does. Which agents are this
instance's follows from who is live and fit (`core.assign`), so nobody tells it: it takes what is its own and nobody's,
and hands over, a few at a time, what is another's.

A task without a placement, as the holder's view has it, is a stray, and is stopped. So whatever a former holder started
is to be known to the next one, however far its view is behind:

1. A holds an agent, and stands still; its hold runs out. 2. B takes it. 3. A task is placed there. 4. A wakes, sees
all of that before it is told that its lease is over, and starts the task: the agent has not heard of B yet. 5. B's
view is behind, but shows that the hold is B's, which is enough to adopt the agent. B finds a task that nobody wants.

So commands are decided only on a view that shows the hold as held (`Shepherd.is_commandable`): what is started by
virtue of it was placed before it was over, and the next one was taken later. In step 4 A sees that. And an agent is
minded only once the view shows the hold (`Shepherd._mind_by`), and so all that was placed before. Neither asks the
store anything.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.holding import Holding
from harpoon.control.means import HoldLost, Means
from harpoon.control.membership import Membership, until
from harpoon.control.metrics import Metrics
from harpoon.control.minder import Minder, Wake
from harpoon.control.outbox import RETRY_S
from harpoon.control.settling import Settling
from harpoon.control.view import View
from harpoon.core import machine
from harpoon.core.assign import Verdict, owner
from harpoon.kit.errors import leaves
from harpoon.model.agent import Agent
from harpoon.model.command import Command
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Task
from harpoon.store.hold import ACQUIRED_MAX, Hold
from harpoon.store.port import StoreUnavailable
from harpoon.store.table import Row, RowChange

#: Agents looked at before others get their turn.
_SLICE: Final = 100
#: Agents that are begun to be minded in a second: each is dialled, tells all it has, and writes its token to disk.
BEGINNINGS_PER_S: Final = 2000
#: Agents begun at a time: what else is to be done has its turn before the next.
BEGUN_AT_ONCE: Final = 5
#: Agents handed over at a time, and the pause before the next: for a moment nobody commands them.
HANDED_OVER_AT_ONCE: Final = 50
HAND_OVER_AGAIN_S: Final = 0.5
#: All agents are looked at again so often, even if nothing is heard.
LOOK_AGAIN_S: Final = 30.0
#: Agents that take our token at a time.
ADOPTIONS: Final = 64

_log = structlog.get_logger(__name__)


class Shepherd:
    """Reaches every agent that this instance holds."""

    def __init__(self, means: Means, metrics: Metrics, view: View, member: Membership) -> None:
        self._means = means
        self._view = view
        #: What minders write, and begin with.
        self._told = (view.links, view.actual)
        self._member = member
        self._metrics = metrics
        self._holding = Holding(means, view, member)
        self._minders: dict[str, Minder] = {}
        self._running: dict[str, tuple[Agent, asyncio.Task[None]]] = {}
        self._wakes: list[Wake] = []
        #: Agents to be looked at.
        self._dirty: dict[str, None] = {}
        self._has_dirty = asyncio.Event()
        self._settling = Settling(means, member)
        self._adoptions = asyncio.Semaphore(ADOPTIONS)
        #: Agents of which the view showed what the store did not have: whoever minds them began with that.
        self._misled: set[str] = set()

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
        """Whether the agent is connected and has taken our token, and our hold is not over as far as the view shows.

        To be asked in the same turn in which the view is read that commands are decided on.
        """
        minder = self._minders.get(agent)
        return minder is not None and machine.commandable(minder.state) and self._holding.shows(agent, minder.hold)

    def pending(self, agent: str, tasks: Iterable[TaskId], now: Instant) -> frozenset[TaskId]:
        """Return those of an agent's tasks for which a command was sent whose effect may still be on its way."""
        state = self._minders[agent].state
        return frozenset(task for task in tasks if machine.is_pending(state, task, now))

    async def command(self, agent: str, commands: Sequence[Command]) -> None:
        """Send commands to an agent; what becomes of them shows in its tasks."""
        if self.is_commandable(agent):
            await self._minders[agent].command(commands)

    async def run(self) -> None:
        """Mind this instance's share of the agents until cancelled."""
        with self._view.mirror.listening(self._hear):
            self._see(timedelta(0))
            async with asyncio.TaskGroup() as group:
                self._look_at(self._view.agents.rows)
                while True:
                    await self._pass(group)
                    if not await until(self._has_dirty, LOOK_AGAIN_S):
                        self._look_at(self._view.agents.rows)

    # What there is to look at.

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        view = self._view
        touched: list[str] = []
        if view.mirror.is_mending:
            told = (change.key.partition("/")[0] for change in changes if change.table in self._told)
            self._misled.update(name for name in told if name in self._running)
            touched += self._misled
        claims: dict[str, set[TaskId]] = {}
        for change in changes:
            if change.table is view.instances:
                touched += view.agents.rows
                self._see(self._means.settle)
            elif change.table is view.holds:
                kind, _, name = change.key.partition("/")
                touched += [name] if kind == "agents" else []
            elif change.table is view.agents or (change.table is view.links and _failed(change.old, change.new)):
                touched.append(change.key)
            elif _claims(view, change):
                agent, _, task = change.key.partition("/")
                claims.setdefault(agent, set()).add(TaskId(task))
        self._look_at(touched)
        for agent, tasks in claims.items():
            if agent in self._minders:
                self._minders[agent].claim(frozenset(tasks))

    def _look_at(self, agents: Iterable[str]) -> None:
        before = len(self._dirty)
        self._dirty.update(dict.fromkeys(agents))
        if len(self._dirty) > before:
            self._has_dirty.set()

    def _look_later(self, agents: Iterable[str], after_s: float) -> None:
        asyncio.get_running_loop().call_later(after_s, self._look_at, tuple(agents))

    def _see(self, settle: timedelta) -> None:
        self._settling.see(settle, lambda: self._look_at(tuple(self._running)))

    # What to do about it.

    async def _pass(self, group: asyncio.TaskGroup) -> None:
        """Look at all that is dirty, and do what is to be done."""
        self._has_dirty.clear()
        dirty, self._dirty = self._dirty, {}
        able = self._member.fit()
        taken: list[str] = []
        leaving: list[str] = []
        for number, name in enumerate(dirty, 1):
            match self._judge(name, able):
                case Verdict.TAKE:
                    taken.append(name)
                case Verdict.HAND_OVER:
                    leaving.append(name)
                case Verdict.KEEP:
                    await self._keep(group, name)
                case Verdict.LEAVE:
                    await self._stop(name)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        await self._hand_over(leaving)
        await self._take(group, taken)

    def _judge(self, name: str, able: frozenset[str]) -> Verdict:
        holder = self._holding.holder(name)
        if name not in self._view.agents.rows:
            return Verdict.HAND_OVER if holder == self._means.instance else Verdict.LEAVE
        link = self._view.links.rows.get(name)
        belongs_to = owner(name, able, () if link is None else link.value.failed_by)
        return self._settling.verdict(holder, belongs_to)

    async def _take(self, group: asyncio.TaskGroup, names: Sequence[str]) -> None:
        """Take the holds of agents, a few at a time, and begin to mind them."""
        for start in range(0, len(names), ACQUIRED_MAX):
            chunk = names[start : start + ACQUIRED_MAX]
            for number, (name, hold) in enumerate((await self._holding.take(chunk)).items(), 1):
                self._metrics.takeovers.labels("agent").inc()
                _log.info("agent_held", agent=name, token=str(hold.token))
                await self._begin(group, name, hold)
                if number % BEGUN_AT_ONCE == 0:
                    await asyncio.sleep(BEGUN_AT_ONCE / BEGINNINGS_PER_S)
            missing = [name for name in chunk if name not in self._running]
            if missing:
                self._look_later(missing, RETRY_S)

    async def _keep(self, group: asyncio.TaskGroup, name: str) -> None:
        """Mind an agent as it is registered now."""
        agent = self._view.agents.rows[name].value
        running = self._running.get(name)
        if running is None or running[0] != agent or name in self._misled:
            await self._begin(group, name, None)

    async def _begin(self, group: asyncio.TaskGroup, name: str, hold: Hold | None) -> None:
        await self._stop(name)
        self._misled.discard(name)
        row = self._view.agents.rows.get(name)
        if row is not None:
            self._running[name] = (row.value, group.create_task(self._mind(row, hold), name=f"minder-{name}"))

    async def _stop(self, name: str) -> None:
        running = self._running.get(name)
        if running is not None:
            running[1].cancel()
            await asyncio.wait((running[1],))
            self._running.pop(name, None)

    async def _hand_over(self, names: Sequence[str]) -> None:
        """Give the holds of some agents back, so that those whose they are can take them."""
        now, later = names[:HANDED_OVER_AT_ONCE], names[HANDED_OVER_AT_ONCE:]
        for name in now:
            await self._stop(name)
        for name in await self._holding.give_back(now):
            self._metrics.handovers.inc()
            _log.info("agent_handed_over", agent=name)
        if later:
            self._look_later(later, HAND_OVER_AGAIN_S)
        self._look_later((name for name in now if self._holding.has(name)), RETRY_S)

    # Minding.

    async def _mind(self, row: Row[Agent], hold: Hold | None) -> None:
        """Mind one agent for as long as its hold lasts; without one given, by that which we have."""
        name = row.value.name
        try:
            await self._mind_by(row, hold or await self._holding.renewed(name))
        except* HoldLost as lost:
            reasons = sorted({str(error) for error in leaves(lost)})
            _log.warning("agent_not_held", agent=name, reasons=reasons)
            self._end(name)
        except* StoreUnavailable as error:
            _log.warning("agent_waits_for_store", agent=name, reason=str(leaves(error)[0]))
            self._end(name)

    async def _mind_by(self, row: Row[Agent], hold: Hold) -> None:
        name = row.value.name
        # What an earlier minder wrote is to be known: this one publishes what differs from the view. And all that was
        # placed before the hold was taken: an earlier one may have started it.
        await self._view.mirror.reached(hold.sealed)
        minder = Minder(
            self._means,
            self._metrics,
            self._view,
            hold,
            row,
            self._wake,
            others=lambda: self._settling.others,
            adoptions=self._adoptions,
        )
        self._minders[name] = minder
        try:
            await minder.run()
        finally:
            del self._minders[name]
            self._holding.keep(name, minder.hold)

    def _end(self, name: str) -> None:
        """Have an agent looked at again whose minder has ended by itself."""
        self._running.pop(name, None)
        self._look_later((name,), RETRY_S)

    def _wake(self, agent: str, tasks: Iterable[TaskId] | None) -> None:
        for wake in self._wakes:
            wake(agent, tasks)


def _claims(view: View, change: RowChange) -> bool:
    """Whether a change makes a record know a task of an earlier incarnation."""
    if change.new is None or change.table not in (view.disowned, view.placements):
        return False
    return change.table is view.disowned or change.new.value.incarnation < view.incarnation


def _failed(old: object, new: object) -> bool:
    """Whether the instances that failed to reach an agent are others than before."""
    before, after = (getattr(getattr(row, "value", None), "failed_by", ()) for row in (old, new))
    return bool(before != after)
