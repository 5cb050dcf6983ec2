"""The shipped agent on simulated hosts: what is done to them comes through, and what it does is seen."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from harpoon.agent.stream import event_of
from harpoon.kit.errors import Fenced, Unavailable
from harpoon.model.check import Check, HttpProbe
from harpoon.model.command import ForgetTask, StopTask
from harpoon.model.lifecycle import Restart, RestartPolicy, Stop
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.token import Token
from harpoon.model.wire import Snapshot
from tests.sim.disks import disk_of, install
from tests.sim.hosts import draw
from tests.sim.house import TASK, House, QuickLoop, Story, played

NEVER = Restart(policy=RestartPolicy.NEVER)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], House]:
    install(Random(0), monkeypatch.setattr)

    def play(story: Story, seed: int = 1) -> House:
        with asyncio.Runner(loop_factory=QuickLoop) as runner:
            return runner.run(played(story, tmp_path / f"a{seed}", seed))

    return play


def test_a_task_starts_and_stops_and_both_are_effects_in_time(play):
    async def story(house):
        assert (await house.start(env={"SIM_START": "2", "SIM_STOP": "3"})).is_ok
        assert not house.effects
        running = await house.until(TaskState.RUNNING)
        assert house.loop.now == pytest.approx(2, abs=0.02)
        assert running.pid is not None
        await house.obey(StopTask(task=TASK, reason="no longer wanted"))
        over = await house.until(TaskState.FINISHED)
        assert over.exit_code == -15
        assert house.loop.now == pytest.approx(5, abs=0.05)

    house = play(story)
    assert house.kinds == ["started", "exited"]
    assert len({run for *_, run in house.effects}) == 1


def test_what_ignores_the_signal_is_killed_after_its_grace(play):
    async def story(house):
        await house.start(env={"SIM_STOP": "ignore"}, stop=Stop(grace=timedelta(seconds=7)))
        await house.until(TaskState.RUNNING)
        begun = house.loop.now
        await house.obey(StopTask(task=TASK, reason="gone"))
        assert (await house.until(TaskState.FINISHED)).exit_code == -9
        assert house.loop.now - begun == pytest.approx(7, abs=0.1)

    assert play(story).kinds == ["started", "exited"]


def test_what_ends_by_itself_is_started_again_by_its_policy_and_no_sooner_than_all_of_it_is_gone(play):
    async def story(house):
        await house.start(env={"SIM_EXIT_AFTER": "1..2", "SIM_EXIT_CODE": "3", "SIM_LEAVES": "30"})
        assert (await house.until(TaskState.FAILED)).restarts == 5

    house = play(story)
    assert house.kinds == ["started", "exited"] * 6
    assert [at for at, *_ in house.effects] == sorted(at for at, *_ in house.effects)


def test_what_fails_at_once_and_what_cannot_be_started_fails(play):
    async def story(house):
        await house.start(env={"SIM_FAILS": "1"}, restart=NEVER)
        assert (await house.until(TaskState.FAILED)).exit_code == 1
        house.host.refuses = 1.0
        other = TaskId("default.web.1.1-7")
        await house.start(other, restart=NEVER)
        assert "temporarily unavailable" in (await house.until(TaskState.FAILED, task=other)).reason

    assert play(story).kinds == ["started", "exited"]


def test_a_stop_while_it_is_being_started_leaves_nothing(play):
    async def story(house):
        await house.start(env={"SIM_START": "60"})
        await asyncio.sleep(1)
        await house.obey(StopTask(task=TASK, reason="gone"))
        await house.until(TaskState.FINISHED)
        await asyncio.sleep(100)

    assert play(story).effects == []


def test_a_crashed_daemons_tasks_run_on_and_the_next_one_finds_them(play):
    ended, other = TaskId("default.web.1.1-7"), TaskId("default.web.2.1-7")

    async def story(house):
        await house.start()
        await house.start(ended, env={"SIM_EXIT_AFTER": "10", "SIM_EXIT_CODE": "4"}, restart=NEVER)
        await house.start(other, env={"SIM_START": "5"})
        before = await house.until(TaskState.RUNNING)
        await house.until(TaskState.RUNNING, task=ended)
        await house.crash()
        await asyncio.sleep(2)
        assert house.kinds == ["started", "started"]
        found = await house.boot()
        assert {task.id: task.state for task in found.tasks} == {
            TASK: TaskState.RUNNING,
            ended: TaskState.RUNNING,
            other: TaskState.STARTING,
        }
        assert house.look() == before
        await house.until(TaskState.RUNNING, task=other)
        await house.crash()
        await asyncio.sleep(20)
        assert house.kinds == ["started"] * 3 + ["exited"]
        await house.boot()
        assert (await house.until(TaskState.FAILED, task=ended)).exit_code == 4
        assert house.look() == before

    play(story)


def test_a_reboot_ends_all_and_what_is_wanted_starts_again(play):
    async def story(house):
        await house.start()
        await house.until(TaskState.RUNNING)
        uid = house.daemon.uid
        await house.crash()
        house.host.reboot()
        assert house.kinds == ["started", "exited"]
        await house.boot()
        assert house.daemon.uid == uid
        assert "ended when the host was restarted" in house.look().reason
        assert (await house.until(TaskState.RUNNING, restarts=1)).restarts == 1
        await house.crash()
        house.host.wipe()
        snapshot = await house.boot()
        assert snapshot.tasks == ()
        assert snapshot.mark == house.token
        assert house.daemon.uid != uid

    assert play(story).kinds == ["started", "exited"] * 2


def test_a_full_disk_refuses_starts_denials_and_tokens_and_loses_nothing(play):
    async def story(house):
        await house.start()
        await house.until(TaskState.RUNNING)
        house.host.disk.is_full = True
        other = TaskId("default.web.1.1-7")
        refused = await house.start(other)
        assert "No space left" in refused.reason
        (refused,) = await house.obey(ForgetTask(task=other, reason="moved", is_denied=True))
        assert "could not be made durable" in refused.reason
        assert not refused.is_denied
        before, house.token = house.token, Token(incarnation=1, revision=2)
        with pytest.raises(Unavailable):
            await house.obey()
        house.token = before
        # It is stopped, though the disk cannot take it; then the record is the old one.
        await house.obey(StopTask(task=TASK, reason="gone"))
        await house.until(TaskState.FINISHED)
        house.host.disk.is_full = False
        assert (await house.start(other)).is_ok
        await house.until(TaskState.RUNNING, task=other)

    assert play(story).kinds == ["started", "exited", "started"]


def test_a_denied_start_is_refused_also_by_the_next_daemon_and_after_a_reboot(play):
    async def story(house):
        (denied,) = await house.obey(ForgetTask(task=TASK, reason="moved", is_denied=True))
        assert denied.is_denied
        for reboots in (False, True):
            await house.crash()
            if reboots:
                house.host.reboot(loses=True)
            await house.boot()
            late = await house.start(is_exclusive=True)
            assert not late.is_ok
            assert late.is_denied

    assert play(story).effects == []


def test_a_former_holder_is_fenced_also_by_the_next_daemon(play):
    async def story(house):
        house.token = Token(incarnation=1, revision=9)
        await house.obey()
        await house.crash()
        house.token = Token(incarnation=1, revision=1)
        with pytest.raises(Fenced):
            await house.boot()

    play(story)


def test_a_crash_of_the_machine_loses_what_was_written_lately_and_nothing_else(play):
    old, seen = TaskId("default.web.1.1-7"), set()

    async def story(house):
        await house.start(old)
        await house.until(TaskState.RUNNING, task=old)
        await asyncio.sleep(60)
        await house.start()
        await house.until(TaskState.RUNNING)
        await house.crash()
        house.host.reboot(loses=True)
        found = await house.boot()
        seen.add(frozenset(task.id for task in found.tasks))
        assert old in {task.id for task in found.tasks}

    for seed in range(8):
        play(story, seed)
    assert seen == {frozenset({old}), frozenset({old, TASK})}


def test_a_forgotten_task_may_come_back_with_a_crash_of_the_machine_but_not_one_that_was_denied(play):
    seen = set()

    async def story(house):
        await house.start()
        await house.until(TaskState.RUNNING)
        await house.obey(StopTask(task=TASK, reason="gone"))
        await house.until(TaskState.FINISHED)
        await house.obey(ForgetTask(task=TASK, reason="gone", is_denied=house.host.rng.random() < 0.5))
        denied = house.daemon.service.fence.is_denied(TASK)
        await house.crash()
        house.host.reboot(loses=True)
        before = len(house.effects)
        found = await house.boot()
        await asyncio.sleep(100)
        seen.add((denied, bool(found.tasks)))
        assert not denied or len(house.effects) == before

    for seed in range(30):
        play(story, seed)
    assert (False, True) in seen
    assert (True, True) in seen


def test_checks_pass_after_a_while_and_fail_when_the_task_is_unwell(play):
    async def story(house):
        check = Check(http=HttpProbe(port="http"), every=timedelta(seconds=1), fail_after=2)
        await house.start(ports={"http": 0}, checks=(check,), env={"SIM_READY": "5"})
        running = await house.until(TaskState.RUNNING)
        assert not running.ready
        await asyncio.sleep(6)
        assert house.look().ready
        house.host.unwell = ("default.web.",)
        await asyncio.sleep(4)
        assert not house.look().ready
        assert house.look().checks[0].detail == "answered 503"

    play(story)


def test_a_port_that_a_left_over_process_has_is_not_given(play):
    async def story(house):
        await house.start(ports={"http": 0})
        port = (await house.until(TaskState.RUNNING)).ports["http"]
        assert house.host.why_taken(port) is not None
        assert house.host.why_taken(port + 1) is None

    play(story)


def test_who_follows_is_told_a_snapshot_and_then_changes(play):
    async def story(house):
        events = []

        async def follow():
            async for chunk in house.daemon.service.stream():
                events.extend(event_of(block) for block in chunk.split(b"\n\n")[:-1])

        following = asyncio.ensure_future(follow())
        await asyncio.sleep(1)
        await house.start()
        await house.until(TaskState.RUNNING)
        await asyncio.sleep(6)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        assert isinstance(events[0], Snapshot)
        assert [task.state for event in events[1:] if event for task in event.tasks] == ["starting", "running"]
        assert events[-1] is None

    play(story)


def test_the_same_seed_makes_the_same_run(play, tmp_path):
    async def story(house):
        for slot in range(10):
            env = {"SIM_CRASHES": "0.5", "SIM_FAILS": "0.2", "SIM_LEAVES": "0..1"}
            await house.start(TaskId(f"default.web.{slot}.1-7"), env=env)
        await asyncio.sleep(200)

    first = play(story, 5).effects
    disk_of(f"{tmp_path}/a5/").wipe()
    assert play(story, 5).effects == first
    assert play(story, 6).effects != first


def test_a_behaviour_is_a_number_or_any_in_a_range():
    rng = Random(3)
    drawn = [draw({"SIM_EXIT_AFTER": "1..2", "SIM_START": "4", "SIM_STOP": "ignore"}, rng) for _ in range(50)]
    assert all(1 <= one.exit_s <= 2 for one in drawn)
    assert len({one.exit_s for one in drawn}) == 50
    assert {one.start_s for one in drawn} == {4}
    assert {one.stop_s for one in drawn} == {None}
    assert {draw({}, rng).exit_s for _ in range(50)} == {None}
    assert {draw({"SIM_EXIT_CODE": "0|3"}, rng).code for _ in range(50)} == {0, 3}
    assert {draw({"SIM_EXIT_CODE": "7"}, rng).code for _ in range(50)} == {7}


def test_after_a_restart_of_the_host_nothing_is_started_that_a_later_daemon_would_not_find(play):
    async def story(house: House) -> None:
        await house.start()
        await house.until(TaskState.RUNNING)
        await house.crash()
        house.host.reboot()
        house.host.disk.is_full = True
        await house.boot()
        await asyncio.sleep(0.4)
        assert house.kinds == ["started", "exited"]
        house.host.disk.is_full = False
        await house.until(TaskState.RUNNING)
        await house.crash()
        await house.boot()
        await asyncio.sleep(30)

    for seed in range(8):
        assert play(story, seed).kinds == ["started", "exited", "started"]
