"""Limits of process tasks: what their groups are set to, what is done without groups, and that no group is left."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harpoon.agent.drivers import cgroup, groups, hierarchies, limits
from harpoon.agent.drivers.cgroup import FREEZER, UNIFIED, Group, Kept
from harpoon.agent.drivers.hierarchies import Found
from harpoon.agent.drivers.limits import Setting, data_limit, needed, settings, told
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.task import Limit, TaskState
from harpoon.model.template import Resources, TaskTemplate
from tests.agent.contract import a_job, kinds, processes_of
from tests.agent.programs import python, sh
from tests.agent.rig import agent, clean, connected, daemon, is_alive

NEVER = Restart(policy=RestartPolicy.NEVER)
MI, GI = 1 << 20, 1 << 30
NO_GROUPS = Found(hierarchies=(), missing=dict.fromkeys(limits.WANTED, "no control group: none is mounted"))
#: Maps so many MiB, and uses none of them.
MAPS = "import mmap, sys; mmap.mmap(-1, int(sys.argv[1]) << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)"
enforced = kinds()[0].enforced


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    yield
    clean(tmp_path)


@pytest.mark.parametrize(
    ("unified", "expected"),
    [
        (
            True,
            [
                ("memory.max", "67108864", False),
                ("memory.swap.max", "0", True),
                ("cpu.weight", "20", False),
                ("pids.max", "50", False),
            ],
        ),
        (
            False,
            [
                ("memory.limit_in_bytes", "67108864", False),
                ("memory.memsw.limit_in_bytes", "67108864", True),
                ("cpu.shares", "512", False),
                ("pids.max", "50", False),
            ],
        ),
    ],
)
def test_memory_and_processes_are_limited_and_processors_are_shared(unified, expected):
    resources = Resources(memory=64 * MI, cpu=500, pids=50)
    found = list(settings(resources, dict.fromkeys(limits.WANTED, unified)))
    assert [tuple(one[1:]) for one in found] == expected
    assert needed(resources) == ("memory", "cpu", "pids")


def test_what_a_task_did_not_reserve_is_not_limited_but_for_its_share_which_is_the_least():
    assert list(settings(Resources(), dict.fromkeys(limits.WANTED, False))) == [Setting("cpu", "cpu.shares", "2")]
    assert list(settings(Resources(), dict.fromkeys(limits.WANTED, True))) == [Setting("cpu", "cpu.weight", "1")]
    assert list(settings(Resources(memory=1, pids=1), {})) == []
    assert needed(Resources()) == ("cpu",)
    assert told(Resources(), {}) == ()


@pytest.mark.parametrize(
    ("cpu", "shares", "weight"), [(0, 2, 1), (1, 2, 1), (1000, 1024, 39), (10**9, 262_144, 10_000)]
)
def test_a_share_is_within_what_the_kernel_takes(cpu, shares, weight):
    assert limits.share(cpu, is_unified=False).value == str(shares)
    assert limits.share(cpu, is_unified=True).value == str(weight)


def test_what_is_not_enforced_says_why_and_what_is_done_instead():
    resources = Resources(memory=64 * MI, cpu=500, pids=50)
    assert told(resources, {"memory": "none", "pids": "neither"}) == (
        Limit(name="memory", is_enforced=False, detail="none; each process of it is refused more than 1Gi"),
        Limit(name="cpu", is_enforced=True, detail="a share of 500m, and what is free"),
        Limit(name="pids", is_enforced=False, detail="neither"),
    )


def test_a_process_is_refused_only_what_is_far_above_what_its_task_reserved():
    missing = {"memory": "none"}
    assert data_limit(Resources(memory=64 * MI), missing) == GI
    assert data_limit(Resources(memory=2 * GI), missing) == 8 * GI
    assert data_limit(Resources(cpu=1), missing) is None
    assert data_limit(Resources(memory=64 * MI), {}) is None


async def test_without_groups_a_task_runs_all_the_same_and_one_that_runs_away_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hierarchies, "find", lambda name, **_: NO_GROUPS)
    async with agent(tmp_path) as rig:
        small = Resources(memory=16 * MI, cpu=100)
        # More than it reserved, which is not enforced.
        runs = await rig.start(*python(MAPS, "400"), resources=small, restart=NEVER)
        over = await rig.over(runs)
        assert over.exit_code == 0
        assert [limit.is_enforced for limit in over.limits] == [False, False]
        away = await rig.start(*python(MAPS, "2000"), resources=small, restart=NEVER)
        assert (await rig.over(away)).exit_code == 1
        assert "Cannot allocate memory" in await rig.log(away, "stderr")
        free = await rig.start(*python(MAPS, "2000"), restart=NEVER)
        assert (await rig.over(free)).exit_code == 0


def _groups_of(state: Path) -> list[str]:
    parents = (state / "groups").read_text().splitlines()
    return [str(path) for parent in parents for path in Path(parent).glob("task-*")]


@pytest.mark.skipif(not enforced, reason="no control groups can be made here")
async def test_a_task_leaves_no_group_behind_and_neither_does_its_agent(tmp_path):
    async with agent(tmp_path) as rig:
        stays = await rig.running(await rig.start("sleep", "1000", resources=Resources(memory=64 * MI, pids=9)))
        again = await rig.start("false", restart=Restart(attempts=1))
        await rig.over(again)
        assert {Path(group).name for group in _groups_of(tmp_path)} == {f"task-{stays.id}.1"}
        parents = (tmp_path / "groups").read_text().splitlines()
        await rig.stop(stays.id)
        await rig.over(stays.id)
        assert _groups_of(tmp_path) == []
        assert [file.name for file in (tmp_path / "tasks" / again).glob("group.*")] == ["group.2"]
    assert parents
    assert [parent for parent in parents if Path(parent).exists()] == []


@pytest.mark.skipif(not enforced, reason="no control groups can be made here")
async def test_what_cannot_be_started_leaves_no_group(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.over(await rig.start("true", env={"V": "a" * 131_072}))
        assert "longer than this host lets a program be given" in task.reason
        assert _groups_of(tmp_path) == []


async def test_a_task_that_cannot_join_its_group_is_not_run_outside_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Group, "doors", property(lambda self: ["/proc/none/cgroup.procs"]))
    async with agent(tmp_path) as rig:
        task = await rig.over(await rig.start("echo", "ran", restart=NEVER))
        assert task.state is TaskState.FAILED
        assert "could not be started" in task.reason
        assert "/proc/none/cgroup.procs" in task.reason
        assert await rig.log(task.id) == ""


@pytest.mark.skipif(not enforced, reason="no control groups can be made here")
async def test_an_agent_kills_what_it_finds_in_its_groups_of_tasks_that_it_does_not_know(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        kept = await rig.running(await rig.start("sleep", "1000", resources=Resources(memory=64 * MI)))
        lost = await rig.running(await rig.start("sleep", "1000", resources=Resources(memory=64 * MI)))
        await first.kill()
    (tmp_path / "tasks" / lost.id).rename(tmp_path / "lost")
    # As an agent may find other groups than the one before, what that told of them counts too.
    former = Path(_groups_of(tmp_path)[0]).parents[1] / f"harpoon-former-{os.getpid()}"
    (former / "task-default.old.0.1-1.1").mkdir(parents=True)
    with (tmp_path / "groups").open("a") as file:
        file.write(f"{former}\n")
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: kept.id in rig.tasks)
        assert not is_alive(lost.pid or 0)
        assert {Path(group).name for group in _groups_of(tmp_path)} == {f"task-{kept.id}.1"}
        assert not former.exists()
        assert rig.tasks[kept.id].pid == kept.pid


@pytest.mark.skipif(not os.path.ismount("/sys/fs/cgroup/freezer"), reason="only older hierarchies (v1) have a freezer")
async def test_where_only_older_hierarchies_are_a_task_is_frozen_and_killed_whole(tmp_path, monkeypatch):
    proc = tmp_path / "proc"
    proc.mkdir()
    lines = Path("/proc/self/mountinfo").read_text().splitlines(keepends=True)
    (proc / "mountinfo").write_text("".join(line for line in lines if " cgroup2 " not in line))
    (proc / "cgroup").write_text(Path("/proc/self/cgroup").read_text())
    find = hierarchies.find
    monkeypatch.setattr(hierarchies, "find", lambda name, *, is_root: find(name, str(proc), is_root=is_root))
    state = tmp_path / "state"
    async with agent(state) as rig:
        order = rig.order(TaskTemplate(command=sh("setsid sleep 1000 & setsid sleep 1000 & sleep 1000")), a_job())
        await rig.obey(order)
        task = await rig.running(order.task)
        # They, their shell and its shim.
        await rig.until_true(lambda: len(processes_of(task.id)) == 5)
        kept = cgroup.load(str(state / "tasks" / task.id / "group.1"))
        assert kept is not None
        assert FREEZER in kept.kept.directories
        assert UNIFIED not in kept.kept.directories
        await rig.stop(task.id)
        await rig.over(task.id)
        await rig.until_true(lambda: processes_of(task.id) == [])
        assert _groups_of(state) == []


@pytest.mark.skipif(not enforced, reason="no control groups can be made here")
async def test_groups_that_a_task_made_within_its_own_go_with_it(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start("sleep", "1000"))
        inner = [Path(group) / "inner" for group in _groups_of(tmp_path)]
        for group in inner:
            group.mkdir()
            (group / "cgroup.procs").write_text(str(task.pid))
        await rig.stop(task.id)
        await rig.over(task.id)
        assert _groups_of(tmp_path) == []


def test_what_was_counted_of_a_launch_is_known_once_its_groups_are_gone(tmp_path):
    directory = tmp_path / "memory"
    directory.mkdir()
    (directory / "memory.events").write_text("oom 1\noom_kill 1\n")
    directories = {UNIFIED: str(directory), "memory": str(directory)}
    group = Group(str(tmp_path / "group.1"), Kept(directories=directories, memory=64 * MI))
    group.count()
    (directory / "memory.events").unlink()
    later = cgroup.load(str(tmp_path / "group.1"))
    assert later is not None
    later.count()
    assert (later.kept.killed, later.kept.is_limit_reached) == (1, True)


def test_a_file_of_a_group_that_cannot_be_read_stands_for_none(tmp_path):
    file = tmp_path / "group.1"
    assert cgroup.load(str(file)) is None
    file.write_text("{")
    assert cgroup.load(str(file)) is None


def test_names_of_groups_are_never_those_of_the_kernels_files():
    assert groups.group_name("/state/tasks/memory.web.0.1-2/shim.3") == "task-memory.web.0.1-2.3"
    assert cgroup.group_file("/state/tasks/memory.web.0.1-2/shim.3") == "/state/tasks/memory.web.0.1-2/group.3"


def test_processes_are_found_in_a_group_and_in_all_below_it(tmp_path):
    (tmp_path / "cgroup.procs").write_text("17\n\nx\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "cgroup.procs").write_text("18\n")
    assert list(cgroup.pids_below(str(tmp_path))) == [17, 18]
    assert list(cgroup.pids_below(str(tmp_path / "none"))) == []
