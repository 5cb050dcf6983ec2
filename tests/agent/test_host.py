"""Tasks on a host that is short of something, or unkind; and what they cost it."""

import asyncio
import errno
import os
import signal
from datetime import timedelta
from pathlib import Path

from harpoon.agent.drivers import process
from harpoon.agent.record import Place
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy
from harpoon.model.task import TaskState
from harpoon.model.template import TaskTemplate
from tests.agent.rig import agent, is_alive, pids_of, zombies

NEVER = Restart(policy=RestartPolicy.NEVER)


async def test_a_task_that_prints_without_end_does_not_keep_others_from_starting(tmp_path):
    async with agent(tmp_path, log_bytes_max=1 << 20) as rig:
        noisy = await rig.start("yes", "x" * 1000)
        await rig.running(noisy)
        for _ in range(5):
            await rig.running(await rig.start("sleep", "1000"))
        log = tmp_path / "tasks" / noisy / "stdout"
        await rig.until_true(lambda: log.with_name("stdout.1").exists())
        assert log.with_name("stdout.1").stat().st_size <= 3 << 20
        await rig.stop(noisy)
        await rig.over(noisy)


async def test_a_task_whose_shim_is_killed_runs_on_and_is_told_when_it_ends(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start("sleep", "1000", restart=NEVER))
        assert task.pid
        os.kill(os.getsid(task.pid), signal.SIGKILL)
        # Nothing is told, for nothing changed; another task shows that the agent is past it.
        await rig.running(await rig.start("sleep", "1000"))
        assert is_alive(task.pid)
        assert rig.tasks[task.id] == task
        await asyncio.sleep(process._TOGETHER_S)
        os.kill(task.pid, signal.SIGKILL)
        over = await rig.over(task.id)
        assert over.exit_code is None
        assert "its shim was killed" in over.reason


async def test_many_short_tasks_leave_no_zombie_and_no_open_file(tmp_path):
    async with agent(tmp_path) as rig:
        await rig.over(await rig.start("true", restart=NEVER))
        before, left = len(list(Path("/proc/self/fd").iterdir())), zombies()
        orders = [rig.order(TaskTemplate(command=("true",), restart=NEVER)) for _ in range(100)]
        await rig.send(*orders)
        for order in orders:
            assert (await rig.over(order.task)).state is TaskState.FINISHED
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
        # A shim ends a little after it has told how its task did.
        await rig.until_true(lambda: zombies() <= left)


async def test_a_host_that_cannot_start_a_process_now_is_tried_again(tmp_path, monkeypatch):
    real, failures = os.posix_spawn, [errno.EAGAIN, errno.ENOMEM]

    def spawn(*arguments, **options):
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(os, "posix_spawn", spawn)
    async with agent(tmp_path) as rig:
        backoff = Backoff(initial=timedelta(milliseconds=100))
        task = await rig.running(await rig.start("sleep", "1000", restart=Restart(backoff=backoff)))
        assert task.restarts == 2
        reasons = [told.reason for told in rig.told if told.state is TaskState.STARTING]
        assert any(
            "could not be started: resource temporarily unavailable; starts again in" in reason for reason in reasons
        )


async def test_a_process_that_cannot_be_watched_is_not_left_running(tmp_path, monkeypatch):
    real, failures = os.pidfd_open, [errno.EMFILE]

    def opened(pid):
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return real(pid)

    monkeypatch.setattr(os, "pidfd_open", opened)
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start("sleep", "1000"))
        assert task.restarts == 1
        # The shim and its task, which may not be the program yet.
        await rig.until_true(lambda: len(pids_of(tmp_path / "tasks" / task.id)) == 2)


async def test_a_full_disk_keeps_new_tasks_out_and_old_ones_from_nothing(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with agent(tmp_path) as rig:
        first, second = [(await rig.running(await rig.start("sleep", "1000"))).id for _ in range(2)]
        monkeypatch.setattr(Place, "_write", full)
        refused = await rig.obey(rig.order(TaskTemplate(command=("sleep", "1000"), ports={"a": 0})))
        assert not refused.is_ok
        assert refused.reason == "the agent's disk: No space left on device"
        os.kill(rig.tasks[first].pid or 0, signal.SIGKILL)
        await rig.running(first, restarts=1)
        await rig.stop(second)
        assert (await rig.over(second)).state is TaskState.FINISHED
        assert len(rig.tasks) == 2


async def test_the_shim_costs_a_task_less_than_two_mebibytes(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start("sleep", "1000"))
        assert task.pid
        shim = os.getsid(task.pid)
        rollup = Path(f"/proc/{shim}/smaps_rollup").read_text().splitlines()
        pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        assert pss < 2048
