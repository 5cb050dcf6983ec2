"""Fakes that behave: an agent in memory that obeys, fences and reports as a real one does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from harpoon.kit.errors import Fenced, Unavailable
from harpoon.model import wire
from harpoon.model.command import Command, CommandResult, ForgetTask, StartTask, StopTask
from harpoon.model.name import TaskId
from harpoon.model.task import Number, Task, TaskState, parse_task_id
from harpoon.model.token import Token


@dataclass
class FakeAgent:
    """An agent whose tasks become ready at once, unless told otherwise."""

    name: str
    uid: str = ""
    #: Whether started tasks become ready; otherwise they stay starting.
    makes_ready: bool = True
    #: Whether stopped tasks end; otherwise they stay stopping.
    lets_stop: bool = True
    is_reachable: bool = True
    boot: str = "boot-1"
    seq: int = 0
    mark: Token | None = None
    instance: str = ""
    cluster: str = ""
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    #: Every command that was obeyed, in order.
    obeyed: list[Command] = field(default_factory=list)
    #: Slot → the highest placement that is denied.
    denials: dict[str, Number] = field(default_factory=dict)
    _listeners: set[asyncio.Queue] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.uid = self.uid or f"uid-{self.name}"

    # The agent's side of the wire.

    async def adopt(self, order: wire.Adopt) -> wire.Snapshot:
        await self._reach()
        self._fence(order.token, order.instance)
        self.cluster = order.cluster
        return self._snapshot()

    async def command(self, batch: wire.Commands) -> wire.Results:
        await self._reach()
        self._fence(batch.token, batch.instance)
        return wire.Results(results=tuple(self._obey(command) for command in batch.commands))

    async def stream(self) -> AsyncIterator[wire.Snapshot | wire.Changed | None]:
        await self._reach()
        queue: asyncio.Queue = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield self._snapshot()
            while True:
                item = await queue.get()
                if item is None:
                    raise Unavailable("connection lost")
                yield item
        finally:
            self._listeners.discard(queue)

    # What a test does to it.

    def report(self, task: TaskId, **changes: object) -> None:
        """Change a task as the world would, and tell."""
        self.tasks[task] = replace(self.tasks[task], **changes)
        self._tell(tasks=(self.tasks[task],))

    def forget(self, task: TaskId) -> None:
        """Lose a task, with all that was known of it, and tell."""
        del self.tasks[task]
        self._tell(gone=(task,))

    def cut(self) -> None:
        """Lose every connection, and be unreachable until `heal`."""
        self.is_reachable = False
        for queue in self._listeners:
            queue.put_nowait(None)

    def heal(self) -> None:
        self.is_reachable = True

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if not self.is_reachable:
            raise Unavailable(f"{self.name} cannot be reached")

    def _fence(self, token: Token, instance: str) -> None:
        if self.mark is not None and (token < self.mark or (token == self.mark and instance != self.instance)):
            raise Fenced(f"the mark is {self.mark}", mark=self.mark)
        if token != self.mark:
            self.denials.clear()
        self.mark, self.instance = token, instance

    def _snapshot(self) -> wire.Snapshot:
        tasks = tuple(self.tasks.values())
        return wire.Snapshot(agent=self.name, uid=self.uid, seq=self.seq, boot=self.boot, tasks=tasks, mark=self.mark)

    def _obey(self, command: Command) -> CommandResult:
        self.obeyed.append(command)
        task = self.tasks.get(command.task)
        slot, number = command.task.rpartition(".")[0], parse_task_id(command.task).number
        if isinstance(command, ForgetTask) and command.is_denied:
            self.denials[slot] = max(number, self.denials.get(slot, number))
        match command:
            case StartTask() if task is None and slot in self.denials and number <= self.denials[slot]:
                return CommandResult(task=command.task, is_ok=False, reason="it is denied")
            case StartTask() if task is None:
                state = TaskState.RUNNING if self.makes_ready else TaskState.STARTING
                self.tasks[command.task] = Task(
                    id=command.task,
                    agent=self.name,
                    generation=command.generation,
                    state=state,
                    ready=self.makes_ready,
                    address="127.0.0.1",
                    ports={name: port or 20000 + len(self.obeyed) for name, port in command.template.ports.items()},
                    cluster=self.cluster,
                    reason="as the fake does",
                )
                self._tell(tasks=(self.tasks[command.task],))
            case StopTask() if task is not None and not task.state.is_over:
                state = TaskState.FINISHED if self.lets_stop else TaskState.STOPPING
                self.report(command.task, state=state, ready=False, reason=command.reason)
            case ForgetTask() if task is not None:
                if not task.state.is_over:
                    return CommandResult(task=command.task, is_ok=False, reason="it still runs")
                del self.tasks[command.task]
                self._tell(gone=(command.task,))
            case _:
                pass
        is_denied = isinstance(command, ForgetTask) and command.is_denied
        return CommandResult(task=command.task, is_ok=True, is_denied=is_denied)

    def _tell(self, tasks: tuple[Task, ...] = (), gone: tuple[TaskId, ...] = ()) -> None:
        self.seq += 1
        for queue in self._listeners:
            queue.put_nowait(wire.Changed(boot=self.boot, seq=self.seq, tasks=tasks, gone=gone))
