"""The transformer: desired minus actual of each agent, as commands. It reads placements and machines, never jobs.

Only tasks that changed since the last pass are compared, so a change costs what it touches; every resync compares
all tasks of each agent. A command that was sent is not sent again before the agent shows its effect or a deadline
has passed; that memory belongs to the machine (`core.machine`), not to this loop.

An agent that is slow to answer is left to it, and compared again after that; meanwhile the others are commanded.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog

from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.shepherd import Shepherd
from harpoon.control.view import View
from harpoon.core.transform import Desired, transform
from harpoon.kit.loop import Loop
from harpoon.model.command import Command
from harpoon.model.name import TaskId
from harpoon.model.task import Placement
from harpoon.store.table import Row, RowChange

#: Commands of one request to an agent: templates make them large, and results should not wait for thousands.
COMMANDS_AT_ONCE: Final = 250
#: Agents commanded together are waited for so long, lest many are asked at once.
PATIENCE_S: Final = 0.5

_log = structlog.get_logger(__name__)


class Transformer:
    """Commands every agent that this instance holds."""

    def __init__(self, means: Means, metrics: Metrics, view: View, shepherd: Shepherd) -> None:
        self._view = view
        self._shepherd = shepherd
        self._clock = means.clock
        #: Agent → tasks to compare; None: all of them.
        self._dirty: dict[str, set[TaskId] | None] = {}
        #: Agents that are being commanded.
        self._busy: set[str] = set()
        #: What was left to such as are slow.
        self._slow: set[asyncio.Task[Exception | None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._loop: Loop[str] = Loop(
            "transformer",
            self._handle,
            self._everything,
            rng=means.rng,
            failures=metrics.passes_failed.labels("transformer"),
            pace=means.pace,
        )

    async def run(self) -> None:
        """Compare and command until cancelled."""
        self._shepherd.listen(self.wake)
        with self._view.mirror.listening(self._hear):
            async with asyncio.TaskGroup() as self._group:
                await self._loop.run()

    def wake(self, agent: str, tasks: Iterable[TaskId] | None) -> None:
        """Have these tasks of an agent compared soon; None: all of them."""
        dirty = self._dirty.get(agent, set())
        if tasks is None:
            self._dirty[agent] = None
            self._loop.wake_later(agent)
            return
        if dirty is not None:
            dirty.update(tasks)
            self._dirty[agent] = dirty
        self._loop.wake(agent)

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        touched: dict[str, list[TaskId]] = {}
        for change in changes:
            if change.table is self._view.placements:
                agent, _, task = change.key.partition("/")
                touched.setdefault(agent, []).append(TaskId(task))
            elif change.table is self._view.batches and change.old is not None:
                for one in change.old.value.results:
                    # What is noted no longer is to be forgotten.
                    if not self._view.is_noted(one.task):
                        touched.setdefault(one.agent, []).append(one.task)
        for agent, tasks in touched.items():
            self.wake(agent, tasks)

    def _everything(self) -> Iterable[str]:
        for agent in self._shepherd.agents():
            self._dirty[agent] = None
            yield agent

    async def _handle(self, agents: Sequence[str]) -> None:
        assert self._group is not None
        # One that is busy is woken once it no longer is.
        idle = [agent for agent in agents if agent not in self._busy]
        self._busy.update(idle)
        begun = [self._group.create_task(self._attend(agent), name=f"command-{agent}") for agent in idle]
        if begun:
            _, slow = await asyncio.wait(begun, timeout=PATIENCE_S)
            self._slow |= slow
            begun = [task for task in (*begun, *self._slow) if task.done()]
            self._slow.difference_update(begun)
            for task in begun:
                if (error := task.result()) is not None:
                    raise error

    async def _attend(self, agent: str) -> Exception | None:
        """Bring one agent up to date; return what that failed by: the others go on."""
        try:
            await self._reconcile(agent)
        except Exception as error:  # noqa: BLE001 as in the loop, which tells of it, and tries again
            return error
        finally:
            self._busy.discard(agent)
            if agent in self._dirty:
                self._loop.wake(agent)
        return None

    async def _reconcile(self, agent: str) -> None:
        tasks = self._dirty.pop(agent, set())
        # An agent that cannot be commanded now is compared whole when it can be again. Asked in the turn in which the
        # view is read: see the shepherd.
        if not self._shepherd.is_commandable(agent):
            return
        commands = self._commands(agent, tasks)
        try:
            for start in range(0, len(commands), COMMANDS_AT_ONCE):
                await self._shepherd.command(agent, commands[start : start + COMMANDS_AT_ONCE])
        except BaseException:
            self.wake(agent, tasks)
            raise

    def _commands(self, agent: str, tasks: set[TaskId] | None) -> list[Command]:
        view, reported = self._view, self._shepherd.tasks(agent)
        placements = view.placements_on(agent)
        # What is both desired and known is left alone, so that of all tasks mostly none is looked at.
        subset = (placements.keys() ^ reported.keys()) | _revoked(placements) if tasks is None else tasks
        actual = {task: reported[task] for task in subset if task in reported}
        desired, revoked = {}, set()
        for task in subset:
            row = placements.get(task)
            if row is None and view.is_noted(task) and task in actual and actual[task].state.is_over:
                # What it wrote is kept as long as its job is.
                del actual[task]
                continue
            if row is not None and row.value.is_revoked:
                if not row.value.is_denied:
                    revoked.add(task)
                continue
            if row is not None and task not in actual and view.is_noted(task):
                # It has ended, though its agent has lost that; it is only not withdrawn yet.
                continue
            template = None if row is None else view.template(row.value)
            if row is not None and template is not None:
                desired[task] = Desired(placement=row.value, template=template)
            elif row is not None or f"{agent}/{task}" in view.placements.unreadable:
                # A record that cannot be read is not a task that nobody wants.
                _log.error("placement_unusable", task=task, agent=agent)
                actual.pop(task, None)
        now = self._clock.now()
        disowned = view.disowned_on(agent)
        commands = transform(desired, actual, now, cluster=view.cluster, revoked=revoked, disowned=disowned)
        pending = self._shepherd.pending(agent, (command.task for command in commands), now)
        return [command for command in commands if command.task not in pending]


def _revoked(placements: Mapping[TaskId, Row[Placement]]) -> set[TaskId]:
    """Return the tasks that are not desired though they have a placement."""
    return {task for task, row in placements.items() if row.value.is_revoked}
