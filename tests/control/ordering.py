"""A controller that conducts runs, with its crew of connectors and agents in memory: workflows that do things."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson

from harpoon.control.attempt_whys import with_job
from harpoon.control.connecting import Connecting
from harpoon.control.connectors import connectors_of
from harpoon.control.controller import Controller
from harpoon.control.http_connector import Answer, Request
from harpoon.control.orders import Begun, Start
from harpoon.control.run_status import RunStatus
from harpoon.control.work import WorkExchange
from harpoon.core.step import Signal
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.model.header import Header
from harpoon.model.inputs import check_inputs
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.why import Why
from harpoon.model.workflow import WorkflowManifest
from harpoon.store.memory import MemoryStore
from tests.control.test_controller import House
from tests.fakes import FakeAgent

NAMESPACE = "default"


class Works:
    """What a test sees of it."""

    def __init__(self, controller: Controller, *agents: FakeAgent) -> None:
        self.controller = controller
        self.agents = agents

    async def declare(self, name: str = "release", **spec: Any) -> None:
        """Declare a workflow; what is given is its spec, as a user writes it."""
        document = {"apiVersion": "harpoon/v1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}
        await self.controller.workflows.put(codec.decode(WorkflowManifest, orjson.dumps(document)))

    async def start(self, run: str = "r-1", workflow: str = "release", **inputs: Any) -> None:
        conductor = await self.controller.runs.awaited(f"{NAMESPACE}/{run}", 5)
        assert conductor is not None
        form = await self.controller.workflows.form(NAMESPACE, workflow)
        start = Start(NAMESPACE, run, workflow, "h", check_inputs(form.graph.spec.inputs, inputs), {})
        [told] = await conductor.start([(start, form)])
        assert isinstance(told, Begun)

    async def header(self, run: str = "r-1") -> Header:
        header = await self.controller.runs.reader.header(f"{NAMESPACE}/{run}")
        assert header is not None
        return header

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0)

    async def ended(self, run: str = "r-1") -> Header:
        """Return the header of a run once it is over."""
        async with asyncio.timeout(10):
            while not (header := await self.header(run)).status.is_over:
                await asyncio.sleep(0.001)
        return header

    async def cancel(self, run: str = "r-1") -> None:
        conductor = self.controller.runs.conductor_of(f"{NAMESPACE}/{run}")
        assert conductor is not None
        await conductor.cancel(f"{NAMESPACE}/{run}", "enough")

    async def signal(self, name: str, label: str, run: str = "r-1") -> None:
        conductor = self.controller.runs.conductor_of(f"{NAMESPACE}/{run}")
        assert conductor is not None
        await conductor.signal(f"{NAMESPACE}/{run}", Signal(f"{name}-{label}", name, None, label))

    def open(self, run: str = "r-1") -> list[str]:
        """Return the operations of a run that are open; none, once it is over."""
        conductor = self.controller.runs.conductor_of(f"{NAMESPACE}/{run}")
        conducted = None if conductor is None else conductor.runs.get(f"{NAMESPACE}/{run}")
        return [] if conducted is None else sorted(op for op, _ in conducted.run.open)

    async def why(self, run: str = "r-1") -> Why:
        """Return why a run stands as it does, as it is told by whoever is asked."""
        status = RunStatus(self.controller.registry._store, self.controller.runs.reader, SystemClock())
        return await status.why(NAMESPACE, run, None, "1.1", partial(with_job, self.controller.view))

    def jobs(self) -> list[str]:
        return sorted(row.value.name for row in self.controller.view.jobs.rows.values())

    def live(self) -> list[TaskId]:
        return sorted(task for agent in self.agents for task, told in agent.tasks.items() if not told.is_over)

    async def task(self, job: str = "") -> TaskId:
        """Return a task that runs, once one does."""
        await self.until(lambda: [task for task in self.live() if f".{job}" in task])
        return next(task for task in self.live() if f".{job}" in task)

    def end(self, task: TaskId, code: int = 0) -> None:
        agent = next(one for one in self.agents if task in one.tasks)
        state = TaskState.FAILED if code else TaskState.FINISHED
        agent.report(task, state=state, ready=False, exit_code=code, reason=f"exited {code}")


class Nowhere:
    """What calls over HTTP would be made by: there is no network here."""

    async def call(self, request: Request, most: int) -> Answer:
        raise AssertionError(f"nothing is called here, and yet {request} is")


@asynccontextmanager
async def works(
    *agents: FakeAgent, store: MemoryStore | None = None, has_crew: bool = True, **settings: object
) -> AsyncIterator[Works]:
    """Run all that conducts runs and carries out their operations; or leaves that, as one that is about to die."""
    house = House(store or MemoryStore(), agents, **settings)
    means = house.means()

    def exchange_for(conductor_of: Any) -> WorkExchange:
        return WorkExchange(conductor_of, means.clock)

    controller = await Controller.open(means, house.metrics, exchange_for)
    exchange = controller.exchange
    assert isinstance(exchange, WorkExchange)
    crew = Connecting(
        exchange, controller.runs.conductor_of, means.instance, connectors_of(means, controller, Nowhere())
    )
    async with house.opened(controller):
        tasks = [asyncio.ensure_future(one.run()) for one in (exchange, *([crew] if has_crew else []))]
        try:
            yield Works(controller, *agents)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
