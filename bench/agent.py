"""How fast an agent starts, restarts and finds tasks, beside the raw floor: bare ``posix_spawn`` and pidfd, same run.

The floor starts the task's program and nothing else: no shim that keeps its exit code, no logs, no record on disk.
What it does not show: programs that take long to load, checks, a host that is short of memory; and disks, for the
state directory is in memory where that can be had. ext4 needs ten times as long to make a file while it remembers the
thousands that were deleted in the minutes before, which would make each run slower than the one before it.
Figures of one machine at one moment: trust the ratios.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import structlog
import uvloop

from harpoon.agent import processes
from harpoon.agent.client import AgentClient
from harpoon.agent.daemon import serve
from harpoon.agent.settings import AgentSettings
from harpoon.kit.clock import SystemClock, system_random
from harpoon.kit.errors import Unavailable
from harpoon.model.command import ForgetTask, StartTask, StopTask
from harpoon.model.lifecycle import Stop, StopSignal
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState
from harpoon.model.template import TaskTemplate
from harpoon.model.token import Token
from harpoon.model.wire import Adopt, Commands, Snapshot

TASKS = 1_000
KILLS = 60
STEADY_S = 2.0
MEMORY = "/dev/shm"
#: Another run on this machine has another.
NAME = f"bench-{os.getpid()}"
PROGRAM = ("/bin/sleep", "1000")
TOKEN = Token(incarnation=1, revision=1)

Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """Return (name, ours, raw floor of the same run, target) for each figure."""
    raw_start = floor_start()
    raw_restart = floor_restart()
    with (
        tempfile.TemporaryDirectory(prefix="bench-agent-", dir=MEMORY if Path(MEMORY).is_dir() else None) as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        try:
            found = runner.run(_measure(Path(name)))
        finally:
            # Only a run that failed half-way left any.
            processes.kill([pid for pid in processes.pids() if processes.has_variable(pid, "HARPOON_AGENT", NAME)])
    # Before and after: a noisy machine must not decide the ratio.
    raw_start = (raw_start + floor_start()) / 2
    kills = sorted(found.kills_ms)
    return [
        (f"{TASKS:,} tasks running, one batch", f"{found.start_s:.2f} s", f"{raw_start:.2f} s", "≤ 1.0 s"),
        ("  processor time of the agent in it", f"{found.start_cpu_s:.2f} s", "", ""),
        ("kill -9 → running again, p50", f"{kills[len(kills) // 2]:.1f} ms", f"{raw_restart:.1f} ms", "≤ 4 ms"),
        ("kill -9 → running again, p99", f"{kills[-1 - len(kills) // 100]:.1f} ms", "", ""),
        ("memory a task beside its own (PSS)", f"{found.shim_kib:.0f} KiB", "0", "≤ 2048 KiB"),
        (f"agent killed, {TASKS:,} tasks found", f"{found.found_s:.2f} s", "", ""),
        (f"idle agent, {TASKS:,} tasks, of a core", f"{found.idle:.1%}", "", ""),
        ("events told meanwhile", f"{found.idle_events}", "", "0"),
        (f"{TASKS:,} tasks stopped, nothing left", f"{found.stop_s:.2f} s", "", ""),
    ]


def floor_start() -> float:
    """Return the seconds it takes to have so many programs running, started one after the other."""
    begin = time.perf_counter()
    pids = [os.posix_spawn(PROGRAM[0], PROGRAM, {}, setsid=True) for _ in range(TASKS)]
    took = time.perf_counter() - begin
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
    return took


def floor_restart() -> float:
    """Return the milliseconds (median) from a kill to the next program spawned, noticed through a pidfd."""
    spans = []
    pid = os.posix_spawn(PROGRAM[0], PROGRAM, {}, setsid=True)
    for _ in range(KILLS):
        descriptor = os.pidfd_open(pid)
        begin = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        select.select([descriptor], [], [])
        os.waitpid(pid, 0)
        pid = os.posix_spawn(PROGRAM[0], PROGRAM, {}, setsid=True)
        spans.append((time.perf_counter() - begin) * 1000)
        os.close(descriptor)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return statistics.median(spans)


class Figures:
    """What was measured."""

    def __init__(self) -> None:
        self.start_s = self.start_cpu_s = self.found_s = self.stop_s = self.idle = self.shim_kib = 0.0
        self.idle_events = 0
        self.kills_ms: list[float] = []


class Watch:
    """An agent as seen through its stream."""

    def __init__(self, client: AgentClient) -> None:
        self.client = client
        self.tasks: dict[TaskId, Task] = {}
        self.events = 0
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        with contextlib.suppress(Unavailable):
            async for event in self.client.stream():
                async with self._changed:
                    if event is not None:
                        self.events += 1
                        known = {} if isinstance(event, Snapshot) else self.tasks
                        self.tasks = known | {task.id: task for task in event.tasks}
                    self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(condition)


async def _measure(state: Path) -> Figures:
    found = Figures()
    async with _agent(state) as (process, watch):
        snapshot = await _adopt(watch)
        template = TaskTemplate(command=PROGRAM, stop=Stop(signal=StopSignal.KILL))
        orders = [
            StartTask(task=TaskId(f"default.bench.{n}.1-1"), generation="g", template=template, reason="bench")
            for n in range(TASKS)
        ]
        before = _cpu_s(process.pid)
        begin = time.perf_counter()
        await watch.client.command(Commands(token=TOKEN, instance="bench", uid=snapshot, commands=tuple(orders)))
        await watch.until(lambda: sum(t.state is TaskState.RUNNING for t in watch.tasks.values()) == TASKS)
        found.start_s = time.perf_counter() - begin
        found.start_cpu_s = _cpu_s(process.pid) - before
        found.shim_kib = statistics.mean(_pss_kib(os.getsid(task.pid or 0)) for task in [*watch.tasks.values()][:50])
        found.kills_ms = [await _kill(watch, order.task) for order in orders[:KILLS]]
        events, before = watch.events, _cpu_s(process.pid)
        await asyncio.sleep(STEADY_S)
        found.idle, found.idle_events = (_cpu_s(process.pid) - before) / STEADY_S, watch.events - events
        process.kill()
        await process.wait()
    begin = time.perf_counter()
    async with _agent(state) as (process, watch):
        await watch.until(lambda: len(watch.tasks) == TASKS)
        found.found_s = time.perf_counter() - begin
        uid = await _adopt(watch)
        begin = time.perf_counter()
        stops = tuple(StopTask(task=task, reason="bench") for task in watch.tasks)
        await watch.client.command(Commands(token=TOKEN, instance="bench", uid=uid, commands=stops))
        await watch.until(lambda: all(task.state.is_over for task in watch.tasks.values()))
        found.stop_s = time.perf_counter() - begin
        gone = tuple(ForgetTask(task=task, reason="bench") for task in watch.tasks)
        await watch.client.command(Commands(token=TOKEN, instance="bench", uid=uid, commands=gone))
    return found


async def _adopt(watch: Watch) -> str:
    await watch.until(lambda: watch.events > 0)
    async for event in watch.client.stream():
        assert isinstance(event, Snapshot)
        await watch.client.adopt(Adopt(token=TOKEN, instance="bench", uid=event.uid, cluster="bench"))
        return event.uid
    raise AssertionError


async def _kill(watch: Watch, task: TaskId) -> float:
    pid = watch.tasks[task].pid
    assert pid is not None
    begin = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    await watch.until(lambda: watch.tasks[task].restarts == 1 and watch.tasks[task].state is TaskState.RUNNING)
    return (time.perf_counter() - begin) * 1000


@contextlib.asynccontextmanager
async def _agent(state: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Watch]]:
    """Run an agent as a process of its own, and follow it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.agent", str(state), NAME, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = json.loads(await process.stdout.readline())
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            watch = Watch(AgentClient(session, f"http://127.0.0.1:{port}", None))
            following = group.create_task(watch.run())
            yield process, watch
            following.cancel()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def _serve(state: Path, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = AgentSettings(name=name, state_dir=state, port=0)
    await serve(
        settings, clock=SystemClock(), rng=system_random(), stop=stop, ready=lambda port: print(port, flush=True)
    )


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    uvloop.run(_serve(Path(sys.argv[1]), sys.argv[2]))
