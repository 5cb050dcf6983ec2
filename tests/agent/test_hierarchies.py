"""Where an agent makes control groups: found by trying. The unified hierarchy is an imitated one (`Imitated`)."""

from pathlib import Path

import pytest

from harpoon.agent.drivers import cgroup, hierarchies
from harpoon.agent.drivers.hierarchies import Mount, own_directory
from tests.agent.imitated import ME, Imitated

ALL = ("memory", "cpu", "pids")


def found_in(kernel: Imitated, *, is_root: bool = False) -> hierarchies.Found:
    return hierarchies.find("harpoon-1", str(kernel.proc), is_root=is_root)


def test_an_agent_alone_in_its_group_moves_into_a_leaf_and_gives_its_controllers_to_its_tasks(tmp_path, monkeypatch):
    kernel = Imitated(tmp_path, monkeypatch)
    found = found_in(kernel)
    assert [one.directory for one in found.hierarchies] == [f"{kernel.top}/a/agent/harpoon-1"]
    assert found.hierarchies[0].controllers == ALL
    assert found.missing == {}
    assert kernel.read("a/agent/cgroup.procs") == ""
    assert kernel.read("a/agent/harpoon-agent/cgroup.procs") == ME
    assert set(kernel.read("a/agent/harpoon-1/cgroup.subtree_control").split()) == set(ALL)
    # A trial has left nothing.
    assert sorted(path.name for path in (kernel.top / "a/agent/harpoon-1").iterdir() if path.is_dir()) == []


def test_an_agent_that_is_in_the_leaf_already_stays_there(tmp_path, monkeypatch):
    kernel = Imitated(tmp_path, monkeypatch, own="/a/unit.service/harpoon-agent")
    found = found_in(kernel)
    assert [one.directory for one in found.hierarchies] == [f"{kernel.top}/a/unit.service/harpoon-1"]
    assert found.hierarchies[0].controllers == ALL
    assert kernel.read("a/unit.service/harpoon-agent/cgroup.procs") == ME


def test_others_are_not_moved_out_of_the_agents_group_which_then_has_no_limits(tmp_path, monkeypatch):
    kernel = Imitated(tmp_path, monkeypatch)
    (kernel.top / "a/agent/cgroup.procs").write_text(f"{ME}\n17\n")
    found = found_in(kernel)
    # Tasks can be killed whole all the same.
    assert [(one.directory, one.controllers) for one in found.hierarchies] == [(f"{kernel.top}/a/agent/harpoon-1", ())]
    assert found.missing == {name: f"no control group: the agent's own is not given {name}" for name in ALL}
    assert kernel.read("a/agent/cgroup.procs").split() == [ME, "17"]


def test_a_service_of_systemd_is_left_a_leaf_so_that_it_can_be_started_again(tmp_path, monkeypatch):
    kernel = Imitated(tmp_path, monkeypatch, own="/a/unit.service")
    assert set(found_in(kernel).missing) == set(ALL)
    assert kernel.read("a/unit.service/cgroup.procs") == ME


def test_root_makes_its_groups_at_the_top_where_its_own_is_shared(tmp_path, monkeypatch):
    kernel = Imitated(tmp_path, monkeypatch)
    (kernel.top / "a/agent/cgroup.procs").write_text(f"{ME}\n17\n")
    found = found_in(kernel, is_root=True)
    assert [one.directory for one in found.hierarchies] == [f"{kernel.top}/harpoon-1"]
    assert found.hierarchies[0].controllers == ALL
    assert found.missing == {}


def test_only_the_controllers_that_the_agent_is_given_are_enforced(tmp_path, monkeypatch):
    kernel = Imitated(tmp_path, monkeypatch)
    (kernel.top / "a/agent/cgroup.controllers").write_text("memory pids")
    found = found_in(kernel)
    assert found.hierarchies[0].controllers == ("memory", "pids")
    assert found.missing == {"cpu": "no control group: the agent's own is not given cpu"}


def test_what_cannot_be_written_is_told_with_the_reason(tmp_path, monkeypatch):
    kernel = Imitated(tmp_path, monkeypatch)
    kernel.writable = False
    found = found_in(kernel)
    assert found.hierarchies == ()
    reason = f"no control group: {kernel.top}/a/agent/harpoon-1: read-only file system"
    assert found.missing == dict.fromkeys(ALL, reason)


def test_a_host_without_groups_has_none(tmp_path):
    (tmp_path / "mountinfo").write_text("23 1 8:1 / / rw - ext4 /dev/root rw\n")
    (tmp_path / "cgroup").write_text("")
    found = hierarchies.find("harpoon-1", str(tmp_path), is_root=True)
    assert found.hierarchies == ()
    assert found.missing == {name: f"no control group: {name} is not mounted" for name in ALL}


def test_mounts_and_groups_are_read_as_the_kernel_tells_them(tmp_path):
    (tmp_path / "mountinfo").write_text(
        "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "36 31 0:33 / /sys/fs/a\\040b rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    (tmp_path / "cgroup").write_text("8:memory:/docker/1/x\n5:cpu,cpuacct:/\n1:name=systemd:/\n0::/user.slice/a:b\n")
    memory, cpu, unified = hierarchies.mounts_of(str(tmp_path))
    assert memory == Mount("/docker/1", "/sys/fs/cgroup/memory", False, ("rw", "memory"))
    assert (cpu.point, cpu.controllers) == ("/sys/fs/a b", ("rw", "cpu", "cpuacct"))
    assert unified.is_unified
    assert dict(hierarchies.groups_of(str(tmp_path))) == {
        "memory": "/docker/1/x",
        "cpu": "/",
        "cpuacct": "/",
        "name=systemd": "/",
        "unified": "/user.slice/a:b",
    }


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/", "/", ""),
        ("/", "/a/b", "/a/b"),
        ("/docker/1", "/docker/1", ""),
        ("/docker/1", "/docker/1/a", "/a"),
        # What is not below the mount cannot be reached; nor must a path lead out of it.
        ("/docker/1", "/docker/1a", ""),
        ("/docker/1", "/elsewhere", ""),
        ("/", "/none", ""),
        ("/", "/../cg/a", ""),
    ],
)
def test_the_agents_own_group_is_looked_for_below_the_mount(tmp_path, root, path, expected):
    (tmp_path / "cg" / "a" / "b").mkdir(parents=True)
    point = str(tmp_path / "cg")
    assert own_directory(Mount(root, point, True, ()), path) == point + expected


@pytest.mark.parametrize(
    ("is_unified", "files", "expected"),
    [
        (True, {"memory.events": "low 0\nhigh 0\nmax 31\noom 1\noom_kill 2\n"}, (2, True)),
        (True, {"memory.events": "max 0\noom 0\noom_kill 1\n"}, (1, False)),
        (True, {"memory.events": "max 9\noom 0\noom_kill 0\n"}, (0, False)),
        (True, {}, (0, False)),
        (
            False,
            {
                "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
                "memory.max_usage_in_bytes": "33554432",
                "memory.limit_in_bytes": "33554432",
            },
            (1, True),
        ),
        (
            False,
            {
                "memory.oom_control": "oom_kill 3\n",
                "memory.max_usage_in_bytes": "1048576",
                "memory.limit_in_bytes": "33554432",
            },
            (3, False),
        ),
    ],
)
def test_kills_for_memory_are_told_from_those_that_its_own_limit_has_no_part_in(tmp_path, is_unified, files, expected):
    for name, text in files.items():
        Path(tmp_path, name).write_text(text)
    assert cgroup.memory_kills(str(tmp_path), is_unified=is_unified) == expected
