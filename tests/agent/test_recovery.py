"""A killed agent: its tasks run on, and the next one finds all of them before it serves."""

import asyncio
import json
import os
import signal
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from harpoon.agent import home, processes
from harpoon.agent.record import Place
from harpoon.kit.errors import Conflict
from harpoon.model.check import Check, ExecProbe, HttpProbe, TcpProbe
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy, Stop
from harpoon.model.task import TaskState
from tests.agent.programs import WEB, python, sh
from tests.agent.rig import agent, clean, connected, daemon, is_alive

NEVER = Restart(policy=RestartPolicy.NEVER)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path):
    yield
    clean(tmp_path)


async def test_tasks_outlive_a_killed_agent_and_are_found_again_as_they_are(tmp_path):
    async with daemon(tmp_path) as first:
        async with connected(first.port) as rig:
            await rig.adopt()
            for _ in range(20):
                await rig.start("sleep", "1000", ports={"a": 0})
            await rig.until(lambda: sum(t.state is TaskState.RUNNING for t in rig.tasks.values()) == 20)
            before = dict(rig.tasks)
        await first.kill(signal.SIGKILL)
        assert all(is_alive(task.pid or 0) for task in before.values())
    async with daemon(tmp_path) as second, aiohttp.ClientSession() as session:
        # The very first answer tells all of them.
        async with session.get(f"http://127.0.0.1:{second.port}/v1/tasks") as response:
            found = {task["id"]: task for task in (await response.json())["tasks"]}
        assert {task: (t["pid"], t["state"], t["ready"], t["ports"]) for task, t in found.items()} == {
            task.id: (task.pid, "running", True, task.ports) for task in before.values()
        }
        assert not any(task.get("restarts", 0) for task in found.values())


async def test_a_found_task_is_stopped_restarted_and_its_exit_code_known(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        stopped, crashed, ended = [
            (await rig.running(await rig.start(*sh("trap 'exit 5' USR1; echo up; while :; do sleep 0.01; done"), restart=restart))).id
            for restart in (NEVER, Restart(), NEVER)
        ]  # fmt: skip
        for task in (stopped, crashed, ended):
            await rig.log_until(task, "up\n")
        await first.kill()
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: len(rig.tasks) == 3)
        os.kill(rig.tasks[crashed].pid or 0, signal.SIGKILL)
        assert (await rig.running(crashed, restarts=1)).exit_code == -9
        os.kill(rig.tasks[ended].pid or 0, signal.SIGUSR1)
        assert (await rig.over(ended)).exit_code == 5
        await rig.stop(stopped)
        assert (await rig.over(stopped)).exit_code == -15


async def test_what_ended_while_no_agent_watched_is_known(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        pids = {}
        for name in ("exits", "killed", "group", "again"):
            restart = Restart() if name == "again" else NEVER
            task = await rig.running(await rig.start(*sh("trap 'exit 6' USR1; echo up; while :; do sleep 0.01; done"), restart=restart))  # fmt: skip
            await rig.log_until(task.id, "up\n")
            pids[name] = (task.id, task.pid or 0)
        await first.kill()
    shims = [os.getsid(pid) for _, pid in pids.values()]
    os.kill(pids["exits"][1], signal.SIGUSR1)
    os.kill(pids["killed"][1], signal.SIGTERM)
    os.killpg(os.getpgid(pids["group"][1]), signal.SIGKILL)
    os.kill(pids["again"][1], signal.SIGKILL)
    async with asyncio.timeout(10):
        while any(map(is_alive, shims)):
            await asyncio.sleep(0.01)
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: len(rig.tasks) == 4)
        assert (await rig.over(pids["exits"][0])).exit_code == 6
        assert (await rig.over(pids["killed"][0])).exit_code == -15
        group = await rig.over(pids["group"][0])
        assert group.exit_code == -9
        assert "its whole group" in group.reason
        again = await rig.running(pids["again"][0], restarts=1)
        assert again.exit_code == -9


async def test_a_stop_goes_on_under_the_next_agent(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        stop = Stop(grace=timedelta(milliseconds=1500))
        task = await rig.start(*sh("trap '' TERM; echo up; while :; do sleep 0.05; done"), stop=stop)
        await rig.log_until(task, "up\n")
        begin = asyncio.get_running_loop().time()
        await rig.stop(task, "moved away")
        await rig.state(task, TaskState.STOPPING)
        await first.kill()
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: task in rig.tasks)
        assert not rig.tasks[task].ready
        over = await rig.over(task)
        took = asyncio.get_running_loop().time() - begin
        assert over.state is TaskState.FINISHED
        assert over.reason == "moved away; was killed by KILL"
        # The grace is the template's, however many agents it took.
        assert 1.4 <= took <= 4


@pytest.mark.parametrize(
    "probe",
    [
        {"http": HttpProbe(port="http")},
        {"tcp": TcpProbe(port="http")},
        {"exec_": ExecProbe(command=sh("[ ! -e asked ] && touch asked"))},
    ],
    ids=("http", "tcp", "exec"),
)
async def test_a_ready_task_stays_ready_across_agents(tmp_path, probe):
    checks = (Check(**probe, every=timedelta(seconds=30)),)
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await rig.start(*python(WEB, "none"), ports={"http": 0}, checks=checks)
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].ready)
        await first.kill()
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: task in rig.tasks)
        assert all(told.ready for told in rig.told)
        assert rig.tasks[task].checks[0].is_passing


async def test_a_task_that_waits_to_start_again_still_does(tmp_path):
    backoff = Backoff(initial=timedelta(seconds=3), jitter=0)
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await rig.start(
            *sh("echo . >>count; [ $(wc -l <count) -ge 3 ] && exec sleep 1000; exit 1"),
            restart=Restart(backoff=backoff),
        )
        await rig.until(lambda: task in rig.tasks and rig.tasks[task].restarts == 2)
        await first.kill()
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: task in rig.tasks)
        assert rig.tasks[task].state is TaskState.STARTING
        assert "starts again in 3s" in rig.tasks[task].reason
        assert (await rig.running(task)).restarts == 2


async def test_an_agent_that_is_stopped_leaves_its_tasks_running_and_ends_cleanly(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await rig.running(await rig.start("sleep", "1000"))
        async with asyncio.timeout(10):
            await first.kill(signal.SIGTERM)
        assert first.process.returncode == 0
        assert is_alive(task.pid or 0)


async def test_a_task_whose_shim_died_with_the_agent_is_found_and_ended(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await rig.running(await rig.start("sleep", "1000", restart=NEVER))
        await first.kill()
    assert task.pid
    os.kill(os.getsid(task.pid), signal.SIGKILL)
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: task.id in rig.tasks)
        assert rig.tasks[task.id].pid == task.pid
        await rig.stop(task.id)
        over = await rig.over(task.id)
        assert over.exit_code in (None, -9)
        assert not is_alive(task.pid)


async def test_a_task_of_another_boot_is_over_whatever_has_its_number_now(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        bystander = await rig.running(await rig.start("sleep", "1000", restart=NEVER))
        again = await rig.running(await rig.start("sleep", "1000"))
        await first.kill()
    # What has the number now has nothing to do with this agent.
    for directory in json.loads((tmp_path / "tasks" / bystander.id / "group.1").read_text())["directories"].values():
        (Path(directory).parents[1] / "cgroup.procs").write_text(str(bystander.pid))
    for task in (bystander, again):
        record = tmp_path / "tasks" / task.id / "task.json"
        record.write_text(record.read_text().replace(processes.boot_id(), "another-boot"))
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        await rig.until(lambda: len(rig.tasks) == 2)
        over = await rig.over(bystander.id)
        assert "the host was restarted" in over.reason
        assert is_alive(bystander.pid or 0)
        assert (await rig.running(again.id, restarts=1)).pid != again.pid


async def test_the_next_agent_of_the_same_process_takes_up_where_the_first_stopped(tmp_path):
    async with agent(tmp_path, cleans=False) as rig:
        runs, stops, dies, gone = [
            (await rig.running(await rig.start("sleep", "1000", restart=NEVER, stop=Stop(grace=timedelta(seconds=1)))))
            for _ in range(4)
        ]
        await rig.stop(stops.id)
    os.kill(dies.pid or 0, signal.SIGTERM)
    os.killpg(os.getpgid(gone.pid or 0), signal.SIGKILL)
    async with agent(tmp_path) as rig:
        await rig.until(lambda: len(rig.tasks) == 4)
        assert rig.tasks[runs.id].pid == runs.pid
        assert (await rig.over(stops.id)).state is TaskState.FINISHED
        assert (await rig.over(dies.id)).exit_code == -15
        assert (await rig.over(gone.id)).exit_code == -9
        os.kill(runs.pid or 0, signal.SIGKILL)
        assert (await rig.over(runs.id)).exit_code == -9


async def test_a_shim_that_was_still_starting_is_waited_for(tmp_path):
    async with agent(tmp_path, cleans=False) as rig:
        task = await rig.running(await rig.start("sleep", "1000"))
    (file,) = (tmp_path / "tasks" / task.id).glob("shim.*")
    said = file.read_text()
    # As it is before the shim has said a word; it is found by its arguments.
    file.write_text("")
    async with agent(tmp_path) as rig:
        await rig.until(lambda: task.id in rig.tasks)
        assert rig.tasks[task.id].state is TaskState.STARTING
        file.write_text(said)
        assert (await rig.running(task.id)).pid == task.pid


async def test_an_order_that_was_never_begun_is_begun_once(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start(*sh("echo . >>count; sleep 1000")))
        count = tmp_path / "tasks" / task.id / "scratch" / "count"
        await rig.until_true(count.exists)
    clean(tmp_path)
    place = tmp_path / "tasks" / task.id
    for file in place.glob("shim.*"):
        file.unlink()
    count.unlink()
    async with agent(tmp_path) as rig:
        await rig.running(task.id)
        await rig.until_true(count.exists)
        assert count.read_text() == ".\n"
        assert [file.name for file in place.glob("shim.*")] == ["shim.1"]


async def test_what_was_cut_off_while_an_order_was_written_is_dropped(tmp_path):
    (tmp_path / "tasks" / "default.web.0.1-1" / "scratch").mkdir(parents=True)
    (tmp_path / "tasks" / "default.web.1.1-1").mkdir()
    (tmp_path / "tasks" / "default.web.1.1-1" / "task.json").write_text('{"id": "default.w')
    async with agent(tmp_path) as rig:
        assert not rig.tasks
        await rig.until_true(lambda: not [*(tmp_path / "tasks").iterdir(), *(tmp_path / "trash").iterdir()])


async def test_a_running_task_whose_record_cannot_be_read_is_shown_and_can_be_stopped(tmp_path):
    async with daemon(tmp_path) as first, connected(first.port) as rig:
        await rig.adopt()
        task = await rig.running(await rig.start("sleep", "1000"))
        await first.kill()
    (tmp_path / "tasks" / task.id / "task.json").write_text("not a record")
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        assert (await rig.running(task.id)).pid == task.pid
        await rig.stop(task.id)
        assert (await rig.over(task.id)).state is TaskState.FINISHED
        assert (await rig.forget(task.id)).is_ok


async def test_two_agents_never_share_a_state_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "LOCK_WAIT_S", 0.05)
    async with agent(tmp_path):
        with pytest.raises(Conflict, match="another agent uses the state directory"), home.open_home(tmp_path):
            pass


async def test_the_uid_stays_with_the_state_directory(tmp_path):
    async with agent(tmp_path / "a") as rig:
        first = rig.uid
    async with agent(tmp_path / "a") as rig:
        assert rig.uid == first
    async with agent(tmp_path / "b") as rig:
        assert rig.uid != first


async def test_a_record_is_replaced_whole(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start("sleep", "1000"))
        place = Place(str(tmp_path / "tasks" / task.id))
        record = place.load()
        assert record is not None
        place.save(record)
        assert place.load() == record
        assert json.loads((tmp_path / "tasks" / task.id / "task.json").read_text())["id"] == task.id
