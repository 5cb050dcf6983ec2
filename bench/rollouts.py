"""Requests that fail while tasks are replaced: by a migrate, by a drain, and because endpoints that they use change.

A real server on SQLite, three real agents, real processes, or with ``DRIVER=docker``, by root, containers on an engine;
a client that knows the service only by ``/endpoints`` asks it 250 times a second, each time by a connection of its own,
and never again: counted as in ``examples/demo.py``.

What it does not show: a network between client and tasks, or a client that keeps addresses for longer than
``stop.drain``.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from bench.system import quantile
from examples.demo import SITE, Visitor, free_ports
from tests.containers import images
from tests.docker.engine import IMAGE, an_engine

ROUNDS = int(os.environ.get("ROUNDS", "20"))
DRIVER = os.environ.get("DRIVER", "process")
SCALES = (1, 3, 10)
AGENTS = ("a1", "a2", "a3")
JOBS = "/v1/namespaces/default/jobs"
#: A round that takes longer has failed.
PATIENCE_S = 120
#: Where it is kept: an engine's data not in memory.
_HOME = {"process": None, "docker": "/var/tmp"}
#: A request that takes longer has failed. Ten containers that start at once keep two processors for a second.
_SLOW_S = {"process": 1.0, "docker": 5.0}
#: What a task is, by driver: the one that is visited, and the other.
_VISITED = {
    "process": {"command": [sys.executable, "-c", SITE]},
    "docker": {"driver": "docker", "command": ["python3", "-c", SITE]},
}
_OTHER = {
    "process": {"command": ["/bin/sleep"]},
    "docker": {"driver": "docker", "image": IMAGE, "command": ["sleep"]},
}


class Harbour:
    """The server, as its users see it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, image: str | None) -> None:
        self.session = session
        self.url = url
        self.version = 0
        #: Of the visited job, if it runs in containers.
        self.image = image

    async def put(self, name: str, **spec: object) -> None:
        """Declare a job, and wait until that is done."""
        document = {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        await self.settled(await self.ask("PUT", f"{JOBS}/{name}", document))

    async def settled(self, accepted: dict) -> None:
        while True:
            told = await self.ask("GET", f"/v1/changes/{accepted['change']}?wait=10s")
            if told["is_done"]:
                return
            if told["state"] in ("failed", "superseded"):
                raise RuntimeError(f"{told['state']}: {told['summary']}")

    async def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        async with self.session.request(method, self.url + path, json=body) as response:
            told = await response.json()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {told}")
            return told

    async def web(self, scale: int) -> None:
        """Migrate the visited job, or schedule it."""
        self.version += 1
        task = {
            **_VISITED[DRIVER],
            "image": self.image,
            "env": {"COLOUR": str(self.version), "PEERS": {"endpoints": "peer/http"}},
            "ports": {"http": 0},
            "checks": [{"http": {"port": "http", "path": "/"}, "every": "200ms"}],
            "stop": {"drain": "1s", "grace": "5s"},
        }
        await self.put("web", scale=scale, task=task, placement={"spread": [{"tag": "name"}]}, update={"surge": 2})

    async def replaced(self) -> None:
        """Have the endpoints change that the visited job uses, and wait until all of its tasks are others."""
        before = await self.tasks()
        await self.peer()
        while before & await self.tasks():
            await asyncio.sleep(0.1)

    async def tasks(self) -> set[str]:
        """Return the visited job's tasks."""
        return {task["id"] for task in (await self.ask("GET", f"{JOBS}/web/status"))["tasks"]}

    async def peer(self) -> None:
        """Schedule the job whose endpoints the visited one uses, or have them change."""
        self.version += 1
        task = _OTHER[DRIVER] | {"ports": {"http": 0}, "stop": {"drain": "0s", "grace": "1s"}}
        task["command"] = [*task["command"], str(100_000 + self.version)]
        await self.put("peer", scale=1, task=task)

    async def drained(self, agent: str) -> None:
        """Empty an agent, and use it again."""
        await self.ask("POST", f"/v1/agents/{agent}/drain", {})
        while not (await self.ask("GET", f"/v1/agents/{agent}?wait=2s"))["drain"]["is_done"]:
            await asyncio.sleep(0.05)
        await self.ask("POST", f"/v1/agents/{agent}/uncordon", {})

    async def ready(self) -> None:
        """Wait until the visited job is as it should be."""
        while (await self.ask("GET", f"{JOBS}/web/status"))["state"] != "ready":
            await asyncio.sleep(0.1)


@asynccontextmanager
async def harbour() -> AsyncIterator[Harbour]:
    """Run a server and three agents."""
    port, *others = free_ports(1 + len(AGENTS))
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as held:
        name = held.enter_context(tempfile.TemporaryDirectory(prefix="harpoon-bench-", dir=_HOME[DRIVER]))
        engine, image = "off", None
        if DRIVER == "docker":
            engine = held.enter_context(an_engine(Path(name) / "engine")).url
            os.environ["DOCKER_HOST"] = engine
            image = images.python()
        start, parts = [sys.executable, "-m", "harpoon"], []
        with (Path(name) / "log").open("ab") as log:
            server = ["server", "--data", f"{name}/server", "--listen", f"127.0.0.1:{port}"]
            parts.append(subprocess.Popen([*start, *server], stdout=log, stderr=log))
            for number, (agent, listen) in enumerate(zip(AGENTS, others, strict=True)):
                where = ["--listen", f"127.0.0.1:{listen}", "--state-dir", f"{name}/{agent}"]
                ports = ["--ports", f"{20_000 + 3000 * number}-{22_999 + 3000 * number}"]
                command = [*start, "agent", "--name", agent, "--server", url, *where, *ports, "--docker", engine]
                parts.append(subprocess.Popen(command, stdout=log, stderr=log))
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
                subprocess.run(
                    [*start, "wait", "agents", "--count", "3", "--server", url], check=True, capture_output=True
                )
                yield Harbour(session, url, image)
                for job in ("web", "peer"):
                    with suppress(RuntimeError):
                        await session.delete(f"{url}{JOBS}/{job}")
                subprocess.run(
                    [*start, "wait", "job/web", "--for", "gone", "--server", url], capture_output=True, check=False
                )
        finally:
            for part in reversed(parts):
                part.terminate()
                part.wait(20)


Way = Callable[[int], Awaitable[None]]


async def visited(harbour: Harbour, scale: int, replace: Way) -> tuple[int, int, list[float]]:
    """Replace tasks so many times under load; return requests, those that failed, and how long each round took."""
    visitor, took = Visitor(harbour.url), []
    visitor.slow_s = _SLOW_S[DRIVER]
    async with asyncio.TaskGroup() as group:
        following = group.create_task(visitor.follow(harbour.session))
        while len(visitor.addresses) < scale:
            await asyncio.sleep(0.01)
        browsing = group.create_task(visitor.browse())
        for number in range(ROUNDS):
            began = time.monotonic()
            async with asyncio.timeout(PATIENCE_S):
                await replace(number)
                await harbour.ready()
            took.append(time.monotonic() - began)
        await asyncio.sleep(0.5)
        browsing.cancel()
        following.cancel()
    for failure in visitor.failures[:3]:
        print(f"  failed: {failure}", file=sys.stderr)
    return sum(visitor.answers.values()) + len(visitor.failures), len(visitor.failures), took


async def measure() -> list[tuple[str, str, str, str]]:
    """Return the table."""
    rows = []
    async with harbour() as there:
        await there.peer()
        for scale in SCALES:
            await there.web(scale)
            ways: dict[str, Way] = {
                "migrating": lambda _, scale=scale: there.web(scale),
                "draining": lambda number: there.drained(AGENTS[number % len(AGENTS)]),
                "replacing": lambda _: there.replaced(),
            }
            for what, replace in ways.items():
                asked, failed, took = await visited(there, scale, replace)
                figure = f"{failed} of {asked} failed; a round {quantile(took, 0.5):.1f} s"
                rows.append(
                    (f"requests while {what}, {DRIVER}, scale {scale}, {ROUNDS} rounds", figure, "-", "0 failed")
                )
                print(f"  {rows[-1][0]}: {figure}", file=sys.stderr, flush=True)
    return rows


def rows() -> list[tuple[str, str, str, str]]:
    """Measure, and return rows of the table."""
    return asyncio.run(measure())
