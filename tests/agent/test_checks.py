"""Ports and programs that are asked of real tasks, and that programs of checks leave nothing behind."""

from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.agent import processes
from harpoon.model.check import Check, ExecProbe, OnFail, TcpProbe
from harpoon.model.lifecycle import Backoff, Restart
from harpoon.model.task import TaskState
from tests.agent.programs import python, sh
from tests.agent.rig import agent, clean, connected, daemon, is_alive, pids_of

SOON = timedelta(milliseconds=30)
LATE = timedelta(minutes=10)
#: Listens on $PORT_HTTP as long as the file is absent that its argument names, and answers nothing.
DEAF = """
import os, pathlib, socket, sys, time
while True:
    with socket.create_server(("127.0.0.1", int(os.environ["PORT_HTTP"]))):
        while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)
    while pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)
"""
KINDS = {
    "tcp": ({"tcp": TcpProbe(port="http")}, "connection refused"),
    "exec": (
        {"exec_": ExecProbe(command=sh("[ ! -e $1 ] || { echo broken; exit 4; }", "$BROKEN"))},
        "exited 4: broken",
    ),
}


def deaf(tmp_path, kind: str, **check: object) -> dict:
    return {
        "env": {"BROKEN": str(tmp_path / "broken")},
        "ports": {"http": 0},
        "checks": (Check(**KINDS[kind][0], every=SOON, **check),),  # type: ignore[arg-type]
        "restart": Restart(backoff=Backoff(initial=timedelta(milliseconds=100))),
    }


def programs_of(home: Path) -> set[int]:
    """The processes of a task's checks."""
    found = {pid for pid in processes.pids() if processes.has_variable(pid, "HARPOON_CHECK", str(home))}
    return {pid for pid in found if is_alive(pid)}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_is_ready_while_its_port_accepts_or_its_program_passes(tmp_path, kind):
    broken = tmp_path / "broken"
    async with agent(tmp_path / "state") as rig:
        task = await rig.start(*python(DEAF, str(broken)), **deaf(tmp_path, kind, fail_after=2))
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
        broken.write_text("")
        await rig.until(lambda: not rig.tasks[task].ready)
        assert rig.tasks[task].state is TaskState.RUNNING
        assert rig.tasks[task].checks[0].detail == KINDS[kind][1]
        broken.unlink()
        await rig.until(lambda: rig.tasks[task].ready)
        assert rig.tasks[task].restarts == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_is_started_again_for_a_port_or_a_program_that_fails_if_told_so(tmp_path, kind):
    broken = tmp_path / "broken"
    async with agent(tmp_path / "state") as rig:
        template = deaf(tmp_path, kind, fail_after=2, on_fail=OnFail.RESTART)
        task = await rig.start(*python(DEAF, str(broken)), **template)
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
        broken.write_text("")
        await rig.until(lambda: rig.tasks[task].restarts == 1)
        broken.unlink()
        await rig.until(lambda: rig.tasks[task].ready)
        reason = next(told.reason for told in rig.told if told.state is TaskState.STARTING and told.restarts == 1)
        assert f"failed 2 times: {KINDS[kind][1]}; was killed by TERM" in reason


async def test_a_program_of_a_check_never_outlives_its_task(tmp_path):
    hangs = Check(exec_=ExecProbe(command=sh("sleep 1000 & sleep 1000")), timeout=LATE)
    scripts = {
        "stopped": "sleep 1000",
        "ended": "while [ ! -e end ]; do sleep 0.01; done; exit 3",
        "again": "while [ ! -e end ]; do sleep 0.01; done; rm end; exit 3",
    }
    async with agent(tmp_path, cleans=False) as rig:
        tasks = {name: await rig.start(*sh(script), checks=(hangs,)) for name, script in scripts.items()}
        homes = {name: tmp_path / "tasks" / task for name, task in tasks.items()}
        for name in tasks:
            await rig.until_true(lambda name=name: len(programs_of(homes[name])) == 3)
        before = {name: programs_of(homes[name]) for name in tasks}
        await rig.stop(tasks["stopped"])
        assert (await rig.over(tasks["stopped"])).state is TaskState.FINISHED
        assert not any(map(is_alive, before["stopped"]))
        (homes["again"] / "scratch" / "end").touch()
        await rig.running(tasks["again"], restarts=1)
        assert not any(map(is_alive, before["again"]))
        await rig.until_true(lambda: len(programs_of(homes["again"])) == 3)
        (homes["ended"] / "scratch" / "end").touch()
        await rig.until_true(lambda: not before["ended"] & programs_of(homes["ended"]))
        before["again"] = programs_of(homes["again"])
    # The agent has ended; its tasks run on, and alone.
    assert not any(map(is_alive, before["again"]))
    assert pids_of(homes["again"])
    clean(tmp_path)


async def test_a_program_of_a_check_that_a_killed_agent_left_is_ended_by_the_next(tmp_path):
    checks = (Check(exec_=ExecProbe(command=sh("sleep 1000 & sleep 1000")), timeout=LATE),)
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await rig.running(await rig.start("sleep", "1000", checks=checks))
        home = tmp_path / "tasks" / task.id
        await rig.until_true(lambda: len(programs_of(home)) == 3)
        left = programs_of(home)
        await first.kill()
    assert all(map(is_alive, left))
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        assert not any(map(is_alive, left))
        assert (await rig.running(task.id)).pid == task.pid
        # And it is asked again.
        await rig.until_true(lambda: len(programs_of(home)) == 3)
    clean(tmp_path)
