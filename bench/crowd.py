"""Very many simulated agents in one process: what `bench.fleet` measures the control plane with."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from itertools import cycle

from harpoon.kit.errors import Fenced, Unavailable
from harpoon.model import wire
from harpoon.model.agent import Agent, Capacity, PortRange
from harpoon.model.command import Command, CommandResult, ForgetTask, StartTask, StopTask
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState
from harpoon.model.token import Token

#: From a command to its effect's being told.
EFFECT_S = 0.02
#: An agent with nothing to say says so that often, as a real one does.
HEARTBEAT_S = 5.0
_TURNS = 50

Told = wire.Snapshot | wire.Changed | None


class Crowd:
    """The agents, and the one timer that they share."""

    def __init__(self, names: Iterable[str], capacity: Capacity) -> None:
        self.agents = {name: SimulatedAgent(name) for name in names}
        self.records = [
            Agent(
                name=name,
                uid=name,
                endpoint=f"http://{name}",
                capacity=capacity,
                ports=PortRange(low=20000, high=30000),
            )
            for name in self.agents
        ]

    def connect(self, endpoint: str) -> "SimulatedAgent":
        """Return the way to an agent."""
        return self.agents[endpoint.removeprefix("http://")]

    async def beat(self) -> None:
        """Have each agent say now and then that it is there; not all of them at once."""
        turns = cycle([tuple(self.agents.values())[turn::_TURNS] for turn in range(_TURNS)])
        due = time.monotonic()
        for turn in turns:
            # Where the loop that we share is late, this catches up: agents on machines of their own would not be.
            due += HEARTBEAT_S / _TURNS
            await asyncio.sleep(due - time.monotonic())
            for agent in turn:
                agent.say(None)


class SimulatedAgent:
    """An `AgentTransport`, and the agent behind it: every task it is told to start runs and is ready a moment later."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: dict[TaskId, Task] = {}
        self._seq = 1
        self._mark = Token(incarnation=0, revision=0)
        self._cluster = ""
        self._said: deque[Told | Unavailable] = deque()
        self._listener: asyncio.Future[None] | None = None
        self._is_streaming = False

    async def describe(self) -> Agent:
        raise NotImplementedError

    async def adopt(self, order: wire.Adopt) -> wire.Snapshot:
        self._obey(order.token)
        self._cluster = order.cluster
        return self._snapshot()

    async def command(self, batch: wire.Commands) -> wire.Results:
        self._obey(batch.token)
        asyncio.get_running_loop().call_later(EFFECT_S, self._take_effect, batch.commands)
        return wire.Results(results=tuple([CommandResult(task=one.task, is_ok=True) for one in batch.commands]))

    async def stream(self) -> AsyncIterator[Told]:
        assert not self._is_streaming, "one stream at a time"
        self._is_streaming = True
        self._said.clear()
        try:
            yield self._snapshot()
            while True:
                while self._said:
                    told = self._said.popleft()
                    if isinstance(told, Unavailable):
                        raise told
                    yield told
                self._listener = asyncio.get_running_loop().create_future()
                await self._listener
        finally:
            self._is_streaming, self._listener = False, None

    def say(self, told: Told | Unavailable) -> None:
        """Say it on the stream, if anybody listens."""
        if self._is_streaming:
            self._said.append(told)
            if self._listener is not None and not self._listener.done():
                self._listener.set_result(None)

    def _obey(self, token: Token) -> None:
        if token < self._mark:
            raise Fenced("the token is lower than one already seen", mark=self._mark)
        self._mark = token

    def _snapshot(self) -> wire.Snapshot:
        return wire.Snapshot(
            agent=self._name, uid=self._name, seq=self._seq, boot="b", tasks=tuple(self._tasks.values())
        )

    def _take_effect(self, commands: Iterable[Command]) -> None:
        now_ms = time.time_ns() // 1_000_000
        changed: list[Task] = []
        gone: list[TaskId] = []
        for command in commands:
            match command:
                case StartTask() if command.task not in self._tasks:
                    changed.append(self._task(command, TaskState.RUNNING, now_ms))
                case StopTask():
                    changed.append(self._task(command, TaskState.FINISHED, now_ms))
                case ForgetTask():
                    self._tasks.pop(command.task, None)
                    gone.append(command.task)
        self._seq += 1
        self.say(wire.Changed(boot="b", seq=self._seq, tasks=tuple(changed), gone=tuple(gone)))

    def _task(self, command: StartTask | StopTask, state: TaskState, now_ms: int) -> Task:
        is_running = state is TaskState.RUNNING
        task = self._tasks[command.task] = Task(
            id=command.task,
            agent=self._name,
            generation=command.generation if isinstance(command, StartTask) else self._tasks[command.task].generation,
            state=state,
            ready=is_running,
            since_ms=now_ms,
            reason="its process runs and every check passes" if is_running else command.reason,
            address="10.0.0.1",
            ports={"http": 20_000 + len(self._tasks)},
            pid=4711,
            cluster=self._cluster,
        )
        return task
