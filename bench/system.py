"""The whole way of a task, measured from outside: a real server on SQLite, a real agent, real processes.

What it does not show: a network (all is loopback), a slow disk, many agents, or any driver but ``process``.
"""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import orjson
import uvloop

STARTS = 200
KILLS = 200
MANY = 1000
SLEEP = "/bin/sleep"


def quantile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def manifest(name: str, scale: int = 1) -> dict:
    """Return a job of sleepers."""
    task = {"command": [SLEEP, "100000"], "stop": {"drain": "0s", "grace": "2s"}}
    task["restart"] = {"attempts": 1000, "backoff": {"initial": "0s", "max": "0s"}}
    spec = {"scale": scale, "task": task}
    return {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


class Watch:
    """The latest state of every task, as a watcher of the server sees it."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict] = {}
        self.seen = asyncio.Condition()

    async def follow(self, session: aiohttp.ClientSession, url: str) -> None:
        headers = {"Accept": "application/x-ndjson"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get(f"{url}/v1/watch?kinds=tasks", headers=headers, timeout=timeout) as response:
            async for line in response.content:
                event = orjson.loads(line) if line.strip() else {}
                for change in event.get("changes", []):
                    if change["type"] == "put":
                        self.tasks[change["object"]["id"]] = change["object"]
                    else:
                        self.tasks.pop(change["key"].rpartition("/")[2], None)
                async with self.seen:
                    self.seen.notify_all()

    async def until(self, predicate, timeout_s: float = 60):
        async with asyncio.timeout(timeout_s), self.seen:
            await self.seen.wait_for(predicate)


@asynccontextmanager
async def cluster(
    port: int, store: str | None = None
) -> AsyncIterator[tuple[aiohttp.ClientSession, str, Watch, dict[str, int]]]:
    """Run a server, on SQLite unless told, and one agent; yield a session, the server's URL, a watch, process ids."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="harpoon-bench-") as name:
        start = [sys.executable, "-m", "harpoon"]
        with (Path(name) / "log").open("ab") as log:
            kept = ["--store", store] if store else ["--data", f"{name}/server"]
            kept += ["--listen", f"127.0.0.1:{port}"]
            server = subprocess.Popen([*start, "server", *kept], stdout=log, stderr=log)
            away = ["--listen", f"127.0.0.1:{port + 1}", "--state-dir", f"{name}/agent"]
            agent = subprocess.Popen([*start, "agent", "--name", "a1", "--server", url, *away], stdout=log, stderr=log)
        watch = Watch()
        try:
            async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
                await connected(session, url)
                following = group.create_task(watch.follow(session, url))
                yield session, url, watch, {"server": server.pid, "agent": agent.pid}
                following.cancel()
        finally:
            for process in (server, agent):
                process.terminate()
                process.wait()
            for task in watch.tasks.values():
                with suppress(OSError, TypeError):
                    os.kill(task["pid"], signal.SIGKILL)


async def connected(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the server commands the agent."""
    async with asyncio.timeout(20):
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(f"{url}/v1/agents") as response:
                    items = (await response.json())["items"]
                    if items and items[0]["link"]["state"] == "connected":
                        return
            await asyncio.sleep(0.05)


async def put(session: aiohttp.ClientSession, url: str, name: str, scale: int = 1) -> None:
    async with session.put(f"{url}/v1/namespaces/default/jobs/{name}", json=manifest(name, scale)) as response:
        assert response.status == 202, await response.text()


async def delete(session: aiohttp.ClientSession, url: str, name: str) -> None:
    async with session.delete(f"{url}/v1/namespaces/default/jobs/{name}") as response:
        assert response.status == 202, await response.text()


def runs(watch: Watch, prefix: str) -> bool:
    return any(id_.startswith(prefix) and task["state"] == "running" for id_, task in watch.tasks.items())


async def starts(session, url, watch) -> list[float]:
    """Return, in ms, request → process running and seen on the watch, one at a time on an idle system."""
    spans = []
    for number in range(STARTS):
        prefix = f"default.s{number}."
        began = time.perf_counter()
        await put(session, url, f"s{number}")
        await watch.until(lambda p=prefix: runs(watch, p))
        spans.append((time.perf_counter() - began) * 1000)
        await delete(session, url, f"s{number}")
        await watch.until(lambda p=prefix: not any(k.startswith(p) for k in watch.tasks))
    return spans


async def kills(session, url, watch) -> list[float]:
    """Return, in ms, kill -9 of a task's process → running again, as seen on the watch."""
    await put(session, url, "phoenix")
    await watch.until(lambda: any(t["state"] == "running" for t in watch.tasks.values()))
    [task_id] = watch.tasks
    spans = []
    for _ in range(KILLS):
        pid = watch.tasks[task_id]["pid"]
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        await watch.until(lambda p=pid: watch.tasks[task_id]["state"] == "running" and watch.tasks[task_id]["pid"] != p)
        spans.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    await delete(session, url, "phoenix")
    await watch.until(lambda: not watch.tasks)
    return spans


async def many(session, url, watch) -> tuple[float, float, float]:
    """Return seconds until 1,000 tasks run, KiB of memory a task besides itself, and seconds until all are gone."""
    began = time.perf_counter()
    await put(session, url, "many", MANY)
    await watch.until(lambda: sum(t["state"] == "running" for t in watch.tasks.values()) == MANY)
    took = time.perf_counter() - began
    shims = {parent(task["pid"]) for task in watch.tasks.values()}
    memory = sum(proportional_kib(pid) for pid in shims) / MANY
    began = time.perf_counter()
    await delete(session, url, "many")
    await watch.until(lambda: not watch.tasks)
    return took, memory, time.perf_counter() - began


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def proportional_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def raw_spawn() -> tuple[float, float]:
    """Return seconds to start 1,000 bare processes, and to make the two directories and four files that each task has.

    Both are floors of this machine in this run; what the file system takes varies most.
    """
    with tempfile.TemporaryDirectory(prefix="harpoon-bench-") as name:
        began = time.perf_counter()
        for number in range(MANY):
            Path(name, f"{number}").mkdir()
            Path(name, f"{number}", "scratch").mkdir()
            for file in ("task.json", "shim.1", "stdout", "stderr"):
                Path(name, f"{number}", file).write_bytes(b"x")
        made = time.perf_counter() - began
    began = time.perf_counter()
    pids = [os.posix_spawn(SLEEP, [SLEEP, "100000"], {}) for _ in range(MANY)]
    took = time.perf_counter() - began
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return took, made


def raw_restart() -> float:
    """Return the median ms from kill -9 of a bare child to its successor's existence."""
    spans = []
    pid = os.posix_spawn(SLEEP, [SLEEP, "100000"], {})
    for _ in range(100):
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pid = os.posix_spawn(SLEEP, [SLEEP, "100000"], {})
        spans.append((time.perf_counter() - began) * 1000)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return statistics.median(spans)


async def measure(port: int) -> list[tuple[str, str, str, str]]:
    """Return rows of (what, ours, raw floor of this run, target)."""
    (spawned, made), restarted = raw_spawn(), raw_restart()
    async with cluster(port) as (session, url, watch, _):
        started = await starts(session, url, watch)
        killed = await kills(session, url, watch)
        took, memory, gone = await many(session, url, watch)
    p50, p99 = quantile(started, 0.5), quantile(started, 0.99)
    k50, k99 = quantile(killed, 0.5), quantile(killed, 0.99)
    return [
        ("request → running, seen on the watch, p50 / p99", f"{p50:.1f} / {p99:.1f} ms", "-", "≤ 5 / 20 ms"),
        ("kill -9 → running again, likewise", f"{k50:.1f} / {k99:.1f} ms", f"{restarted:.2f} ms", "≤ 5 / 20 ms"),
        (
            f"{MANY} tasks on one agent, all running",
            f"{took:.2f} s",
            f"{spawned:.2f} s + {made:.2f} s files",
            "≤ 1.5 s",
        ),
        ("memory a task besides the task itself", f"{memory:.0f} KiB", "-", "≤ 2048 KiB"),
        (f"{MANY} tasks stopped and gone", f"{gone:.2f} s", "-", "-"),
    ]


def rows() -> list[tuple[str, str, str, str]]:
    """Return the rows of the table."""
    return uvloop.run(measure(21000 + os.getpid() % 9000))
