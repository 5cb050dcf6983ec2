"""Agents that run containers, with the engine of the tests."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.model.name import TaskId
from harpoon.model.template import Driver, TaskTemplate
from tests.agent import rig
from tests.agent.contract import a_job
from tests.docker.engine import IMAGE, Asked, TestEngine


@contextlib.asynccontextmanager
async def agent(state: Path, engine: TestEngine, **told: Any) -> AsyncIterator[rig.Rig]:
    """An agent within this process that has the engine; ``rules`` are told beside its address."""
    rules = told.pop("rules", {})
    docker = DockerRules(**{"url": engine.url, "config": None} | rules)
    async with rig.agent(state, docker=docker, **told) as made:
        yield made


def container(*command: str, **fields: Any) -> TaskTemplate:
    return TaskTemplate(**{"driver": Driver.DOCKER, "image": IMAGE, "command": command} | fields)


async def start(made: rig.Rig, *command: str, **fields: Any) -> TaskId:
    # What runs of it is found by its name on the whole host, where others may test as well.
    order = made.order(container(*command, **fields), a_job())
    result = await made.obey(order)
    assert result.is_ok, result.reason
    return order.task


def of(engine: TestEngine, task: TaskId) -> list[Any]:
    """The containers of a task, as the engine tells them."""
    found = []
    for one in engine.containers(f"harpoon.task={task}"):
        # It may be gone since.
        with contextlib.suppress(Asked):
            found.append(engine.inspect(one["Id"]))
    return found
