"""Whose containers are whose: the agent's own are found, or removed; all others are left alone, whatever they wear."""

import pytest

from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.task import TaskState
from tests.agent.rig import connected, daemon
from tests.docker.rig import agent, of, start

NEVER = Restart(policy=RestartPolicy.NEVER)


async def test_a_strangers_container_is_neither_adopted_nor_killed_whatever_it_wears(engine, tmp_path):
    told = {"docker": engine.url}
    async with daemon(tmp_path, **told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = (await rig.running(await start(rig, "sleep", "1000"))).id
        (one,) = of(engine, task)
        strangers = []
        for number in range(2):
            # Even the label that only the container itself should have.
            stranger = engine.create(f"stranger{number}", Cmd=["sleep", "1000"], Labels=one["Config"]["Labels"])
            engine.start(stranger)
            strangers.append(stranger)
        await first.kill()
    async with daemon(tmp_path, **told) as second, connected(second.port) as rig:
        await rig.adopt()
        assert (await rig.running(task)).pid == one["State"]["Pid"]
        await rig.stop(task)
        await rig.over(task)
        await rig.forget(task)
        await second.kill()
    async with daemon(tmp_path, **told) as third, connected(third.port) as rig:
        await rig.adopt()
        # A new one is started and stopped beside them, so the agent has seen them.
        await rig.stop(other := (await rig.running(await start(rig, "sleep", "1000"))).id)
        await rig.over(other)
        for stranger in strangers:
            assert engine.inspect(stranger)["State"]["Running"]
            engine.ask("DELETE", f"/containers/{stranger}?force=1")


async def test_a_container_whose_name_another_has_taken_is_not_that_one(engine, tmp_path):
    told = {"docker": engine.url}
    async with daemon(tmp_path, **told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = (await rig.running(await start(rig, "sleep", "1000", restart=NEVER))).id
        (one,) = of(engine, task)
        await first.kill()
    engine.ask("DELETE", f"/containers/{one['Id']}?force=1")
    stranger = engine.create(one["Name"].lstrip("/"), Cmd=["sleep", "1000"], Labels=one["Config"]["Labels"])
    engine.start(stranger)
    async with daemon(tmp_path, **told) as second, connected(second.port) as rig:
        over = await rig.over(task)
        assert over.state is TaskState.FAILED
        assert "its container was removed" in over.reason
        assert engine.inspect(stranger)["State"]["Running"]


@pytest.mark.parametrize("moment", ["while it runs", "once it has ended"])
async def test_a_container_of_a_task_that_is_forgotten_is_removed_when_its_engine_is_back(own_engine, tmp_path, moment, monkeypatch):  # fmt: skip
    monkeypatch.setattr("harpoon.agent.drivers.docker._SWEEP_S", 0.2)
    async with agent(tmp_path, own_engine) as rig:
        script = "sleep 1000" if moment == "while it runs" else "sleep 1; exit 3"
        task = (await rig.running(await start(rig, "sh", "-c", script, restart=NEVER))).id
        (one,) = of(own_engine, task)
    # As though its directory were lost with a disk.
    for file in sorted((tmp_path / "tasks" / task).rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (tmp_path / "tasks" / task).rmdir()
    async with agent(tmp_path, own_engine) as rig:
        await rig.until_true(lambda: of(own_engine, task) == [])
        await rig.until_true(lambda: list((tmp_path / "containers").iterdir()) == [])
        assert one["Id"]


async def test_a_container_that_somebody_removes_is_a_death_with_its_reason(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        task = (await rig.running(await start(rig, "sleep", "1000", restart=NEVER))).id
        (one,) = of(engine, task)
        engine.ask("DELETE", f"/containers/{one['Id']}?force=1")
        over = await rig.over(task)
        assert over.state is TaskState.FAILED
        assert "was killed by KILL" in over.reason or "its container was removed" in over.reason
