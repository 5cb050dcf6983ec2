"""How fast an agent has 200 containers running on one engine, beside a script that only makes and starts them.

The script asks the engine for the same containers with as many requests at a time, and looks at each once; it keeps
no record on disk, follows no output and watches nothing. It is measured before and after, as an engine becomes slower
with what it has seen. An engine of its own is started for it, by root. It takes minutes.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from harpoon.agent.drivers.box import Box
from harpoon.agent.drivers.docker_config import config_of
from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.agent.drivers.docker_start import STARTING_MAX
from harpoon.agent.drivers.handle import Launch
from harpoon.model.command import StartTask
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.template import Driver, TaskTemplate
from tests.agent.rig import Rig
from tests.docker.engine import IMAGE, TestEngine, an_engine
from tests.docker.rig import agent

CONTAINERS = 200
AT_ONCE = 50
COMMAND = ("sleep", "1000")

Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """Return (name, ours, raw floor of the same run, target) for each figure."""
    ours, floors = [], []
    # The tests' rig waits as long as tests do.
    with (
        tempfile.TemporaryDirectory(prefix="bench-docker-", dir="/var/tmp") as directory,
        an_engine(Path(directory) / "engine", 9) as engine,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        for measure in (_floor, _ours, _floor):
            took = runner.run(measure(engine, Path(directory) / "state"))
            (ours if measure is _ours else floors).append(took)
            engine.wipe()
    mine, floor = ours[0], statistics.mean(floors)
    return [
        (
            f"{CONTAINERS} containers running",
            f"{mine:.1f} s ({mine / floor:.2f} times)",
            f"{floor:.1f} s: create, start and inspect, {STARTING_MAX} at a time",
            "at most 1.20 times",
        )
    ]


async def _floor(engine: TestEngine, _: Path) -> float:
    box = Box(task="bench", cluster="bench", image=IMAGE)
    launch = Launch(arguments=COMMAND, environment={}, directory="", stdout="", stderr="", shim_file="", container=box)
    config = config_of(launch, DockerRules(url=engine.url), {})
    places = asyncio.Semaphore(STARTING_MAX)
    connector = aiohttp.UnixConnector(str(engine.socket), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(number: int) -> None:
            async with places:
                query = {"name": f"floor{os.getpid()}-{number}"}
                made = await session.post("http://docker/containers/create", params=query, json=config)
                container = (await made.json())["Id"]
                await (await session.post(f"http://docker/containers/{container}/start")).read()
                told = await (await session.get(f"http://docker/containers/{container}/json")).json()
                assert told["State"]["Running"], json.dumps(told["State"])

        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(CONTAINERS):
                group.create_task(one(number))
        return time.perf_counter() - begin


async def _ours(engine: TestEngine, state: Path) -> float:
    async with agent(state, engine) as rig:
        template = TaskTemplate(driver=Driver.DOCKER, image=IMAGE, command=COMMAND)
        # Whoever comes first waits for the engine to be met, which is none of this.
        first = rig.order(template)
        await rig.send(first)
        await rig.running(first.task)
        orders = [
            StartTask(task=TaskId(f"default.bench.{n}.1-1"), generation="g", template=template, reason="bench")
            for n in range(CONTAINERS)
        ]
        begin = time.perf_counter()
        for start in range(0, CONTAINERS, AT_ONCE):
            await rig.send(*orders[start : start + AT_ONCE])
        await _all_run(rig, CONTAINERS + 1)
        return time.perf_counter() - begin


async def _all_run(rig: Rig, count: int) -> None:
    async with asyncio.timeout(600), rig.changed:
        await rig.changed.wait_for(lambda: sum(task.state is TaskState.RUNNING for task in rig.tasks.values()) >= count)
