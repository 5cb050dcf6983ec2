"""A server goes on with a registry that was copied, in a new life: what is of the former one is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.control.controller import Controller
from harpoon.control.means import Means
from harpoon.control.metrics import Metrics
from harpoon.kit.clock import Random, SystemClock
from harpoon.kit.errors import Conflict, NotFound
from harpoon.kit.loop import Pace
from harpoon.model.job import Metadata, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.task import parse_task_id
from harpoon.model.template import TaskTemplate
from harpoon.store.cluster import CLUSTER, COPYING
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from tests.api.rig import a_manifest as a_body
from tests.api.rig import a_rig
from tests.builders import an_agent
from tests.fakes import FakeAgent
from tests.store.copying import RECORD, copied, files
from tests.store.reading import put


@asynccontextmanager
async def a_controller(store: Store, agent: FakeAgent) -> AsyncIterator[Controller]:
    means = Means(
        store=store,
        connect=lambda _endpoint: agent,
        clock=SystemClock(),
        rng=Random(1),
        instance="test",
        pace=Pace(resync=timedelta(seconds=60)),
    )
    controller = await Controller.open(means, Metrics())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(controller.follow()), group.create_task(controller.run())]
        yield controller
        for task in tasks:
            task.cancel()


async def until(controller: Controller, is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():
            await controller.view.mirror.reached(controller.view.revision + 1)


async def adopted(agent: FakeAgent, incarnation: int) -> None:
    async with asyncio.timeout(10):
        while agent.mark is None or agent.mark.incarnation != incarnation:
            await asyncio.sleep(0.001)


def a_manifest(scale: int) -> Manifest:
    spec = Spec(scale=scale, task=TaskTemplate(command=("serve",)))
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name="web"), spec=spec)


async def test_a_server_goes_on_with_the_copy_and_leaves_tasks_alone(tmp_path: Path) -> None:
    agent, source = FakeAgent("a1"), MemoryStore()
    async with a_controller(source, agent) as controller:
        await controller.roster.register(replace(an_agent("a1"), uid=agent.uid))
        first = await controller.registry.put(a_manifest(2))
        await until(controller, lambda: controller.registry.status("default", "web").is_done)
        with pytest.raises(Conflict, match="is at work on the source"):
            await copied(source, MemoryStore())
    before = dict(agent.tasks)
    async with files(tmp_path, "copy.db") as (target,):
        done = await copied(source, target)
        async with a_controller(target, agent) as controller:
            await adopted(agent, done.incarnation)
            await until(controller, lambda: controller.registry.status("default", "web").is_done)
            assert agent.tasks == before
            with pytest.raises(NotFound):
                controller.registry.change(first.change)
            await controller.registry.put(a_manifest(3))
            await until(controller, lambda: controller.registry.status("default", "web").is_done)
            (new,) = agent.tasks.keys() - before.keys()
            assert parse_task_id(new).number > max(parse_task_id(task).number for task in before)
        # Whoever starts a server on the old store is refused by the agents.
        tasks = dict(agent.tasks)
        async with a_controller(source, agent) as stale, asyncio.timeout(10):
            while not stale.metrics.fenced._value.get():
                await asyncio.sleep(0.001)
        assert (agent.mark.incarnation, agent.tasks) == (done.incarnation, tasks)


async def test_a_server_does_not_start_on_an_unfinished_copy() -> None:
    store = MemoryStore()
    await put(store, COPYING)
    with pytest.raises(Conflict, match="run the same harpoon store copy or harpoon restore again"):
        async with a_controller(store, FakeAgent("a1")):
            raise AssertionError("it has started")


async def test_what_refers_to_the_former_life_is_refused_and_nothing_is_done_twice() -> None:
    source, target = MemoryStore(), MemoryStore()
    await put(source, CLUSTER, RECORD)
    path = "/v1/namespaces/default/jobs/web"
    async with a_rig(store=source, incarnation=3) as rig:
        etag = (await rig.put("web", scale=2)).headers["ETag"]
        first = await rig.ask("POST", f"{path}/scale", {"scale": 3}, Idempotency_Key="k")
        assert first.status == 202
    done = await copied(source, target)
    async with a_rig(store=target, incarnation=done.incarnation) as rig:
        old = await rig.ask("PUT", path, a_body(), If_Match=etag)
        assert (old.status, "is of incarnation 3" in old.json["detail"]) == (412, True)
        assert (await rig.get(f"{path}?min_revision={etag.strip(chr(34))}")).status == 410
        now = (await rig.get(path)).headers["ETag"]
        again = await rig.ask("POST", f"{path}/scale", {"scale": 3}, Idempotency_Key="k")
        assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
        assert (await rig.get(f"/v1/changes/{again.json['change']}")).status == 404, "it is of the former life"
        assert (await rig.get(path)).headers["ETag"] == now
        assert (await rig.ask("PUT", path, a_body(), If_Match=now)).status == 202
