"""Volumes of real tasks on a real agent: where they are, what can be done in them, and that the host sees nothing of it."""

import asyncio
import os
import re
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.agent import mounts, supplies
from harpoon.agent.paths import Allowed
from harpoon.agent.record import Place
from harpoon.agent.volumes import resolve_volumes
from harpoon.kit.errors import Invalid
from harpoon.model.check import Check, ExecProbe
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.task import TaskState
from harpoon.model.template import TaskTemplate
from harpoon.model.volumes import HostPath, Volume
from tests.agent.archives import names
from tests.agent.programs import sh
from tests.agent.rig import agent, clean, connected, daemon

NEVER = Restart(policy=RestartPolicy.NEVER)
TOOLS = mounts.find_tools()
mounting = pytest.mark.skipif(TOOLS is None, reason="nothing can be mounted here")


@pytest.fixture
def srv(tmp_path):
    """A directory of the host with a file in it."""
    (tmp_path / "srv" / "db").mkdir(parents=True)
    (tmp_path / "srv" / "db" / "known").write_text("from the host\n")
    (tmp_path / "srv" / "app.conf").write_text("a=b\n")
    return tmp_path / "srv"


@pytest.fixture
def at():
    """A place that is on no other host; those below /dev are none, and there tests may be at home."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield f"{directory}/at/data"


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def allowing(srv, read_only=False):
    return {"host_paths": (HostPath(path=str(srv), read_only=read_only),)}


async def result(rig, script, **template):
    """What a script prints, once it has ended, and the task."""
    task = await rig.over(await rig.start(*sh(script), restart=NEVER, **template))
    return await rig.log(task.id) + await rig.log(task.id, "stderr"), task


@mounting
async def test_a_task_finds_a_path_of_the_host_where_it_wants_it_and_nobody_else_does(state, srv, tmp_path, at):
    volumes = (Volume(host=f"{srv}/db", at=at), Volume(host=f"{srv}/db", at="data"))
    async with agent(state, **allowing(srv)) as rig:
        script = f"cat {at}/known data/known; echo new > {at}/new; ls data; pwd; echo $HOME"
        said, task = await result(rig, script, volumes=volumes)
        home = f"{state}/tasks/{task.id}/scratch"
        assert said == f"from the host\nfrom the host\nknown\nnew\n{home}\n{home}\n"
        assert (task.state, task.reason) == (TaskState.FINISHED, "exited 0; its restart policy is never")
        assert (srv / "db" / "new").read_text() == "new\n"
        # The places are there, and nothing is in them.
        assert names(at) == names(f"{home}/data") == []
        assert at not in Path("/proc/self/mountinfo").read_text()
        assert [(one.at, one.is_enforced) for one in task.volumes] == [(at, True), ("data", True)]
        assert task.volumes[0].detail == f"{srv}/db: a mount that only this task sees"
        await rig.forget(task.id)
        await rig.until_true(lambda: not list((state / "trash").iterdir()))
    assert (srv / "db" / "known").exists()


@mounting
async def test_a_read_only_volume_cannot_be_written_to_and_neither_can_devices_be_made_of_use(state, srv, at):
    async with agent(state, **allowing(srv, read_only=True)) as rig:
        script = f"cat {at}/known; echo x > {at}/known; rm -f {at}/known; grep -o '{at} .*' /proc/self/mountinfo"
        said, _ = await result(rig, script, volumes=(Volume(host=f"{srv}/db", at=at, read_only=True),))
    assert said.startswith("from the host\n")
    assert said.count("Read-only file system") == 2
    assert re.search(rf"{at} ro,nosuid,nodev", said)
    assert (srv / "db" / "known").read_text() == "from the host\n"


@mounting
async def test_a_single_file_can_be_a_volume_and_also_what_is_run(state, srv, at):
    (srv / "db" / "run").write_text("#!/bin/sh\necho ran in $PWD\n")
    (srv / "db" / "run").chmod(0o755)
    volumes = (Volume(host=f"{srv}/app.conf", at="etc/app.conf"), Volume(host=f"{srv}/db", at=at))
    async with agent(state, **allowing(srv)) as rig:
        said, _ = await result(rig, "cat etc/app.conf", volumes=volumes)
        assert said == "a=b\n"
        for command, directory in ((f"{at}/run", None), ("./run", at)):
            task = await rig.over(await rig.start(command, restart=NEVER, volumes=volumes, working_directory=directory))
            home = f"{state}/tasks/{task.id}/scratch"
            assert await rig.log(task.id) == f"ran in {directory or home}\n", task.reason


@mounting
async def test_a_tasks_variables_and_arguments_are_as_they_would_be_without_volumes(state, srv):
    odd = {"IFS": "x", "PWD": "mine", "at": "a", "file": "f", "EMPTY": "", "PATH": "/bin:/usr/bin", "LD_FAKE": "1"}
    async with agent(state, **allowing(srv)) as rig:
        told = []
        for volumes in ((), (Volume(host=f"{srv}/db", at='it\'s a "place" $HOME'),)):
            task = await rig.over(await rig.start("/usr/bin/env", "-0", restart=NEVER, env=odd, volumes=volumes))
            lines = (await rig.log(task.id)).replace(task.id, "ID").split("\0")
            told.append(sorted(line for line in lines if not line.startswith("HARPOON_SLOT")))
        assert told[0] == told[1]
        task = await rig.over(
            await rig.start("printf", "%s|", "a b", "", "'\"`", "-x", "--", restart=NEVER, volumes=volumes)
        )
        assert await rig.log(task.id) == "a b||'\"`|-x|--|"


@mounting
async def test_a_task_with_volumes_ends_is_killed_and_is_found_again_like_any_other(state, srv, at):
    volumes = (Volume(host=f"{srv}/db", at=at),)
    check = Check(exec_=ExecProbe(command=("test", "-e", f"{at}/known")), every=timedelta(milliseconds=50))
    settings = {"host_paths": [{"path": str(srv)}]}
    try:
        async with daemon(state, **settings) as first, connected(first.port) as rig:
            await rig.adopt()
            _, ended = await result(rig, "exit 7", volumes=volumes)
            assert ended.exit_code == 7
            _, killed = await result(rig, "kill -9 $$", volumes=volumes)
            assert (killed.exit_code, killed.reason) == (-9, "was killed by KILL; its restart policy is never")
            # Its check finds its volumes as well.
            script = "trap 'exit 5' TERM; while :; do sleep 0.01; done"
            task = await rig.start(*sh(script), volumes=volumes, checks=(check,))
            await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
            before = rig.tasks[task]
            await first.kill()
        async with daemon(state, **settings) as second, connected(second.port) as rig:
            await rig.adopt()
            await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
            assert (rig.tasks[task].pid, rig.tasks[task].restarts) == (before.pid, 0)
            (srv / "db" / "known").unlink()
            await rig.until(lambda: not rig.tasks[task].ready)
            (srv / "db" / "known").touch()
            await rig.until(lambda: rig.tasks[task].ready)
            await rig.stop(task)
            assert (await rig.over(task)).exit_code == 5
    finally:
        clean(state)


@mounting
async def test_what_may_not_be_had_fails_at_once_and_says_why(state, srv, tmp_path, at):
    (srv / "out").symlink_to("/etc")
    async with agent(state, **allowing(srv, read_only=True)) as rig:
        for host, read_only, reason in (
            ("/etc", True, "host path /etc is not allowed here; the agent's operator says so with --allow-host-path"),
            (f"{srv}/out", True, f"host path {srv}/out leads to /etc, which is not allowed here"),
            (f"{srv}/db", False, f"host path {srv}/db is allowed for reading only; set read_only: true"),
            (f"{srv}/none", True, f"host path {srv}/none: no such file or directory"),
        ):
            volume = Volume(host=host, at=at, read_only=read_only)
            task = await rig.over(await rig.start("true", volumes=(volume,)))
            assert (task.state, task.restarts) == (TaskState.FAILED, 0)
            assert reason in task.reason
        task = await rig.over(
            await rig.start("true", volumes=(Volume(host=f"{srv}/db", at="/etc/passwd/x", read_only=True),))
        )
        assert task.reason == "volume /etc/passwd/x cannot be put there: not a directory"
        assert not Path(at).exists()


@mounting
async def test_what_is_allowed_is_looked_at_again_before_each_start(state, srv, at):
    restart = Restart(policy=RestartPolicy.ALWAYS)
    volumes = (Volume(host=f"{srv}/db", at=at),)
    async with agent(state, **allowing(srv)) as rig:
        task = await rig.running(await rig.start("sleep", "1000", restart=restart, volumes=volumes))
        (srv / "db").rename(srv / "old")
        (srv / "db").symlink_to("/etc")
        assert task.pid is not None
        os.kill(task.pid, 9)
        over = await rig.over(task.id)
    assert (over.state, over.restarts) == (TaskState.FAILED, 1)
    assert f"host path {srv}/db leads to /etc, which is not allowed here" in over.reason


@mounting
async def test_a_path_that_is_changed_between_its_judging_and_its_mounting_is_not_had(tmp_path, srv):
    allowed = Allowed(paths=(HostPath(path=str(srv)),), own="/nowhere")
    template = TaskTemplate(command=("true",), volumes=(Volume(host=f"{srv}/db", at="data"),))
    home, told = tmp_path / "home", tmp_path / "told"
    home.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    assert TOOLS is not None
    found = mounts.make_points(resolve_volumes(template, allowed, f"{tmp_path}/volumes"), str(home))
    (srv / "db").rename(srv / "old")
    (srv / "db").symlink_to("../secret")
    wrapped = mounts.wrap(("cat", "data/key"), found, TOOLS, directory=str(home), told=str(told))
    process = await asyncio.create_subprocess_exec(
        *wrapped, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output = await process.communicate()
    assert (output, process.returncode) == ((b"", b""), 126)
    assert told.read_text() == f"volume {home}/data: what its host path leads to was changed while it was mounted\n"


@mounting
async def test_what_cannot_be_mounted_is_told_with_the_reason(state, srv, monkeypatch, at):
    find = supplies.mounts.make_points

    def make_then_remove(found, home):
        made = find(found, home)
        for one in made:
            Path(one.at).rmdir()
        return made

    monkeypatch.setattr(supplies.mounts, "make_points", make_then_remove)
    async with agent(state, **allowing(srv)) as rig:
        _, task = await result(rig, "true", volumes=(Volume(host=f"{srv}/db", at=at),))
    assert task.exit_code == 126
    assert re.match(rf"exited 126 \(mount: {at}: mount point does not exist", task.reason)


async def test_scratch_space_below_the_tasks_directory_takes_no_mount(state, monkeypatch):
    monkeypatch.setattr(mounts, "find_tools", lambda: None)
    async with agent(state) as rig:
        said, task = await result(
            rig, "echo x > a/cache/f; ls a/cache; pwd", volumes=(Volume(scratch=1 << 20, at="a/cache"),)
        )
        assert said == f"f\n{state}/tasks/{task.id}/scratch\n"
        assert [(one.at, one.is_enforced) for one in task.volumes] == [("a/cache", False)]
        assert "at most 1Mi: it is measured from time to time" in task.volumes[0].detail
        for volume in (Volume(scratch=1, at="/cache"), Volume(host="/srv", at="srv")):
            task = await rig.over(await rig.start("true", volumes=(volume,)))
            assert (task.state, task.restarts) == (TaskState.FAILED, 0)
            assert "volumes cannot be mounted here: the agent does not run as root" in task.reason


@mounting
async def test_scratch_space_is_as_empty_as_the_task_is_new_and_goes_with_it(state, at):
    volumes = (Volume(scratch=1 << 20, at=at),)
    async with agent(state) as rig:
        script = f"ls {at}; echo x >> {at}/f; test $(wc -l < {at}/f) = 2 || exit 1"
        task = await rig.over(
            await rig.start(*sh(script), restart=Restart(policy=RestartPolicy.ON_FAILURE), volumes=volumes)
        )
        # What it left is there when it is started again.
        assert (await rig.log(task.id), task.restarts) == ("f\n", 1)
        assert (Path(Place(f"{state}/tasks/{task.id}").volumes) / "0" / "f").read_text() == "x\nx\n"
        said, _ = await result(rig, f"ls {at}", volumes=volumes)
        assert said == ""
        await rig.forget(task.id)
        await rig.until_true(lambda: not list((state / "trash").iterdir()))


async def test_a_task_that_puts_too_much_into_scratch_space_fails_and_says_how_much(state, monkeypatch):
    monkeypatch.setattr(supplies, "MEASURE_S", 0.05)
    volumes = (Volume(scratch=4 << 20, at="other"), Volume(scratch=1 << 20, at="cache"))
    async with agent(state) as rig:
        script = "head -c 1000000 /dev/zero > cache/a; sleep 0.5; head -c 1000000 /dev/zero > cache/b; sleep 1000"
        task = await rig.over(await rig.start(*sh(script), volumes=volumes))
        assert (task.state, task.restarts, task.exit_code) == (TaskState.FAILED, 0, -15)
        assert re.fullmatch(r"scratch cache holds 19\d\dKi, more than 1Mi; was killed by TERM", task.reason)
        # A file with holes holds what it holds.
        task = await rig.running(await rig.start(*sh("truncate -s 1T cache/huge; sleep 1000"), volumes=volumes))
        await asyncio.sleep(0.5)
        assert rig.tasks[task.id].state is TaskState.RUNNING


async def test_scratch_that_a_task_has_changed_for_a_link_is_not_followed_when_it_starts_again(state, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    volumes = (Volume(scratch=1 << 20, at="cache/deep"),)
    async with agent(state) as rig:
        task = await rig.over(
            await rig.start(*sh(f"rm -r cache; ln -s {tmp_path}/elsewhere cache; exit 1"), volumes=volumes)
        )
    assert task.reason.startswith("volumes[0]: cache/deep cannot be made: not a directory")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_to_mount_is_told_alike_to_whatever_runs_the_task(srv, tmp_path):
    allowed = Allowed(paths=(HostPath(path=str(srv)),), own="/nowhere")
    volumes = (
        Volume(scratch=5, at="cache"),
        Volume(host=f"{srv}/db", at="/data", read_only=True),
        Volume(scratch=5, at="/cache"),
        Volume(host=f"{srv}/app.conf", at="/etc/app.conf"),
    )
    found = resolve_volumes(TaskTemplate(command=("true",), volumes=volumes), allowed, f"{tmp_path}/volumes")
    assert [(one.at, one.source, one.is_directory, one.is_read_only) for one in found] == [
        ("/data", f"{srv}/db", True, True),
        ("/cache", f"{tmp_path}/volumes/2", True, False),
        ("/etc/app.conf", f"{srv}/app.conf", False, False),
    ]
    with pytest.raises(Invalid, match="is not allowed here"):
        resolve_volumes(
            TaskTemplate(command=("true",), volumes=volumes), Allowed(own="/nowhere"), f"{tmp_path}/volumes"
        )
