"""Images: fetched as the task says, told as they come, and their want a reason."""

import asyncio
import base64
import json
from datetime import timedelta

import pytest

from harpoon.model.container import Pull
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy
from harpoon.model.task import TaskState
from tests.docker.engine import IMAGE
from tests.docker.registry import a_registry
from tests.docker.rig import agent, of, start

NEVER = Restart(policy=RestartPolicy.NEVER)
ONCE = Restart(attempts=1, backoff=Backoff(initial=timedelta(milliseconds=50), max=timedelta(milliseconds=50)))


async def test_an_image_that_is_missing_is_a_failure_with_its_reason_and_tried_again(engine, tmp_path):
    async with agent(tmp_path, engine) as rig:
        task = await start(rig, image="harpoon-test/none:1", pull=Pull.NEVER, restart=ONCE)
        over = await rig.over(task)
        assert (over.state, over.restarts, over.exit_code) == (TaskState.FAILED, 1, None)
        assert "image harpoon-test/none:1 is not on this agent's engine, and pull is never" in over.reason
        assert of(engine, task) == []
        assert list((tmp_path / "containers").iterdir()) == []


async def test_a_registry_that_does_not_know_an_image_is_asked_once(engine, tmp_path):
    async with a_registry() as registry, agent(tmp_path, engine) as rig:
        task = await start(rig, image=f"127.0.0.1:{registry.port}/team/none:1", restart=NEVER)
        over = await rig.over(task)
        assert over.reason.startswith(f"could not be started: pulling 127.0.0.1:{registry.port}/team/none:1: ")
        assert "manifest unknown" in over.reason or "not found" in over.reason
        assert not any("tries again" in told.reason for told in rig.told)


async def test_a_registry_that_is_busy_is_asked_again(engine, tmp_path):
    async with a_registry(failures=2) as registry, agent(tmp_path, engine) as rig:
        registry.fill(1000)
        task = await start(rig, image=registry.image, restart=NEVER)
        over = await rig.over(task)
        # The image has no program to run, which is another failure.
        assert "could not be started: " in over.reason
        assert "/none" in over.reason
        assert registry.pulls >= 1
        engine.remove_image(registry.image)


async def test_a_pull_tells_how_far_it_is_and_is_one_for_all_who_want_it(engine, tmp_path):
    async with a_registry(holds_at=3_000_000) as registry, agent(tmp_path, engine) as rig:
        registry.fill(9_000_000)
        tasks = [await start(rig, "/none", image=registry.image, restart=NEVER) for _ in range(3)]
        words = f"pulling {registry.image}: "
        await rig.until(lambda: all(" of 10 MB" in rig.tasks[task].reason or " of 9 MB" in rig.tasks[task].reason for task in tasks if task in rig.tasks))  # fmt: skip
        told = rig.tasks[tasks[0]]
        assert told.state is TaskState.STARTING
        assert told.reason.startswith(words)
        assert int(told.reason.removeprefix(words).split()[0]) < 9
        registry.go_on.set()
        for task in tasks:
            assert "/none" in (await rig.over(task)).reason
        once = registry.pulls
        await rig.over(await start(rig, image=registry.image, pull=Pull.ALWAYS, restart=NEVER))
        assert registry.pulls <= 2 * once
        engine.remove_image(registry.image)


async def test_a_task_that_is_stopped_while_its_image_is_fetched_ends_at_once(engine, tmp_path):
    async with a_registry(holds_at=100_000) as registry, agent(tmp_path, engine) as rig:
        registry.fill(1_000_000)
        task = await start(rig, image=registry.image)
        await rig.until(lambda: task in rig.tasks and "pulling" in rig.tasks[task].reason)
        await rig.stop(task)
        over = await rig.over(task)
        assert (over.state, over.reason) == (TaskState.FINISHED, "scaled down; had not been started yet")


async def test_always_fetches_what_is_there_and_missing_does_not(engine, tmp_path):
    async with a_registry() as registry, agent(tmp_path, engine) as rig:
        registry.fill(1000)
        pulls = []
        for pull in (Pull.MISSING, Pull.MISSING, Pull.ALWAYS):
            await rig.over(await start(rig, image=registry.image, pull=pull, restart=NEVER))
            pulls.append(registry.pulls)
        assert 0 < pulls[0] == pulls[1] < pulls[2]
        engine.remove_image(registry.image)
        assert (await rig.running(await start(rig, image=IMAGE, pull=Pull.NEVER))).ready


@pytest.mark.parametrize("told", ["right", "wrong", "nothing"])
async def test_a_registry_is_shown_what_docker_login_wrote(engine, tmp_path, told):
    async with a_registry(user=("me", "s3cret-canary")) as registry:
        registry.fill(1000)
        password = {"right": "s3cret-canary", "wrong": "other", "nothing": ""}[told]
        entry = {"auth": base64.b64encode(f"me:{password}".encode()).decode()}
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"auths": {f"127.0.0.1:{registry.port}": entry} if password else {}}))
        async with agent(tmp_path / "state", engine, rules={"config": file}) as rig:
            over = await rig.over(await start(rig, image=registry.image, restart=NEVER))
            assert ("/none" in over.reason) is (told == "right"), over.reason
            assert (registry.pulls > 0) is (told == "right")
        engine.remove_image(registry.image)
        kept = [file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file()]
        assert kept
        assert not any(b"s3cret-canary" in data for data in kept)


async def test_a_config_file_that_is_none_is_a_reason(engine, tmp_path):
    async with a_registry() as registry:
        async with agent(tmp_path, engine, rules={"config": tmp_path / "no-such-file"}) as rig:
            over = await rig.over(await start(rig, image=registry.image, restart=NEVER))
            assert "no-such-file: there is no such file; see --docker-config" in over.reason
        await asyncio.sleep(0)
