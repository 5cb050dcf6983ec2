"""A rig for real agents: starts them, commands them, follows what they tell, and leaves nothing behind."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from harpoon.agent import processes
from harpoon.agent.client import AgentClient
from harpoon.agent.daemon import serve
from harpoon.agent.drivers import shimfile
from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.agent.settings import AgentSettings
from harpoon.kit.clock import SystemClock, system_random
from harpoon.kit.errors import Unavailable
from harpoon.model.command import Command, CommandResult, ForgetTask, StartTask, StopTask
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState
from harpoon.model.template import TaskTemplate
from harpoon.model.token import Token
from harpoon.model.wire import Adopt, Commands, Results, Snapshot
from tests.ports import free_port, task_ports

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20
TOKEN = Token(incarnation=1, revision=10)
INSTANCE = "server-1"


@dataclass
class Rig:
    """One agent, seen and commanded from outside."""

    client: AgentClient
    uid: str
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    #: Every state of every task as told, in order.
    told: list[Task] = field(default_factory=list)
    events: int = 0
    token: Token = TOKEN
    instance: str = INSTANCE
    count: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self) -> None:
        async for event in self.client.stream():
            async with self.changed:
                if isinstance(event, Snapshot):
                    self.tasks = {task.id: task for task in event.tasks}
                    self.told += event.tasks
                elif event is not None:
                    self.events += 1
                    self.tasks.update({task.id: task for task in event.tasks})
                    self.told += event.tasks
                    for gone in event.gone:
                        del self.tasks[gone]
                self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S), self.changed:
                await self.changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"it did not come to that; the tasks are {list(self.tasks.values())}") from None

    async def until_true(self, condition: Callable[[], object]) -> None:
        """Wait for what the agent does not tell: files, and processes that are not its tasks."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.005)

    async def state(self, task: TaskId, *states: TaskState) -> Task:
        try:
            await self.until(lambda: task in self.tasks and self.tasks[task].state in states)
        except TimeoutError:
            raise AssertionError(f"not {states}, but {self.tasks.get(task)}") from None
        return self.tasks[task]

    async def running(self, task: TaskId, *, restarts: int = 0) -> Task:
        await self.until(
            lambda: (
                (now := self.tasks.get(task)) is not None
                and now.state is TaskState.RUNNING
                and now.restarts >= restarts
            )
        )
        return self.tasks[task]

    async def over(self, task: TaskId) -> Task:
        return await self.state(task, TaskState.FINISHED, TaskState.FAILED)

    async def adopt(self, token: Token | None = None, instance: str | None = None, uid: str | None = None) -> Snapshot:
        return await self.client.adopt(
            Adopt(
                token=token or self.token, instance=instance or self.instance, uid=uid or self.uid, cluster="cluster-1"
            )
        )

    async def send(self, *commands: Command, token: Token | None = None, **changes: str) -> Results:
        whom = {"instance": self.instance, "uid": self.uid} | changes
        return await self.client.command(Commands(token=token or self.token, commands=commands, **whom))

    async def obey(self, command: Command) -> CommandResult:
        (result,) = (await self.send(command)).results
        return result

    def order(self, template: TaskTemplate, job: str = "job") -> StartTask:
        self.count += 1
        task = TaskId(f"default.{job}.{self.count}.1-{self.count}")
        return StartTask(task=task, generation="g1", template=template, reason="scheduled")

    async def start(self, *command: str, **template: object) -> TaskId:
        order = self.order(TaskTemplate(command=command, **template))  # type: ignore[arg-type]
        result = await self.obey(order)
        assert result.is_ok, result.reason
        return order.task

    async def stop(self, task: TaskId, reason: str = "scaled down") -> CommandResult:
        return await self.obey(StopTask(task=task, reason=reason))

    async def forget(self, task: TaskId) -> CommandResult:
        return await self.obey(ForgetTask(task=task, reason="gone"))

    async def log(self, task: TaskId, stream: str = "stdout", tail: int | None = None) -> str:
        response = await self.client.logs(task, stream, tail)  # type: ignore[arg-type]
        async with response:
            return (await response.read()).decode()

    async def log_until(self, task: TaskId, text: str) -> str:
        """Follow a task's stdout until it holds ``text``."""
        response = await self.client.logs(task, follow=True)
        seen = ""
        async with asyncio.timeout(PATIENCE_S), response:
            async for chunk in response.content.iter_any():
                seen += chunk.decode()
                if text in seen:
                    return seen
        raise AssertionError(f"the log ended without {text!r}: {seen!r}")


@contextlib.asynccontextmanager
async def connected(port: int, **rig: object) -> AsyncIterator[Rig]:
    """Command an agent that is there, with its stream followed."""
    async with aiohttp.ClientSession() as session:
        client = AgentClient(session, f"http://127.0.0.1:{port}", rig.pop("bearer", None))  # type: ignore[arg-type]
        async with session.get(f"http://127.0.0.1:{port}/v1/tasks", headers=client._headers) as response:
            uid = (await response.json())["uid"]
        made = Rig(client, uid, **rig)  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as group:
            following = group.create_task(_followed(made))
            yield made
            following.cancel()


async def _followed(rig: Rig) -> None:
    with contextlib.suppress(Unavailable):
        await rig.follow()


@contextlib.asynccontextmanager
async def agent(state: Path, **told: object) -> AsyncIterator[Rig]:
    """An agent within this process, adopted."""
    adopts, cleans = told.pop("adopts", True), told.pop("cleans", True)
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    bearer = told.get("token")
    fixed = {"name": "agent-1", "port": free_port(), "state_dir": state, "ports": task_ports()}
    if isinstance(told.get("docker"), str):
        told["docker"] = DockerRules(url=told["docker"])
    settings = AgentSettings(**fixed | told)  # type: ignore[arg-type]
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(
                serve(settings, clock=SystemClock(), rng=system_random(), stop=stop, ready=port.set_result)
            )
            serving.add_done_callback(lambda _: port.done() or port.cancel())
            async with connected(await port, bearer=bearer) as rig:
                if adopts:
                    await rig.adopt()
                yield rig
            stop.set()
    finally:
        if cleans:
            clean(state)


@dataclass
class Daemon:
    """An agent as a process of its own."""

    process: asyncio.subprocess.Process
    port: int

    async def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        await self.process.wait()


@contextlib.asynccontextmanager
async def daemon(state: Path, **told: object) -> AsyncIterator[Daemon]:
    """Start a daemon; leave it dead, and its tasks alone."""
    ports = task_ports()
    fixed = {"name": "agent-1", "port": free_port(), "state_dir": str(state), "ports": [ports.low, ports.high]}
    settings = json.dumps(fixed | told)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.agent.daemon_main", settings, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            yield Daemon(process, int(await process.stdout.readline()))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def serving(routes: dict) -> tuple[web.AppRunner, int]:
    """Serve some routes at a free port; the caller cleans up."""
    app = web.Application()
    for (method, path), handler in routes.items():
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, port


def clean(state: Path) -> None:
    """Kill what is left of the tasks of a state directory."""
    for file in state.glob("tasks/*/shim.*"):
        _settled(file)
    while killed := pids_of(state):
        processes.kill(killed)
        for pid in killed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def pids_of(directory: Path) -> list[int]:
    """The processes of the tasks of a state directory, or of one task."""
    return [pid for pid in processes.pids() if _home_of(pid).startswith(f"{directory.absolute()}/")]


def _settled(file: Path) -> None:
    """Wait until a shim has come as far as to be known by its environment."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        said = shimfile.read(str(file))
        if said is None or said.task is not None or said.status is not None:
            return
        time.sleep(0.001)


def _home_of(pid: int) -> str:
    """The home directory a process was told; a task's is within its agent's state directory."""
    with contextlib.suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\x00"):
            if variable.startswith(b"HOME="):
                return variable.partition(b"=")[2].decode()
    return ""


def zombies() -> set[int]:
    """Return the children of this process that nobody has waited for; some may be of earlier tests."""
    children = map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    return {pid for pid in children if not is_alive(pid)}


def is_alive(pid: int) -> bool:
    stat = processes.stat_of(pid)
    return stat is not None and stat.state not in "ZX"
