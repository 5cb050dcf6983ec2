"""Jobs that refer to other jobs: dependencies and endpoints, through the shipped loops."""

from datetime import timedelta

import pytest

from harpoon.control.references import References, check_references
from harpoon.kit.errors import Invalid
from harpoon.model.command import StartTask
from harpoon.model.dependency import Dependency
from harpoon.model.given import Endpoints, OnChange
from harpoon.model.job import Metadata, OnLost, Spec
from harpoon.model.manifest import Manifest
from harpoon.model.status import JobState
from harpoon.model.task import TaskState
from harpoon.model.template import TaskTemplate
from harpoon.store.memory import MemoryStore
from harpoon.store.table import Row, RowChange
from tests.builders import a_job
from tests.control.test_controller import House, settled, until
from tests.fakes import FakeAgent


def a_manifest(name, *, depends_on=(), env=None, scale=1, on_lost=OnLost.REPLACE, **task):
    spec = Spec(
        task=TaskTemplate(command=("serve",), env=env or {}, **task),
        scale=scale,
        depends_on=tuple(Dependency(job=other) for other in depends_on),
        on_lost=on_lost,
    )
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=Metadata(name=name), spec=spec)


def api(port="api/http", on_change=OnChange.RESTART):
    return {"API": Endpoints(endpoints=port, on_change=on_change)}


def envs(agent, job):
    """What the starts of a job's tasks were given, in order."""
    return [
        dict(command.template.env)
        for command in agent.obeyed
        if isinstance(command, StartTask) and command.task.startswith(f"default.{job}.")
    ]


async def test_a_job_waits_for_the_one_it_depends_on_and_says_so() -> None:
    agent = FakeAgent("a1")
    async with House(MemoryStore(), (agent,)).running() as controller:
        await controller.registry.put(a_manifest("web", depends_on=["db"]))
        await until(controller, lambda: bool(controller.registry.status("default", "web").waiting))
        status = controller.registry.status("default", "web")
        assert status.state is JobState.WAITING
        assert status.waiting == ("1 of 1 wanted slots wait for job db to be ready (found there is no such job)",)
        assert not agent.tasks
        await controller.registry.put(a_manifest("db"))
        await settled(controller, "db")
        await settled(controller, "web")
        assert controller.view.pending.rows == {}


async def test_what_runs_is_left_alone_when_its_dependency_goes() -> None:
    agent = FakeAgent("a1")
    async with House(MemoryStore(), (agent,)).running() as controller:
        await controller.registry.put(a_manifest("db"))
        await controller.registry.put(a_manifest("web", depends_on=["db"]))
        await settled(controller, "web")
        await controller.registry.delete("default", "db")
        await until(controller, lambda: "default/db" not in controller.view.jobs.rows)
        web = next(task for task in agent.tasks if ".web." in task)
        agent.report(web, state=TaskState.FAILED, ready=False)
        await until(controller, lambda: web not in agent.tasks)
        await settled(controller, "web")


async def test_endpoints_are_given_to_tasks_and_renewed_by_replacing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.core.standing.REBIND_MIN", timedelta(0))
    agent = FakeAgent("a1")
    async with House(MemoryStore(), (agent,)).running() as controller:
        await controller.registry.put(a_manifest("api", ports={"http": 0}))
        await settled(controller, "api")
        await controller.registry.put(a_manifest("web", env={"MODE": "fast"} | api()))
        await settled(controller, "web")
        (first,) = envs(agent, "web")
        port = next(task for task in agent.tasks.values() if ".api." in task.id).ports["http"]
        assert first == {"MODE": "fast", "API": f"127.0.0.1:{port}"}
        await controller.registry.scale("default", "api", 2)
        await until(controller, lambda: envs(agent, "web")[-1]["API"].count(",") == 1)
        await settled(controller, "web")
        placed = controller.view.placements_of("default/web").values()
        assert [row.value.bindings for row in placed] == [{"API": envs(agent, "web")[-1]["API"]}]


async def test_a_task_may_keep_the_endpoints_it_was_started_with() -> None:
    agent = FakeAgent("a1")
    async with House(MemoryStore(), (agent,)).running() as controller:
        await controller.registry.put(a_manifest("web", env=api(on_change=OnChange.KEEP)))
        await settled(controller, "web")
        await controller.registry.put(a_manifest("api", ports={"http": 0}))
        await settled(controller, "api")
        assert envs(agent, "web") == [{"API": ""}]
        web = next(task for task in agent.tasks if ".web." in task)
        agent.report(web, state=TaskState.FAILED, ready=False)
        await until(controller, lambda: len(envs(agent, "web")) == 2)
        assert envs(agent, "web")[1]["API"]


@pytest.mark.parametrize(
    ("manifests", "pointer", "way"),
    [
        ([a_manifest("web", depends_on=["web"])], "/spec/depends_on", "web -> web"),
        ([a_manifest("web", env=api("web/http"))], "/spec/task/env", "web -> web"),
        ([a_manifest("api", depends_on=["web"])], "/spec/depends_on", "api -> web -> db -> api"),
    ],
)
async def test_a_circle_is_refused_and_told(manifests, pointer: str, way: str) -> None:
    async with House(MemoryStore(), ()).running() as controller:
        await controller.registry.put(a_manifest("db", env=api()))
        if way.count("->") > 1:
            await controller.registry.put(a_manifest("web", depends_on=["db"]))
        with pytest.raises(Invalid, match=way) as caught:
            await controller.registry.put(manifests[0])
        assert [problem.pointer for problem in caught.value.problems] == [pointer]


async def test_a_circle_within_one_apply_is_refused_where_it_begins() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        both = [a_manifest("x"), a_manifest("web", depends_on=["db"]), a_manifest("db", depends_on=["web"])]
        with pytest.raises(Invalid) as caught:
            await controller.registry.apply(both)
        assert [problem.pointer for problem in caught.value.problems] == ["/documents/1/spec/depends_on"]
        assert not controller.view.jobs.rows


async def test_a_diamond_is_no_circle() -> None:
    async with House(MemoryStore(), ()).running() as controller:
        await controller.registry.put(a_manifest("b", depends_on=["d"]))
        await controller.registry.put(a_manifest("c", depends_on=["d"]))
        check_references(controller.view, {"": a_manifest("a", depends_on=["b", "c"])})


def test_references_are_known_as_jobs_come_and_go() -> None:
    known = References()

    def hear(key: str, job) -> None:
        row = None if job is None else Row(job, 1, 1)
        known.hear(RowChange(None, key, None, row))

    hear("default/web", a_job(depends_on=["db", "api"]))
    hear("default/app", a_job(name="app", depends_on=["db"]))
    assert sorted(known.users("default/db")) == ["default/app", "default/web"]
    hear("default/web", a_job(depends_on=["api"]))
    assert known.users("default/db") == ("default/app",)
    hear("default/app", None)
    hear("default/web", None)
    assert (known.users("default/db"), known.users("default/api")) == ((), ())
