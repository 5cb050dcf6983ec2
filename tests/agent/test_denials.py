"""What is denied stays denied: on disk before it is answered, for as long as a late start could come."""

import asyncio
import errno
import signal

import pytest

from harpoon.agent import fence as fences
from harpoon.agent import home
from harpoon.agent.fence import Fence
from harpoon.agent.record import Place
from harpoon.kit.errors import Fenced, Invalid, Unavailable
from harpoon.model.command import ForgetTask, StartTask, StopTask
from harpoon.model.name import TaskId
from harpoon.model.task import TaskState
from harpoon.model.template import TaskTemplate
from harpoon.model.token import Token
from tests.agent.rig import TOKEN, agent, clean, connected, daemon, is_alive

HIGHER = Token(incarnation=1, revision=11)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path):
    yield
    clean(tmp_path)


def start(number: int, slot: int = 0, *, incarnation: int = 1, is_exclusive: bool = True) -> StartTask:
    task = TaskId(f"default.db.{slot}.{incarnation}-{number}")
    template = TaskTemplate(command=("sleep", "1000"))
    return StartTask(task=task, generation="g", template=template, reason="scheduled", is_exclusive=is_exclusive)


def deny(number: int, slot: int = 0) -> ForgetTask:
    return ForgetTask(task=TaskId(f"default.db.{slot}.1-{number}"), reason="revoked", is_denied=True)


async def test_a_late_start_of_what_was_denied_is_refused_whether_it_was_ever_known_or_not(tmp_path):
    async with agent(tmp_path) as rig:
        denied = await rig.obey(deny(5))
        assert (denied.is_ok, denied.is_denied) == (True, True)
        for late in (start(5), start(4), start(5, is_exclusive=False)):
            refused = await rig.obey(late)
            assert (refused.is_ok, refused.is_denied) == (False, True)
            assert "its slot was denied at this placement" in refused.reason
        # What was placed after it, and other slots, are another matter.
        for other in (start(6), start(3, slot=1), start(1, slot=2, incarnation=2)):
            assert (await rig.obey(other)).is_ok
        assert (await rig.obey(deny(4))).is_ok is False  # a newer one of the slot runs here
        assert not (await rig.obey(start(5))).is_ok


async def test_a_task_that_runs_is_stopped_before_it_is_forgotten_though_denied_already(tmp_path):
    async with agent(tmp_path) as rig:
        await rig.obey(start(5))
        await rig.running(start(5).task)
        refused = await rig.obey(deny(5))
        assert (refused.is_ok, refused.is_denied) == (False, False)
        assert "stop it before" in refused.reason
        await rig.obey(StopTask(task=start(5).task, reason="revoked"))
        await rig.over(start(5).task)
        assert (await rig.obey(deny(5))).is_denied
        await rig.until(lambda: not rig.tasks)
        assert not (await rig.obey(start(5))).is_ok


async def test_a_task_that_is_only_forgotten_is_not_denied(tmp_path):
    async with agent(tmp_path) as rig:
        result = await rig.obey(ForgetTask(task=start(5).task, reason="gone"))
        assert (result.is_ok, result.is_denied) == (True, False)
        assert (await rig.obey(start(5))).is_ok


async def test_an_exclusive_task_is_not_started_beside_another_of_its_slot(tmp_path):
    async with agent(tmp_path) as rig:
        await rig.obey(start(5))
        refused = await rig.obey(start(6))
        assert not refused.is_ok
        assert refused.reason.startswith("default.db.0.1-5 of the same slot is ")
        assert (await rig.obey(start(6, is_exclusive=False))).is_ok
        await rig.stop(start(5).task)
        await rig.stop(start(6).task)
        await rig.over(start(5).task)
        await rig.over(start(6).task)
        assert (await rig.obey(start(7))).is_ok


async def test_a_denial_outlives_an_agent_that_is_killed_as_soon_as_it_has_answered(tmp_path):
    async with daemon(tmp_path) as first:
        async with connected(first.port) as rig:
            await rig.adopt()
            assert (await rig.obey(deny(5))).is_denied
        await first.kill(signal.SIGKILL)
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        # The same holder goes on, and what it sent before arrives only now.
        assert not (await rig.obey(start(5))).is_ok
        assert not rig.tasks


async def test_a_killed_agent_that_finds_a_denied_task_running_ends_it(tmp_path):
    async with daemon(tmp_path) as first:
        async with connected(first.port) as rig:
            await rig.adopt()
            await rig.obey(start(5))
            pid = (await rig.running(start(5).task)).pid or 0
            # It is on disk, though it is answered that the task still runs.
            assert not (await rig.obey(deny(5))).is_ok
        await first.kill(signal.SIGKILL)
        assert is_alive(pid)
    async with daemon(tmp_path) as second, connected(second.port) as rig:
        assert (await rig.over(start(5).task)).state is TaskState.FINISHED
        assert not is_alive(pid)
        assert (await rig.obey(deny(5))).is_denied


async def test_a_higher_token_makes_late_starts_refusable_and_keeps_the_latest_denials(tmp_path, monkeypatch):
    monkeypatch.setattr(fences, "DENIALS_KEPT", 2)
    async with agent(tmp_path) as rig:
        for slot in (1, 0, 2):
            await rig.obey(deny(5, slot))
        await rig.adopt(HIGHER, instance="server-2")
        with pytest.raises(Fenced):
            await rig.send(start(5))
        assert Fence(tmp_path / "mark.json").mark.denials.keys() == {"default.db.0", "default.db.2"}


async def test_the_mark_and_its_denials_are_one_write(tmp_path, monkeypatch):
    """Killed at whatever moment, an agent has the old mark with its denials, or the new one."""
    fence = Fence(tmp_path / "mark.json")
    await fence.admit(TOKEN, "server-1", "c")
    await fence.deny(TOKEN, "server-1", [deny(5).task, deny(7, slot=1).task])
    seen = []

    def spied(path, data):
        seen.append(Fence(path))
        write(path, data)
        seen.append(Fence(path))

    write = home.write_durably
    monkeypatch.setattr(home, "write_durably", spied)
    monkeypatch.setattr(fences, "DENIALS_KEPT", 1)
    await fence.admit(HIGHER, "server-2")
    assert [one.mark.token for one in seen] == [TOKEN, HIGHER]
    assert [one.is_denied(deny(5).task) for one in seen] == [True, False]
    assert [one.is_denied(deny(7, slot=1).task) for one in seen] == [True, True]
    assert fence.mark == Fence(tmp_path / "mark.json").mark


async def test_a_denial_that_could_not_be_made_durable_is_refused_and_keeps_nothing_else_from_being_done(
    tmp_path, monkeypatch
):
    def full(_path, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    async with agent(tmp_path) as rig:
        with monkeypatch.context() as patched:
            patched.setattr(home, "write_durably", full)
            denied, started = (await rig.send(deny(5), start(1, slot=1))).results
        assert (denied.is_ok, denied.is_denied, started.is_ok) == (False, False, True)
        assert denied.reason == "the denial could not be made durable: No space left on device"
        assert (await rig.obey(start(5))).is_ok


async def test_denials_are_bounded_and_one_slot_takes_one(tmp_path, monkeypatch):
    monkeypatch.setattr(fences, "DENIALS_MAX", 2)
    fence = Fence(tmp_path / "mark.json")
    await fence.admit(TOKEN, "server-1", "c")
    await fence.deny(TOKEN, "server-1", [deny(number, slot).task for number in range(9) for slot in (0, 1)])
    with pytest.raises(Unavailable, match="2 slots are denied here already"):
        await fence.deny(TOKEN, "server-1", [deny(1, slot=2).task])
    assert fence.mark.denials.keys() == {"default.db.0", "default.db.1"}
    assert fence.is_denied(deny(8).task)
    assert not fence.is_denied(deny(9).task)


async def test_what_is_no_task_is_not_denied(tmp_path):
    fence = Fence(tmp_path / "mark.json")
    await fence.admit(TOKEN, "server-1", "c")
    with pytest.raises(Invalid, match="a task id is"):
        await fence.deny(TOKEN, "server-1", [TaskId("../../x")])
    async with agent(tmp_path / "other") as rig:
        assert not (await rig.obey(ForgetTask(task=TaskId("nobody"), reason="", is_denied=True))).is_ok


async def test_a_former_holder_denies_nothing(tmp_path):
    fence = Fence(tmp_path / "mark.json")
    await fence.admit(TOKEN, "server-1", "c")
    denying = asyncio.gather(
        fence.admit(HIGHER, "server-2"), fence.deny(TOKEN, "server-1", [deny(5).task]), return_exceptions=True
    )
    assert isinstance((await denying)[1], Fenced)
    assert not fence.is_denied(deny(5).task)


async def test_a_record_that_a_crash_brought_back_is_not_run_again(tmp_path):
    async with agent(tmp_path, cleans=False) as rig:
        await rig.obey(start(5))
        await rig.running(start(5).task)
        place = Place(str(tmp_path / "tasks" / start(5).task))
        record = place.load()
        await rig.stop(start(5).task)
        await rig.over(start(5).task)
        assert (await rig.obey(deny(5))).is_denied
    # The machine crashed: the directory's move was not on disk yet, the denial was. No process survived.
    place.make(record)
    async with agent(tmp_path, adopts=False) as rig:
        assert (await rig.over(start(5).task)).pid is None
