"""Ending tasks: out of the ready set at once, then drain, signal, grace, KILL; and forgetting them."""

import asyncio
import os
from datetime import timedelta

import pytest

from harpoon.agent import processes
from harpoon.model.lifecycle import Stop, StopSignal
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from tests.agent.programs import sh
from tests.agent.rig import Rig, agent, is_alive

#: Tells when it can be signalled, and which signal it got.
TELLS = 'for s in TERM INT QUIT HUP USR1 USR2; do trap "echo got $s; exit 0" $s; done; echo up; while :; do sleep 0.01; done'
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


def ms(milliseconds: int) -> timedelta:
    return timedelta(milliseconds=milliseconds)


async def up(rig: Rig, *command: str, **template: object) -> TaskId:
    task = await rig.start(*command, **template)
    await rig.log_until(task, "up\n")
    await rig.running(task)
    return task


async def test_a_stopped_task_leaves_the_ready_set_at_once_and_ends_finished(tmp_path):
    async with agent(tmp_path) as rig:
        task = await up(rig, *sh(TELLS))
        assert (await rig.stop(task, "scaled down")).is_ok
        stopping = await rig.state(task, TaskState.STOPPING, TaskState.FINISHED)
        assert not stopping.ready
        told = [(t.state, t.ready, t.reason) for t in rig.told if t.id == task]
        over = await rig.over(task)
        assert (TaskState.STOPPING, False, "scaled down") in [*told, (stopping.state, stopping.ready, stopping.reason)]
        assert over.state is TaskState.FINISHED
        assert over.reason == "scaled down; exited 0"
        assert over.exit_code == 0
        assert await rig.log(task) == "up\ngot TERM\n"


@pytest.mark.parametrize("signal", [s for s in StopSignal if s is not StopSignal.KILL])
async def test_the_signal_is_the_templates(tmp_path, signal):
    async with agent(tmp_path) as rig:
        task = await up(rig, *sh(TELLS), stop=Stop(signal=signal))
        await rig.stop(task)
        await rig.over(task)
        assert await rig.log(task) == f"up\ngot {signal}\n"


async def test_a_task_that_ignores_the_signal_is_killed_after_the_grace(tmp_path):
    async with agent(tmp_path) as rig:
        task = await up(rig, *sh(STUBBORN), stop=Stop(grace=ms(200)))
        begin = asyncio.get_running_loop().time()
        await rig.stop(task)
        over = await rig.over(task)
        assert asyncio.get_running_loop().time() - begin >= 0.19
        assert over.state is TaskState.FINISHED
        assert over.reason == "scaled down; was killed by KILL"
        assert over.exit_code == -9


async def test_kill_as_the_signal_kills_at_once(tmp_path):
    async with agent(tmp_path) as rig:
        task = await up(rig, *sh(STUBBORN), stop=Stop(signal=StopSignal.KILL))
        await rig.stop(task)
        assert (await rig.over(task)).exit_code == -9


async def test_a_task_with_ports_is_drained_before_the_signal_and_one_without_is_not(tmp_path):
    async with agent(tmp_path) as rig:
        with_ports = await up(rig, *sh(TELLS), ports={"a": 0}, stop=Stop(drain=ms(400)))
        without = await up(rig, *sh(TELLS), stop=Stop(drain=timedelta(minutes=5)))
        begin = asyncio.get_running_loop().time()
        await rig.stop(with_ports)
        await rig.stop(without)
        await rig.over(without)
        assert rig.tasks[with_ports].state is TaskState.STOPPING
        await rig.over(with_ports)
        assert asyncio.get_running_loop().time() - begin >= 0.39


@pytest.mark.parametrize(
    "family",
    [
        "sleep 1001 & sleep 1002 & echo up; wait",
        "(trap '' TERM; sleep 1003) & echo up; wait",
        "set -m; sleep 1004 & (trap '' TERM; sleep 1005) & echo up; wait",
    ],
)
async def test_all_that_a_task_forked_ends_with_it(tmp_path, family):
    async with agent(tmp_path) as rig:
        # bash, because job control puts children into groups of their own there, without a terminal too.
        task = await up(rig, "/bin/bash", "-c", family, stop=Stop(grace=ms(200)))
        pid = rig.tasks[task].pid
        assert pid
        family_pids = [p for p in processes.pids() if _session(p) == os.getsid(pid)]
        assert len(family_pids) >= 3
        await rig.stop(task)
        await rig.over(task)
        assert not [p for p in family_pids if is_alive(p)]


async def test_a_task_that_left_its_group_is_signalled_and_killed_all_the_same(tmp_path):
    async with agent(tmp_path) as rig:
        polite = await rig.running(await rig.start("timeout", "1000", *sh(TELLS)))
        stubborn = await rig.running(await rig.start("setsid", *sh(STUBBORN), stop=Stop(grace=ms(100))))
        for task in (polite, stubborn):
            await rig.log_until(task.id, "up\n")
            await rig.stop(task.id)
        assert (await rig.over(polite.id)).state is TaskState.FINISHED
        assert "got TERM" in await rig.log(polite.id)
        assert (await rig.over(stubborn.id)).exit_code == -9


async def test_a_stopped_process_is_killed_as_well(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start(*sh("kill -STOP 0; sleep 1000"), stop=Stop(grace=ms(100))))
        await rig.stop(task.id)
        assert (await rig.over(task.id)).state is TaskState.FINISHED


async def test_stopping_twice_and_stopping_what_is_over_or_unknown_is_well(tmp_path):
    async with agent(tmp_path) as rig:
        task = await up(rig, *sh(STUBBORN), stop=Stop(grace=ms(100)))
        assert (await rig.stop(task, "first")).is_ok
        assert (await rig.stop(task, "second")).is_ok
        assert (await rig.over(task)).reason.startswith("first; ")
        before = rig.tasks[task]
        assert (await rig.stop(task, "third")).is_ok
        assert (await rig.stop(TaskId("default.none.0.1-1"))).is_ok
        assert rig.tasks[task] == before


async def test_a_running_task_is_not_forgotten_and_one_that_is_over_is_entirely(tmp_path):
    async with agent(tmp_path) as rig:
        task = await up(rig, *sh(TELLS))
        refused = await rig.forget(task)
        assert not refused.is_ok
        assert refused.reason == "the task is running; stop it before"
        await rig.stop(task)
        await rig.over(task)
        assert (await rig.forget(task)).is_ok
        await rig.until(lambda: task not in rig.tasks)
        assert (await rig.forget(task)).is_ok
        await rig.until_true(lambda: not [*(tmp_path / "tasks").iterdir(), *(tmp_path / "trash").iterdir()])


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
