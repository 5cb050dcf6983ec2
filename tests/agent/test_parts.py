"""The small parts of an agent by themselves: what processes are, what a shim said, what is launched, and ports."""

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpoon.agent import processes, record
from harpoon.agent.census import Census
from harpoon.agent.drivers import shimfile
from harpoon.agent.drivers.shimfile import Exit
from harpoon.agent.launch import Whereabouts, prepare
from harpoon.agent.ports import Ports
from harpoon.agent.record import Place, Record
from harpoon.agent.vault import Vault
from harpoon.kit.errors import Conflict, Invalid
from harpoon.model.agent import PortRange
from harpoon.model.name import TaskId
from harpoon.model.template import TaskTemplate

STAT = "77 (sh) R 70 70 70 0 -1 4194368 22 0 0 0 0 0 0 0 20 0 1 0 394728 2654208"
HERE = Whereabouts(agent="agent-1", address="10.0.0.1")
TASK = TaskId("default.web.0.1-42")


@pytest.mark.parametrize("name", ["sh", "a b", "a) R 1 (b", ")", "(("])
def test_a_stat_line_is_read_whatever_the_program_is_called(name):
    stat = processes.parse_stat(STAT.replace("(sh)", f"({name})"))
    assert stat == processes.Stat(77, "R", 70, 70, 70, 394728)


@given(st.text(max_size=200))
def test_what_is_no_stat_line_is_none(text):
    assert processes.parse_stat(text) is None


def test_a_process_is_known_by_its_number_and_start():
    with subprocess.Popen(["sh", "-c", "echo up; exec sleep 100"], env={"MARK": "x=1"}, stdout=-1) as sleeping:
        assert sleeping.stdout is not None
        assert sleeping.stdout.readline() == b"up\n"
        stat = processes.stat_of(sleeping.pid)
        assert stat is not None
        assert stat.parent == os.getpid()
        assert processes.is_there(stat)
        assert not processes.is_there(stat._replace(started=stat.started + 1))
        assert processes.has_variable(sleeping.pid, "MARK", "x=1")
        assert not processes.has_variable(sleeping.pid, "MARK", "x")
        assert sleeping.pid in processes.pids()
        sleeping.kill()
        os.waitid(os.P_PID, sleeping.pid, os.WEXITED | os.WNOWAIT)
        # It has ended, though its number is not free yet.
        assert not processes.is_there(stat)
        assert not processes.is_running(sleeping.pid)
    assert processes.stat_of(sleeping.pid) is None
    assert processes.arguments_of(sleeping.pid) == []
    assert not processes.has_variable(sleeping.pid, "MARK", "x=1")
    processes.kill([sleeping.pid])
    processes.signal_group(sleeping.pid, 9)
    processes.signal_group(-1, 9)
    processes.signal_group(0, 9)


def test_inherited_children_are_collected_and_own_ones_are_not():
    with subprocess.Popen(["true"]) as own:
        orphan = os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
        os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
        children = {own.pid}
        children |= {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()} - {orphan}
        processes.reap_orphans(children)
        assert processes.stat_of(orphan) is None
        assert processes.stat_of(own.pid) is not None


async def test_one_look_serves_all_who_ask_for_it(monkeypatch):
    looks = 0
    real = processes.pids

    def counted():
        nonlocal looks
        looks += 1
        return real()

    monkeypatch.setattr(processes, "pids", counted)
    census = Census()
    assert await asyncio.gather(*(census.clear({999_999_000 + n}) for n in range(50))) == [True] * 50
    assert looks == 1


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("", None),
        ("shim 70\n", None),
        ("shim 70\ntask 77\n", None),
        ("shim 70\ntask 77\nexit 3", None),
        ("shim 70\ntask 77\nexit 0\n", Exit(code=0, detail="exited 0")),
        ("shim 70\ntask 77\nexit 3\n", Exit(code=3, detail="exited 3")),
        ("shim 70\ntask 77\nexit 137\n", Exit(code=137, detail="exited 137")),
        ("shim 70\ntask 77\nKilled\nexit 137\n", Exit(code=-9, detail="was killed by KILL")),
        ("shim 70\ntask 77\nexit 130\n", Exit(code=-2, detail="was killed by INT")),
        ("shim 70\ntask 77\nAborted (core dumped)\nexit 134\n", Exit(code=-6, detail="was killed by ABRT")),
        ("shim 70\nsh: Cannot fork\nexit 2\n", Exit(code=None, detail="could not be started: sh: Cannot fork")),
        ("shim 70\nexit 2\n", Exit(code=None, detail="could not be started: its shell ended early")),
        ("shim 70\ntask 77\nsh: cd: can't cd to /x\nexit 126\n", Exit(code=126, detail="exited 126 (sh: cd: can't cd to /x)")),
    ],
)  # fmt: skip
def test_what_a_shim_said_tells_the_end(text, ended):
    assert shimfile.parse(text).exit() == ended


@given(st.text(alphabet="shimtaskexit 0123456789()\n", max_size=300))
def test_any_shim_file_can_be_read(text):
    said = shimfile.parse(text)
    assert len(said.words) <= 200
    said.exit()


def a_record(**template: object) -> Record:
    return Record(id=TASK, generation="g", template=TaskTemplate(**template), cluster="c", ports={"http": 8080})  # type: ignore[arg-type]


def prepared(tmp_path, **template: object):
    tmp_path.mkdir(exist_ok=True)
    place = Place(str(tmp_path / TASK))
    place.make(a_record(**template))
    return prepare(a_record(**template), place, HERE, Vault("none"))


def test_a_program_is_found_in_the_tasks_own_path(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "program").write_text("")
    program = tmp_path / "b" / "program"
    program.write_text("")
    program.chmod(0o755)
    launch = prepared(tmp_path, command=("program", "$HARPOON_SLOT"), env={"PATH": f"{tmp_path}/a:{tmp_path}/b"})
    assert launch.arguments == (str(program), "0")


def test_variables_that_a_shell_would_meddle_with_go_past_it(tmp_path):
    launch = prepared(tmp_path, command=("true",), env={"IFS": "x", "LD_PRELOAD": "y", "FINE": "z"})
    assert launch.arguments[:3] == ("/usr/bin/env", "IFS=x", "LD_PRELOAD=y")
    assert launch.arguments[3].endswith("/true")
    assert launch.environment["FINE"] == "z"
    assert not {"IFS", "LD_PRELOAD"} & launch.environment.keys()


def test_a_program_with_an_equals_sign_cannot_go_past_it(tmp_path):
    program = tmp_path / "a=b"
    program.write_text("")
    program.chmod(0o755)
    assert prepared(tmp_path / "one", command=(str(program),)).arguments == (str(program),)
    with pytest.raises(Invalid, match="holds '='"):
        prepared(tmp_path / "two", command=(str(program),), env={"IFS": "x"})


def test_a_task_cannot_pass_for_another_by_its_env(tmp_path):
    launch = prepared(tmp_path, command=("true",), env={"HARPOON_TASK": "other", "PORT_HTTP": "1"}, ports={"http": 0})
    assert launch.environment["HARPOON_TASK"] == TASK
    assert launch.environment["PORT_HTTP"] == "8080"


def test_a_place_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    place = Place(str(tmp_path / TASK))
    (tmp_path / TASK).mkdir()
    with pytest.raises(OSError, match="File exists"):
        place.make(a_record(command=("true",)))
    assert not (tmp_path / TASK).exists()

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record.codec, "dump", full)
    with pytest.raises(OSError, match="No space"):
        place.make(a_record(command=("true",)))
    assert not (tmp_path / TASK).exists()


def test_all_ports_are_given_or_none():
    ports = Ports(PortRange(low=22_000, high=22_001))
    with pytest.raises(Conflict, match="no free port for c"):
        ports.take(TASK, {"a": 0, "b": 0, "c": 0})
    given = ports.take(TASK, {"a": 0, "b": 0})
    assert sorted(given.values()) == [22_000, 22_001]
    ports.give_back(given)
    assert ports.take(TASK, {"a": 22_001, "b": 0}) == {"a": 22_001, "b": 22_000}


def test_ports_found_again_are_not_given_anew():
    ports = Ports(PortRange(low=22_010, high=22_011))
    ports.keep(TASK, {"a": 22_010})
    assert ports.take(TaskId("default.web.1.1-1"), {"a": 0}) == {"a": 22_011}
    with pytest.raises(Conflict, match=f"port 22010 .a. is task {TASK}'s"):
        ports.take(TaskId("default.web.2.1-1"), {"a": 22_010})


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_port_that_a_stranger_listens_at_is_passed_over(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as stranger:
        try:
            stranger.bind((host, 22_020))
        except OSError:
            pytest.skip("this host has no such address")
        stranger.listen()
        assert Ports(PortRange(low=22_020, high=22_021)).take(TASK, {"a": 0}) == {"a": 22_021}
