"""The shell around one agent's machine: it opens the stream, adopts, sends, and writes what the machine publishes.

It decides nothing. Every happening is fed to `core.machine.advance`; every effect that comes back is carried out
here, in order. `core.signals` lists the duties that this shell has.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

import structlog

from harpoon.control.denial import record_denials
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.control.outbox import Outbox
from harpoon.control.secret_values import deliver
from harpoon.control.view import ACTUAL, AGENTS, DISOWNED, LINKS, View
from harpoon.core import machine, signals
from harpoon.kit import codec
from harpoon.kit.errors import Fenced, Unavailable
from harpoon.kit.news import News
from harpoon.model import wire
from harpoon.model.agent import Agent, Link, LinkState
from harpoon.model.command import Command, CommandResult, ForgetTask
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.token import Token
from harpoon.store.hold import Hold
from harpoon.store.port import Compare, Delete, Put
from harpoon.store.table import Row

Wake = Callable[[str, Iterable[TaskId] | None], None]

_log = structlog.get_logger(__name__)


class Minder:
    """Minds one agent, by virtue of one hold."""

    def __init__(  # noqa: PLR0913 one agent, and all that concerns it
        self,
        means: Means,
        metrics: Metrics,
        view: View,
        hold: Hold,
        row: Row[Agent],
        wake: Wake,
        *,
        others: Callable[[], frozenset[str]],
        adoptions: asyncio.Semaphore,
    ) -> None:
        """Make one; ``others`` tells which instances could mind the agent too, ``adoptions`` limits those under way."""
        self._agent = agent = row.value
        self._others = others
        self._adoptions = adoptions
        self._means = means
        self._metrics = metrics
        self._view = view
        self._wake = wake
        self._transport = means.connect(agent.endpoint)
        link = view.links.rows.get(agent.name)
        self.state = machine.begin(
            agent,
            None if link is None else link.value,
            [row.value for row in view.tasks_on(agent.name).values()],
            means.clock.now(),
            cluster=view.cluster,
            incarnation=view.incarnation,
            lost_after=means.lost_after,
            instance=means.instance,
            others=others(),
        )
        self._outbox = Outbox(means, metrics, hold, Compare(AGENTS + agent.name, create=row.create_revision))
        #: When the machine is told that time has passed, by the event loop's clock, and the timer for it: that need not
        #: know its time, as uvloop makes a plain handle of what is due at once.
        self._tick: tuple[float, asyncio.Handle] | None = None
        #: A command may be answered after the end; nothing is to come of that here.
        self._is_over = False
        #: Of commands that are withheld.
        self._news = News()
        self._group: asyncio.TaskGroup | None = None
        self._streaming: asyncio.Task[None] | None = None
        self._adopting: asyncio.Task[None] | None = None

    @property
    def hold(self) -> Hold:
        """The hold by virtue of which it minds the agent, as it was sealed last."""
        return self._outbox.hold

    async def run(self) -> None:
        """Mind the agent until cancelled.

        Raises:
            HoldLost: Another instance minds it now.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                self.claim(self._view.claims(self._agent.name))
                self._streaming = self._group.create_task(self._follow(0.0))
                self._arm()
                await self._outbox.post()
        finally:
            self._is_over = True
            if self._tick is not None:
                self._tick[1].cancel()

    def claim(self, tasks: frozenset[TaskId]) -> None:
        """Note that there are records of tasks of earlier incarnations."""
        if tasks:
            self._feed(signals.Claimed(tasks))
            self._sweep()

    async def command(self, commands: Sequence[Command]) -> None:
        """Send commands and feed what becomes of them."""
        denials = frozenset(
            command.task for command in commands if isinstance(command, ForgetTask) and command.is_denied
        )
        self._feed(signals.Sent(tuple(command.task for command in commands), denials))
        commands, withheld = deliver(self._view, self._means.keyring, self._agent.name, commands)
        if withheld:
            self._withhold(withheld)
        if not commands:
            return
        for kind, count in Counter(command.kind for command in commands).items():
            self._metrics.commands.labels(kind).inc(count)
        told = [f"{command.kind} {command.task}: {command.reason}" for command in commands]
        _log.info("commands_sent", agent=self._agent.name, token=str(self.hold.token), commands=told)
        batch = wire.Commands(
            token=self.hold.token, instance=self._means.instance, uid=self._agent.uid, commands=tuple(commands)
        )
        try:
            results = (await self._transport.command(batch)).results
        except Fenced as error:
            self._fence(error)
            return
        except Unavailable as error:
            results = tuple(CommandResult(task=command.task, is_ok=False, reason=str(error)) for command in commands)
        self._metrics.commands_refused.inc(sum(not result.is_ok for result in results))
        self._feed(signals.Answered(results))
        # An agent that does not know of denials says nothing of them.
        denied = [result.task for result in results if result.is_ok and result.is_denied and result.task in denials]
        refused = [result.task for result in results if not result.is_ok and result.is_denied]
        await record_denials(self._means.store, self._view, self.hold, denied, refused)

    def _withhold(self, withheld: Sequence[CommandResult]) -> None:
        """Note commands that cannot be sent for want of a secret; they are tried again."""
        self._metrics.commands_withheld.inc(len(withheld))
        first = withheld[0]
        if self._news.is_news(first.reason, asyncio.get_running_loop().time()):
            told = {"task": first.task, "reason": first.reason, "withheld": len(withheld)}
            _log.warning("starts_withheld", agent=self._agent.name, **told)
        self._feed(signals.Answered(tuple(withheld)))

    def _feed(self, event: signals.Event) -> None:
        if self._is_over:
            return
        before = self.state
        self.state, effects = machine.advance(before, event, self._means.clock.now())
        for effect in effects:
            self._carry_out(effect)
        if self.state.phase is not before.phase or self.state.pending is not before.pending:
            self._arm()

    def _arm(self) -> None:
        """Have the machine told that time has passed when it may matter, or earlier; mostly that is seconds away."""
        loop, now = asyncio.get_running_loop(), self._means.clock.now()
        due = machine.due(self.state, now)
        if due is None:
            return
        at = loop.time() + (due - now.elapsed).total_seconds()
        if self._tick is not None:
            if self._tick[0] <= at:
                return
            self._tick[1].cancel()
        self._tick = at, loop.call_at(at, self._pass_time)

    def _pass_time(self) -> None:
        self._tick = None
        row = self._view.links.rows.get(self._agent.name)
        self._feed(signals.Ticked(self._others(), frozenset(() if row is None else row.value.failed_by)))
        self._arm()

    def _carry_out(self, effect: signals.Effect) -> None:
        match effect:
            case signals.Publish():
                self._publish(effect)
            case signals.Reconcile():
                self._wake(self._agent.name, effect.tasks)
            case signals.SetLink():
                token = str(self.hold.token)
                _log.info("link_changed", agent=self._agent.name, state=effect.state, reason=effect.reason, token=token)
                self._metrics.links.labels(effect.state).inc()
                self._outbox.mail(self._link(effect))
            case signals.PassOn():
                # Told here: whoever sees the hold gone may end this minder before its commit is answered.
                self._metrics.passed_on.inc()
                told = {"token": str(self.hold.token), "failed_by": effect.link.failed_by}
                _log.warning("agent_passed_on", agent=self._agent.name, reason=effect.link.reason, **told)
                self._outbox.resign(self._link(effect.link))
            case signals.Connect():
                assert self._group is not None
                jittered = effect.after.total_seconds() * self._means.rng.uniform(0.5, 1.0)
                self._streaming = self._group.create_task(self._follow(jittered))
            case signals.Adopt():
                assert self._group is not None
                self._adopting = self._group.create_task(self._adopt())
            case signals.Close():
                for task in (self._streaming, self._adopting):
                    if task is not None:
                        task.cancel()
            case _:
                assert_never(effect)

    def _link(self, told: signals.SetLink) -> Put:
        link = Link(
            agent=self._agent.name,
            state=told.state,
            since_ms=told.since_ms,
            reason=told.reason,
            failed_by=told.failed_by,
        )
        return Put(LINKS + self._agent.name, codec.dump(link))

    def _publish(self, effect: signals.Publish) -> None:
        prefix = f"{ACTUAL}{self._agent.name}/"
        for task in effect.tasks:
            _log.info(
                "task_changed", task=task.id, agent=task.agent, state=task.state, ready=task.ready, reason=task.reason
            )
            record = codec.dump(task)
            self._view.actual.expect(f"{self._agent.name}/{task.id}", task, record)
            self._outbox.mail(Put(prefix + task.id, record), is_urgent=task.state is not TaskState.STARTING)
        for gone in effect.gone:
            # First the operator's word: what would be left of both is found again by the other.
            if f"{self._agent.name}/{gone}" in self._view.disowned.rows:
                self._outbox.mail(Delete(f"{DISOWNED}{self._agent.name}/{gone}"))
            self._outbox.mail(Delete(prefix + gone))

    def _sweep(self) -> None:
        """Delete words on tasks that the agent does not have: it ended them just before they were given."""
        if machine.commandable(self.state):
            for task in self._view.disowned_on(self._agent.name):
                if task not in self.state.tasks:
                    self._outbox.mail(Delete(f"{DISOWNED}{self._agent.name}/{task}"))

    async def _follow(self, after_s: float) -> None:
        """Open the stream and feed all it says, until it ends."""
        await asyncio.sleep(after_s)
        self._feed(signals.Dial())
        reason = "the agent ended the stream"
        try:
            async for told in self._transport.stream():
                match told:
                    case wire.Snapshot():
                        self._feed(signals.Opened(told))
                    case wire.Changed():
                        self._feed(signals.Changed(told))
                    case None:
                        self._feed(signals.Heard())
                    case _:
                        assert_never(told)
                # It may have been a whole snapshot, and the next word may be long in coming.
                told = None  # noqa: PLW2901 that it is let go of is the point
        except Unavailable as error:
            reason = str(error)
        self._feed(signals.Broken(reason))

    async def _adopt(self) -> None:
        order = wire.Adopt(
            token=self.hold.token, instance=self._means.instance, uid=self._agent.uid, cluster=self._view.cluster
        )
        try:
            async with self._adoptions:
                snapshot = await self._transport.adopt(order)
        except Fenced as error:
            self._fence(error)
        except Unavailable as error:
            self._feed(signals.Broken(f"adoption failed: {error}"))
        else:
            self._feed(signals.Adopted(snapshot))
            self._sweep()

    def _fence(self, error: Fenced) -> None:
        self._metrics.fenced.inc()
        _log.error("fenced", agent=self._agent.name, token=str(self.hold.token), reason=str(error))
        mark = error.mark if isinstance(error.mark, Token) else self.hold.token
        self._feed(signals.FencedOff(mark))
        # Nothing more comes of this machine, so its last word says what an operator can do.
        reason = (
            f"it refuses our token {self.hold.token}, having taken {mark}: another server commands it, or this store "
            "is older than the agent's state; to give it to this server, start it with an empty --state-dir"
        )
        now_ms = self._means.clock.now().wall
        link = Link(agent=self._agent.name, state=LinkState.INTERRUPTED, since_ms=now_ms, reason=reason)
        self._outbox.mail(Put(LINKS + self._agent.name, codec.dump(link)))
