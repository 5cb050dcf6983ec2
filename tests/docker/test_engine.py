"""An engine that dies, hangs or comes late: what runs is not touched, what waits says what for, nothing runs twice."""

import asyncio

import pytest
from aiohttp import web

from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.kit.errors import Invalid
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.task import TaskState
from tests.agent import rig as rigs
from tests.agent.contract import processes_of
from tests.agent.rig import connected, daemon, serving
from tests.docker.rig import agent, container, of, start

NEVER = Restart(policy=RestartPolicy.NEVER)
GONE = "the Docker engine does not answer since "


async def test_an_engine_that_is_killed_fails_no_task_until_it_says_what_became_of_it(own_engine, tmp_path):
    async with agent(tmp_path, own_engine) as rig:
        kept = await rig.running(await start(rig, "sh", "-c", "echo up; sleep 1000"))
        never = await rig.running(await start(rig, "sleep", "1000", restart=NEVER))
        await rig.log_until(kept.id, "up\n")
        own_engine.kill()
        await rig.until(lambda: GONE in rig.tasks[kept.id].reason and GONE in rig.tasks[never.id].reason)
        for task in (kept.id, never.id):
            told = rig.tasks[task]
            assert (told.state, told.ready, told.restarts) == (TaskState.RUNNING, True, 0)
            assert told.reason.startswith(f"runs; {GONE}")
        waiting = await start(rig, "sleep", "1000")
        assert (await rig.state(waiting, TaskState.STARTING)).reason
        await rig.until(lambda: rig.tasks[waiting].reason.startswith(GONE))
        await asyncio.to_thread(own_engine.up)
        # Without its engine a container runs on; the engine that comes back ends it.
        again = await rig.running(kept.id, restarts=1)
        assert again.reason == "runs"
        assert again.exit_code is not None
        over = await rig.over(never.id)
        assert over.state is TaskState.FAILED
        assert "while the Docker engine did not answer" in over.reason
        assert (await rig.running(waiting)).restarts == 0
        assert len(of(own_engine, kept.id)) == 1
        assert len(processes_of(kept.id)) >= 1
        await rig.log_until(kept.id, "up\nup\n")
        assert not any(told.state is TaskState.FAILED for told in rig.told if told.id == kept.id)


async def test_an_engine_that_hangs_is_noticed_and_one_that_goes_on_is_believed(own_engine, tmp_path, monkeypatch):
    monkeypatch.setattr("harpoon.agent.drivers.docker_watch._STOCK_S", 0.3)
    monkeypatch.setattr("harpoon.agent.drivers.docker_engine._SOON_S", 1.0)
    async with agent(tmp_path, own_engine) as rig:
        task = (await rig.running(await start(rig, "sleep", "1000"))).id
        own_engine.pause()
        await rig.until(lambda: GONE in rig.tasks[task].reason)
        own_engine.go_on()
        await rig.until(lambda: rig.tasks[task].reason == "runs")
        assert rig.tasks[task].restarts == 0
        assert {told.state for told in rig.told if told.id == task} <= {TaskState.STARTING, TaskState.RUNNING}


async def test_a_task_is_stopped_once_its_engine_can_be_told(own_engine, tmp_path):
    async with agent(tmp_path, own_engine) as rig:
        task = (await rig.running(await start(rig, "sleep", "1000"))).id
        own_engine.kill()
        await rig.until(lambda: GONE in rig.tasks[task].reason)
        await rig.stop(task)
        await rig.state(task, TaskState.STOPPING)
        await asyncio.to_thread(own_engine.up)
        over = await rig.over(task)
        assert over.state is TaskState.FINISHED
        await rig.until_true(lambda: of(own_engine, task) == [])


async def test_an_engine_that_does_not_come_is_a_failure_to_start_with_its_reason(tmp_path, own_engine, monkeypatch):
    monkeypatch.setattr("harpoon.agent.drivers.docker_start._ENGINE_WITHIN_S", 0.5)
    own_engine.kill()
    async with agent(tmp_path, own_engine) as rig:
        over = await rig.over(await start(rig, "sleep", "1000", restart=NEVER))
        assert over.reason.startswith(f"could not be started: {GONE}")


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "alive"])
async def test_an_agent_that_starts_without_its_engine_believes_what_it_knew(own_engine, tmp_path, is_killed):
    told = {"docker": own_engine.url}
    async with daemon(tmp_path, **told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await rig.running(await start(rig, "sh", "-c", "echo up; sleep 1000"))
        await rig.log_until(task.id, "up\n")
        await first.kill()
    if is_killed:
        own_engine.kill()
    async with daemon(tmp_path, **told) as second, connected(second.port) as rig:
        await rig.until(lambda: task.id in rig.tasks)
        # The very first that is told of it.
        found = next(one for one in rig.told if one.id == task.id)
        assert (found.state, found.pid, found.ready) == (TaskState.RUNNING, task.pid, True)
        if is_killed:
            await rig.until(lambda: GONE in rig.tasks[task.id].reason)
            await asyncio.to_thread(own_engine.up)
            await rig.running(task.id, restarts=1)
        else:
            assert rig.tasks[task.id].restarts == 0
        assert len(of(own_engine, task.id)) == 1


async def test_what_ended_while_neither_was_there_is_known(own_engine, tmp_path):
    told = {"docker": own_engine.url}
    async with daemon(tmp_path, **told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = (await rig.running(await start(rig, "sh", "-c", "sleep 1; echo bye; exit 9", restart=NEVER))).id
        await first.kill()
    own_engine.kill()
    await rig.until_true(lambda: processes_of(task) == [])
    await asyncio.to_thread(own_engine.up)
    async with daemon(tmp_path, **told) as second, connected(second.port) as rig:
        over = await rig.over(task)
        assert over.state is TaskState.FAILED
        assert over.exit_code in (9, -9, -15, 255)


async def test_an_agent_offers_containers_once_its_engine_answers(own_engine, tmp_path):
    registered: asyncio.Queue[dict] = asyncio.Queue()

    async def register(request: web.Request) -> web.Response:
        registered.put_nowait(await request.json())
        return web.json_response({})

    runner, port = await serving({("PUT", "/v1/agents/{name}"): register})
    own_engine.kill()
    try:
        async with agent(tmp_path, own_engine, servers=(f"http://127.0.0.1:{port}",)) as rig:
            first = await registered.get()
            assert first.get("drivers", ["process"]) == ["process"]
            assert "docker" not in first["facts"]
            task = await start(rig, "sleep", "1000")
            await asyncio.to_thread(own_engine.up)
            async with asyncio.timeout(20):
                while (told := await registered.get()).get("drivers") != ["docker", "process"]:
                    pass
            assert told["facts"]["docker"] == own_engine.ask("GET", "/version")["Version"]
            await rig.running(task)
    finally:
        await runner.cleanup()


async def test_an_agent_that_is_told_of_no_engine_takes_no_containers_and_abandons_none(own_engine, tmp_path):
    async with rigs.agent(tmp_path / "without", docker=DockerRules(url=None)) as rig:
        result = await rig.obey(rig.order(container("sleep", "1000")))
        assert (result.is_ok, result.reason) == (False, "this agent runs no docker tasks")
    async with daemon(tmp_path / "with", docker=own_engine.url) as first, connected(first.port) as rig:
        await rig.adopt()
        task = (await rig.running(await start(rig, "sleep", "1000"))).id
        await first.kill()
    with pytest.RaisesGroup(pytest.RaisesExc(Invalid, match="this agent has no engine"), flatten_subgroups=True):
        async with rigs.agent(tmp_path / "with", docker=DockerRules(url=None)):
            pass
    assert len(of(own_engine, task)) == 1
