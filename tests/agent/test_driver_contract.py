"""What every driver of an agent promises: one contract, by whatever a task is run.

A driver joins it by a `Kind` in ``tests.agent.contract``.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from harpoon.model.check import Check, ExecProbe
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy, Stop
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState
from harpoon.model.template import Resources, TaskTemplate
from tests.agent.contract import EATS_MEMORY, STAYS, STUBBORN, Kind, a_job, kinds, processes_of
from tests.agent.rig import Rig, agent, clean, connected, daemon

NEVER = Restart(policy=RestartPolicy.NEVER)
MI = 1 << 20
SOON = Backoff(initial=timedelta(milliseconds=50), max=timedelta(milliseconds=100))

pytestmark = pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path):
    yield
    clean(tmp_path)


def template(kind: Kind, script: str, **changes: Any) -> TaskTemplate:
    return TaskTemplate(command=kind.command(script), **{"restart": NEVER} | dict(kind.template) | changes)


async def start(rig: Rig, kind: Kind, script: str, **changes: Any) -> TaskId:
    order = rig.order(template(kind, script, **changes), a_job())
    result = await rig.obey(order)
    assert result.is_ok, result.reason
    return order.task


async def up(rig: Rig, kind: Kind, script: str, **changes: Any) -> Task:
    task = await start(rig, kind, script, **changes)
    await rig.log_until(task, "up\n")
    return await rig.running(task)


def needs(kind: Kind, *limits: str) -> None:
    if not kind.enforced >= set(limits):
        pytest.skip(f"this host enforces only {sorted(kind.enforced)} with {kind.name}")


async def test_a_started_task_runs_and_what_it_writes_is_kept_apart_by_stream(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        task = await up(rig, kind, f"echo wrong >&2; {STAYS}")
        assert task.ready
        assert task.pid in processes_of(task.id)
        assert await rig.log(task.id) == "up\n"
        assert await rig.log(task.id, "stderr") == "wrong\n"


@pytest.mark.parametrize("code", [0, 1, 3, 137])
async def test_the_exit_code_is_the_programs(tmp_path, kind, code):
    async with agent(tmp_path, **kind.told) as rig:
        over = await rig.over(await start(rig, kind, f"exit {code}"))
        assert over.exit_code == code
        assert over.state is (TaskState.FAILED if code else TaskState.FINISHED)
        assert f"exited {code}" in over.reason


async def test_a_task_is_given_its_environment_and_its_ports(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        script = 'echo "$MODE $PORT_WEB $HARPOON_TASK $HARPOON_AGENT"; echo up; sleep 1000'
        task = await up(rig, kind, script, env={"MODE": "a b"}, ports={"web": 0})
        assert await rig.log(task.id) == f"a b {task.ports['web']} {task.id} agent-1\nup\n"


async def test_a_stopped_task_is_asked_first_and_tells_how_it_ended(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        task = await up(rig, kind, STAYS)
        await rig.stop(task.id)
        over = await rig.over(task.id)
        assert (over.state, over.exit_code) == (TaskState.FINISHED, 7)
        assert "asked" in await rig.log(task.id)
        assert processes_of(task.id) == []


async def test_a_task_that_does_not_obey_is_killed_after_its_grace(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        task = await up(rig, kind, STUBBORN, stop=Stop(grace=timedelta(milliseconds=300)))
        begin = asyncio.get_running_loop().time()
        await rig.stop(task.id)
        over = await rig.over(task.id)
        assert asyncio.get_running_loop().time() - begin >= 0.29
        assert "was killed by KILL" in over.reason
        assert processes_of(task.id) == []


async def test_what_a_task_started_goes_with_it_whatever_session_it_is_in(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        # A daemon: of a session of its own, and no child of the task's any more.
        script = "(setsid sleep 1000 & setsid sh -c 'setsid sleep 1000 & sleep 1000' &); "
        ends = await start(rig, kind, f"{script} sleep 0.3; exit 5")
        await rig.until_true(lambda: len(processes_of(ends)) >= 4)
        assert (await rig.over(ends)).exit_code == 5
        stopped = await up(rig, kind, script + STAYS)
        await rig.until_true(lambda: len(processes_of(stopped.id)) >= 4)
        await rig.stop(stopped.id)
        await rig.over(stopped.id)
        await rig.until_true(lambda: processes_of(ends) == processes_of(stopped.id) == [])


async def test_a_task_that_ends_is_started_again_and_never_runs_twice_at_once(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        # The second finds what the first has left behind, if it is there still.
        script = "(setsid sleep 1000 &); echo up; sleep 0.1; exit 1"
        task = await start(rig, kind, script, restart=Restart(attempts=2, backoff=SOON))
        over = await rig.over(task)
        assert (over.state, over.restarts) == (TaskState.FAILED, 2)
        assert await rig.log(task) == "up\n" * 3
        await rig.until_true(lambda: processes_of(task) == [])


async def test_one_task_is_started_once_however_often_it_is_ordered(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        order = rig.order(template(kind, STAYS), a_job())
        await rig.send(*[order] * 5)
        await rig.log_until(order.task, "up\n")
        await rig.obey(order)
        await rig.running(order.task)
        assert await rig.log(order.task) == "up\n"


async def test_a_check_runs_beside_the_task_in_its_environment(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        probe = Check(
            exec_=ExecProbe(command=kind.command('test "$MODE" = fast && test -e here')),
            every=timedelta(milliseconds=50),
            timeout=timedelta(seconds=5),
        )
        task = await start(rig, kind, f"sleep 0.3; touch here; {STAYS}", env={"MODE": "fast"}, checks=(probe,))
        assert not (await rig.running(task)).ready
        await rig.until(lambda: rig.tasks[task].ready)


@pytest.mark.parametrize("moment", ["at once", "while it runs"])
async def test_a_killed_agents_task_is_found_again_and_not_started_a_second_time(tmp_path, kind, moment):
    async with daemon(tmp_path, **kind.told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await start(rig, kind, STAYS)
        if moment == "while it runs":
            await rig.log_until(task, "up\n")
            before = await rig.running(task)
        await first.kill()
    async with daemon(tmp_path, **kind.told) as second, connected(second.port) as rig:
        await rig.adopt()
        found = await rig.running(task)
        assert moment == "at once" or found.pid == before.pid
        await rig.log_until(task, "up\n")
        assert await rig.log(task) == "up\n"
        await rig.stop(task)
        assert (await rig.over(task)).exit_code == 7
        assert processes_of(task) == []


async def test_how_a_task_ended_while_there_was_no_agent_is_known(tmp_path, kind):
    async with daemon(tmp_path, **kind.told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = (await up(rig, kind, "echo up; sleep 1; exit 9")).id
        await first.kill()
    await _until(lambda: processes_of(task) == [])
    async with daemon(tmp_path, **kind.told) as second, connected(second.port) as rig:
        assert (await rig.over(task)).exit_code == 9


async def test_a_task_that_uses_more_memory_than_it_reserved_is_killed_and_says_so(tmp_path, kind):
    needs(kind, "memory")
    async with agent(tmp_path, **kind.told) as rig:
        over = await rig.over(await start(rig, kind, EATS_MEMORY, resources=Resources(memory=32 * MI)))
        assert over.state is TaskState.FAILED
        assert over.reason.startswith("was killed for memory: it used more than 32Mi")
        # Another death by the same signal is no want of memory.
        killed = await rig.over(await start(rig, kind, "kill -9 $$", resources=Resources(memory=32 * MI)))
        assert "memory" not in killed.reason


async def test_that_a_task_was_killed_for_memory_is_known_after_the_agent_was_killed(tmp_path, kind):
    needs(kind, "memory")
    async with daemon(tmp_path, **kind.told) as first, connected(first.port) as rig:
        await rig.adopt()
        script = f'echo up; until test -e "$HOME/go"; do sleep 0.02; done; {EATS_MEMORY}'
        task = (await up(rig, kind, script, resources=Resources(memory=32 * MI))).id
        await first.kill()
    (tmp_path / "tasks" / task / "scratch" / "go").touch()
    await _until(lambda: processes_of(task) == [])
    async with daemon(tmp_path, **kind.told) as second, connected(second.port) as rig:
        assert (await rig.over(task)).reason.startswith("was killed for memory: it used more than 32Mi")


async def test_a_child_that_is_killed_for_memory_is_told_when_its_task_fails_of_it(tmp_path, kind):
    needs(kind, "memory")
    async with agent(tmp_path, **kind.told) as rig:
        script = f"(sh -c '{EATS_MEMORY}'); echo survived; exit 4"
        over = await rig.over(await start(rig, kind, script, resources=Resources(memory=32 * MI)))
        assert over.reason.startswith("exited 4, after processes of it were killed for memory")


async def test_a_task_can_have_no_more_processes_than_it_may(tmp_path, kind):
    needs(kind, "pids")
    async with agent(tmp_path, **kind.told) as rig:
        script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; echo all"
        task = await start(rig, kind, script, resources=Resources(pids=8))
        await rig.over(task)
        assert "fork" in await rig.log(task, "stderr")
        assert "all" not in await rig.log(task)


async def test_a_task_tells_which_of_its_limits_are_enforced(tmp_path, kind):
    async with daemon(tmp_path, **kind.told) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await up(rig, kind, STAYS, resources=Resources(memory=64 * MI, cpu=100, pids=50))
        assert {limit.name for limit in task.limits} == {"memory", "cpu", "pids"}
        assert {limit.name for limit in task.limits if limit.is_enforced} == {"memory", "cpu", "pids"} & kind.enforced
        assert all(limit.detail for limit in task.limits)
        assert (await up(rig, kind, STAYS)).limits == ()
        await first.kill()
    async with daemon(tmp_path, **kind.told) as second, connected(second.port) as rig:
        await rig.adopt()
        assert (await rig.running(task.id)).limits == task.limits
        await rig.stop(task.id)
        assert (await rig.over(task.id)).limits == task.limits


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)
