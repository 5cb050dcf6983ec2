"""Artifacts of real tasks on a real agent: fetched before the task starts, once, and put there whole or not at all."""

import asyncio
import contextlib
import os
from datetime import timedelta

from aiohttp import web

from harpoon.agent import supplies
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy
from harpoon.model.task import TaskState
from harpoon.model.volumes import Artifact, ArtifactMode, HostPath
from tests.agent.archives import a_link, a_member, a_tar, a_zip, names, sha256
from tests.agent.programs import sh
from tests.agent.rig import agent, clean, connected, daemon, serving

NEVER = Restart(policy=RestartPolicy.NEVER)
SOON = Restart(backoff=Backoff(initial=timedelta(milliseconds=20), max=timedelta(milliseconds=20)), attempts=2)
APP = a_tar(
    a_member("bin/serve", b'#!/bin/sh\necho served by "$0" of "$PWD"\n', mode=0o755),
    a_member("etc/app.conf", b"a=b\n"),
    a_link("current", "bin"),
)


class Files:
    """A server of files, which counts how often it is asked for each, and can be made to wait."""

    def __init__(self, **files):
        self.files = files
        self.asked = []
        self.may = asyncio.Event()
        self.may.set()

    async def answer(self, request):
        name = request.match_info["name"]
        self.asked.append(name)
        if name not in self.files:
            raise web.HTTPNotFound
        response = web.StreamResponse(headers={"Content-Length": str(len(self.files[name]))})
        await response.prepare(request)
        await response.write(self.files[name][:1])
        await self.may.wait()
        await response.write(self.files[name][1:])
        return response


@contextlib.asynccontextmanager
async def serve(**files):
    found = Files(**files)
    runner, port = await serving({("GET", "/{name}"): found.answer})
    found.url = f"http://127.0.0.1:{port}"
    try:
        yield found
    finally:
        found.may.set()
        await runner.cleanup()


def an_artifact(server, name="app", data=APP, at="app", mode=ArtifactMode.UNPACK):
    return Artifact(url=f"{server.url}/{name}", sha256=sha256(data), at=at, mode=mode)


async def test_a_task_finds_its_artifacts_when_it_starts_and_runs_what_is_in_them(tmp_path):
    tool, docs = b"#!/bin/sh\necho tool\n", a_zip(("index.html", b"<html>"))
    async with agent(tmp_path) as rig, serve(app=APP, tool=tool, docs=docs) as server:
        artifacts = (
            an_artifact(server),
            an_artifact(server, "tool", tool, "bin/tool", ArtifactMode.FILE),
            an_artifact(server, "docs", docs, "bin/docs"),
        )
        task = await rig.over(await rig.start("app/current/serve", restart=NEVER, artifacts=artifacts))
        home = f"{tmp_path}/tasks/{task.id}/scratch"
        assert await rig.log(task.id) == f"served by app/current/serve of {home}\n", task.reason
        task = await rig.over(
            await rig.start(*sh("bin/tool; cat bin/docs/index.html"), restart=NEVER, artifacts=artifacts)
        )
        assert await rig.log(task.id) == "tool\n<html>"
        # Each is fetched once, whatever the number of tasks.
        assert sorted(server.asked) == ["app", "docs", "tool"]
        assert names(tmp_path / "artifacts") == sorted(map(sha256, (APP, tool, docs)))


async def test_what_a_task_does_to_its_files_is_its_own_business_and_stays_when_it_is_started_again(tmp_path):
    async with agent(tmp_path) as rig, serve(app=APP) as server:
        script = "grep c app/etc/app.conf && exit 0; echo c >> app/etc/app.conf; exit 1"
        policy = Restart(policy=RestartPolicy.ON_FAILURE)
        task = await rig.over(await rig.start(*sh(script), restart=policy, artifacts=(an_artifact(server),)))
        assert (await rig.log(task.id), task.restarts) == ("c\n", 1)
        task = await rig.over(
            await rig.start("cat", "app/etc/app.conf", restart=NEVER, artifacts=(an_artifact(server),))
        )
        assert await rig.log(task.id) == "a=b\n"
        assert server.asked == ["app"]


async def test_many_tasks_that_want_it_at_once_have_it_fetched_once_and_say_what_they_wait_for(tmp_path, monkeypatch):
    monkeypatch.setattr(supplies, "_TELL_AFTER_S", 0.05)
    monkeypatch.setattr(supplies, "_TELL_EVERY_S", 0.05)
    big = a_tar(a_member("f", os.urandom(12_000_000)), mode="w:")
    async with agent(tmp_path) as rig, serve(app=big) as server:
        server.may.clear()
        artifact = an_artifact(server, data=big)
        tasks = [await rig.start("sleep", "1000", artifacts=(artifact,)) for _ in range(4)]
        await rig.until(
            lambda: (
                sorted(rig.tasks[task].reason for task in tasks if task in rig.tasks)
                == ["fetching app: 0 of 12 MB", *["waits for app, which is being fetched for another task"] * 3]
            )
        )
        assert {rig.tasks[task].state for task in tasks} == {TaskState.STARTING}
        server.may.set()
        for task in tasks:
            await rig.running(task)
        assert server.asked == ["app"]


async def test_what_cannot_be_had_goes_by_the_restart_policy_and_says_why(tmp_path):
    bad, escape = Artifact(url="http://127.0.0.1:1/x.tar", sha256="0" * 64, at="x"), a_tar(a_member("../../task.json"))
    async with agent(tmp_path) as rig, serve(app=b"other", no=b"no archive", out=escape) as server:
        for artifact, reason in (
            (an_artifact(server, "gone"), "artifact gone: its server answered 404"),
            (an_artifact(server), f"artifact app: its sha256 is {sha256(b'other')}, not {sha256(APP)}"),
            (an_artifact(server, "no", b"no archive"), "artifact no: it is no archive that can be read: "),
            (an_artifact(server, "out", escape), "artifact out: '../../task.json' leads out of the archive"),
            (bad, "artifact x.tar: 127.0.0.1 port 1: connect call failed"),
        ):
            task = await rig.over(await rig.start("true", restart=SOON, artifacts=(artifact,)))
            assert (task.state, task.restarts) == (TaskState.FAILED, 2), task
            assert reason in task.reason
            assert names(tmp_path / "tasks" / task.id) == ["scratch", "task.json"]
            assert names(tmp_path / "tasks" / task.id / "scratch") == []
            task = await rig.over(await rig.start("true", restart=NEVER, artifacts=(artifact,)))
            assert (task.state, task.restarts) == (TaskState.FAILED, 0)


async def test_what_comes_right_while_it_is_tried_again_is_had(tmp_path):
    async with agent(tmp_path) as rig, serve() as server:
        backoff = Backoff(initial=timedelta(milliseconds=100), max=timedelta(milliseconds=100))
        task = await rig.start(
            "sleep", "1000", restart=Restart(attempts=100, backoff=backoff), artifacts=(an_artifact(server),)
        )
        await rig.until(lambda: task in rig.tasks and "its server answered 404" in rig.tasks[task].reason)
        server.files["app"] = APP
        assert (await rig.running(task, restarts=1)).ready


async def test_a_task_that_is_stopped_while_it_is_fetched_for_is_not_started(tmp_path):
    async with agent(tmp_path) as rig, serve(app=APP) as server:
        server.may.clear()
        task = await rig.start("sleep", "1000", artifacts=(an_artifact(server),))
        await rig.until_true(lambda: server.asked)
        await rig.stop(task)
        over = await rig.over(task)
        assert (over.state, over.reason) == (TaskState.FINISHED, "scaled down; it was not running")
        assert names(tmp_path / "artifacts") == []
        await rig.forget(task)


async def test_a_daemon_that_is_killed_while_it_fetches_fetches_again(tmp_path):
    try:
        async with serve(app=APP) as server:
            server.may.clear()
            async with daemon(tmp_path) as first, connected(first.port) as rig:
                await rig.adopt()
                task = await rig.start("sleep", "1000", artifacts=(an_artifact(server),))
                await rig.until_true(lambda: server.asked)
                await first.kill()
            server.may.set()
            async with daemon(tmp_path) as second, connected(second.port) as rig:
                running = await rig.running(task)
                assert (running.restarts, server.asked) == (0, ["app", "app"])
                assert (tmp_path / "tasks" / task / "scratch" / "app" / "bin" / "serve").exists()
                await rig.adopt()
                await rig.stop(task)
                await rig.over(task)
    finally:
        clean(tmp_path)


async def test_what_was_damaged_since_it_was_kept_is_fetched_again(tmp_path):
    async with agent(tmp_path) as rig, serve(app=APP) as server:
        await rig.running(await rig.start("sleep", "1000", artifacts=(an_artifact(server),)))
        (tmp_path / "artifacts" / sha256(APP)).write_bytes(b"tampered with")
        task = await rig.running(
            await rig.start("sleep", "1000", restart=SOON, artifacts=(an_artifact(server),)), restarts=1
        )
        assert any(
            "artifact app: what was kept of it is damaged" in one.reason for one in rig.told if one.id == task.id
        )
        assert server.asked == ["app", "app"]


async def test_what_is_larger_than_the_operator_allows_is_not_fetched_and_not_kept(tmp_path):
    big = os.urandom(200_000)
    bomb = a_tar(a_member("f", bytes(2_000_000)))
    settings = {"artifact_bytes_max": 100_000, "artifact_cache_bytes": 1}
    async with agent(tmp_path, **settings) as rig, serve(app=APP, big=big, bomb=bomb) as server:
        task = await rig.over(await rig.start("true", restart=NEVER, artifacts=(an_artifact(server, "big", big),)))
        assert "it is larger than 100000, which is the most this agent fetches; see --artifact-max" in task.reason
        task = await rig.over(await rig.start("true", restart=NEVER, artifacts=(an_artifact(server, "bomb", bomb),)))
        assert "'f': unpacked, it is larger than 1000000 bytes" in task.reason
        await rig.running(await rig.start("sleep", "1000", artifacts=(an_artifact(server),)))
        await rig.over(await rig.start("true", restart=NEVER, artifacts=(an_artifact(server, "bomb", bomb),)))
        assert names(tmp_path / "artifacts") == []


async def test_only_the_hosts_and_paths_that_the_operator_names_are_asked(tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "app.tgz").write_bytes(APP)
    settings = {
        "artifact_hosts": ("files.example.org",),
        "host_paths": (HostPath(path=f"{tmp_path}/srv", read_only=True),),
    }
    async with agent(tmp_path / "state", **settings) as rig, serve(app=APP) as server:
        task = await rig.over(await rig.start("true", restart=NEVER, artifacts=(an_artifact(server),)))
        assert "127.0.0.1 is not among the hosts that this agent fetches from; see --artifact-host" in task.reason
        there = Artifact(url=f"file://{tmp_path}/srv/app.tgz", sha256=sha256(APP), at="app")
        task = await rig.over(await rig.start("cat", "app/etc/app.conf", restart=NEVER, artifacts=(there,)))
        assert await rig.log(task.id) == "a=b\n"
        outside = Artifact(url="file:///etc/passwd", sha256="0" * 64, at="app")
        task = await rig.over(await rig.start("true", artifacts=(outside,)))
        assert (task.state, task.restarts) == (TaskState.FAILED, 0)
        assert "artifact passwd: host path /etc/passwd is not allowed here" in task.reason
        assert server.asked == []
