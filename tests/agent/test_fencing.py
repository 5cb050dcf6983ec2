"""Whose commands are obeyed: those of the highest token, which is on disk before anything is done by virtue of it."""

import asyncio
import errno

import pytest

from harpoon.agent import home
from harpoon.agent.fence import Fence
from harpoon.kit.errors import Fenced, Invalid, Unavailable
from harpoon.model.command import StartTask
from harpoon.model.name import TaskId
from harpoon.model.template import TaskTemplate
from harpoon.model.token import Token
from tests.agent.rig import TOKEN, agent

HIGHER = Token(incarnation=1, revision=11)
LOWER = Token(incarnation=1, revision=9)
NEWER_STORE = Token(incarnation=2, revision=1)


def sleep(task: str) -> StartTask:
    return StartTask(
        task=TaskId(task), generation="g", template=TaskTemplate(command=("sleep", "1000")), reason="scheduled"
    )


async def test_adopting_answers_all_tasks_and_the_mark(tmp_path):
    async with agent(tmp_path) as rig:
        task = await rig.running(await rig.start("sleep", "1000"))
        snapshot = await rig.adopt(HIGHER)
        assert snapshot.mark == HIGHER
        assert snapshot.uid == rig.uid
        assert snapshot.tasks == (task,)


@pytest.mark.parametrize("token", [LOWER, Token(incarnation=0, revision=99)])
async def test_a_lower_token_is_refused_with_the_mark(tmp_path, token):
    async with agent(tmp_path) as rig:
        with pytest.raises(Fenced) as adopting:
            await rig.adopt(token)
        with pytest.raises(Fenced) as commanding:
            await rig.send(sleep("default.a.0.1-1"), token=token)
        assert adopting.value.mark == commanding.value.mark == TOKEN
        assert not rig.tasks


async def test_an_equal_token_is_taken_from_the_same_instance_only(tmp_path):
    async with agent(tmp_path) as rig:
        await rig.adopt()
        assert (await rig.send(sleep("default.a.0.1-1"))).results[0].is_ok
        with pytest.raises(Fenced, match="another instance holds it"):
            await rig.adopt(instance="server-2")
        with pytest.raises(Fenced):
            await rig.send(sleep("default.b.0.1-1"), instance="server-2")


@pytest.mark.parametrize("token", [HIGHER, NEWER_STORE])
async def test_a_higher_token_overtakes_by_a_command_as_well(tmp_path, token):
    async with agent(tmp_path) as rig:
        await rig.send(sleep("default.a.0.1-1"), token=token, instance="server-2")
        with pytest.raises(Fenced) as refused:
            await rig.send(sleep("default.b.0.1-1"))
        assert refused.value.mark == token


async def test_commands_for_another_uid_are_refused(tmp_path):
    async with agent(tmp_path) as rig:
        for call in (rig.adopt(HIGHER, uid="other"), rig.send(sleep("default.a.0.1-1"), uid="other")):
            with pytest.raises(Unavailable, match="'other' was meant"):
                await call
        assert (await rig.adopt()).mark == TOKEN


async def test_the_mark_outlives_the_agent(tmp_path):
    async with agent(tmp_path) as rig:
        await rig.adopt(HIGHER)
        rig.token = HIGHER
        await rig.adopt(NEWER_STORE)
    async with agent(tmp_path, adopts=False) as rig:
        with pytest.raises(Fenced) as refused:
            await rig.adopt(HIGHER)
        assert refused.value.mark == NEWER_STORE


async def test_a_mark_that_cannot_be_read_keeps_the_agent_from_starting(tmp_path):
    (tmp_path / "mark.json").write_text("{")
    with pytest.raises(Invalid, match="cannot tell old commands from new"):
        Fence(tmp_path / "mark.json")


async def test_nothing_is_done_by_virtue_of_a_token_that_could_not_be_made_durable(tmp_path, monkeypatch):
    def full(_path, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    async with agent(tmp_path) as rig:
        monkeypatch.setattr(home, "write_durably", full)
        with pytest.raises(Unavailable, match="No space left on device"):
            await rig.adopt(HIGHER)
        with pytest.raises(Unavailable, match="503"):
            await rig.send(sleep("default.a.0.1-1"), token=HIGHER)
        assert not rig.tasks
        # The former holder is not fenced off by what did not happen.
        assert (await rig.send(sleep("default.b.0.1-1"))).results[0].is_ok


async def test_a_mark_is_whole_or_the_old_one_whatever_fails(tmp_path, monkeypatch):
    fence = Fence(tmp_path / "mark.json")
    await fence.admit(TOKEN, "server-1", "cluster-1")

    def broken(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(Unavailable):
        await fence.admit(HIGHER, "server-1")
    assert fence.mark is not None
    assert fence.mark.token == TOKEN
    found = Fence(tmp_path / "mark.json").mark
    assert found is not None
    assert found.token == TOKEN
    assert [file.name for file in tmp_path.iterdir()] == ["mark.json"]


async def test_a_holder_that_is_overtaken_amid_its_commands_carries_out_no_more(tmp_path):
    async with agent(tmp_path) as rig:
        many = [sleep(f"default.a.{n}.1-1") for n in range(300)]
        sending = asyncio.ensure_future(rig.send(*many))
        await rig.until(lambda: len(rig.tasks) > 8)
        await rig.adopt(HIGHER, instance="server-2")
        try:
            await sending
        except Fenced:
            carried_out = len((await rig.adopt(HIGHER, instance="server-2")).tasks)
            assert carried_out < 300
            assert carried_out % 8 == 0
        # However far it came: nothing of it happens after the new holder has adopted.
        before = len((await rig.adopt(HIGHER, instance="server-2")).tasks)
        with pytest.raises(Fenced):
            await rig.send(sleep("default.late.0.1-1"))
        assert len((await rig.adopt(HIGHER, instance="server-2")).tasks) == before


async def test_tokens_race_and_the_highest_stays(tmp_path):
    fence = Fence(tmp_path / "mark.json")
    tokens = [Token(incarnation=1, revision=n) for n in (3, 9, 1, 7, 9, 5)]
    await asyncio.gather(*(fence.admit(token, "server-1", "c") for token in tokens), return_exceptions=True)
    assert fence.mark is not None
    assert fence.mark.token.revision == 9
    found = Fence(tmp_path / "mark.json").mark
    assert found == fence.mark


async def test_a_later_holder_may_name_the_cluster_again(tmp_path):
    fence = Fence(tmp_path / "mark.json")
    await fence.admit(TOKEN, "server-1")
    assert fence.mark is not None
    assert fence.mark.cluster == ""
    await fence.admit(TOKEN, "server-1", "cluster-1")
    assert fence.mark.cluster == "cluster-1"
    await fence.admit(HIGHER, "server-2")
    assert fence.mark.cluster == "cluster-1"
