"""One simulated host with the shipped agent, by itself, on an event loop that waits for nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from heapq import heappop
from pathlib import Path
from random import Random
from typing import Any

from harpoon.model.command import Command, CommandResult, StartTask
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState
from harpoon.model.template import TaskTemplate
from harpoon.model.token import Token
from harpoon.model.wire import Adopt, Commands, Snapshot
from tests.sim.daemons import Daemon, boot
from tests.sim.hosts import Host, Ways

TASK = TaskId("default.web.0.1-7")


class QuickLoop(asyncio.SelectorEventLoop):
    """Nothing is waited for: when nothing is ready, it is the time of the next timer. Threads' work is done at once."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except OSError as error:
            done.set_exception(error)
        return done

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0]._when)
        super()._run_once()


class House:
    """One host, and its agent's daemon while there is one."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.loop = asyncio.get_running_loop()
        self.effects: list[tuple[float, str, str, str]] = []
        ways = Ways(
            tell=lambda kind, task, run: self.effects.append((self.loop.time(), kind, task, run)),
            now=lambda: 1_000_000 + self.loop.time(),
            later=self.loop.call_later,
            notify=self.loop.call_soon,
        )
        self.host = Host("h1", directory, rng=Random(seed), ways=ways)
        self.token = Token(incarnation=1, revision=1)
        self.daemon: Daemon | None = None
        self._running: asyncio.Task[None] | None = None

    def now(self) -> Instant:
        return Instant(elapsed=timedelta(seconds=self.loop.time()), wall=int(1000 * (1_000_000 + self.loop.time())))

    async def boot(self) -> Snapshot:
        self.daemon = await boot(self.host, name="a1", clock=self, rng=Random(2))
        self._running = asyncio.ensure_future(self.daemon.run())
        order = Adopt(token=self.token, instance="i1", uid=self.daemon.uid, cluster="c1")
        return await self.daemon.service.adopt(order)

    async def crash(self) -> None:
        if self._running is not None:
            self.host.listener = None
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
            self._running = self.daemon = None

    async def obey(self, *commands: Command) -> tuple[CommandResult, ...]:
        assert self.daemon is not None
        order = Commands(token=self.token, instance="i1", uid=self.daemon.uid, commands=commands)
        return (await self.daemon.service.command(order)).results

    async def start(self, task: TaskId = TASK, *, is_exclusive: bool = False, **template: Any) -> CommandResult:
        made = TaskTemplate(command=("true",), **template)
        order = StartTask(task=task, generation="g", template=made, reason="placed", is_exclusive=is_exclusive)
        return (await self.obey(order))[0]

    def look(self, task: TaskId = TASK) -> Task:
        assert self.daemon is not None
        return next(one for one in self.daemon.service.snapshot().tasks if one.id == task)

    async def until(self, *states: TaskState, task: TaskId = TASK, restarts: int = 0) -> Task:
        async with asyncio.timeout(300):
            while (now := self.look(task)).state not in states or now.restarts < restarts:
                await asyncio.sleep(0.01)
        return now

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind, _, _ in self.effects]


Story = Callable[[House], Awaitable[None]]


async def played(story: Story, directory: Path, seed: int) -> House:
    house = House(directory, seed)
    await house.boot()
    await story(house)
    await house.crash()
    return house
