"""What an agent tells: a snapshot, then each change once, and nothing while nothing changes."""

import asyncio
import signal

import aiohttp
import pytest

from harpoon.agent import feed, service
from harpoon.agent.feed import Feed
from harpoon.agent.metrics import Metrics
from harpoon.kit import codec
from harpoon.kit.errors import Unavailable
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState
from harpoon.model.template import TaskTemplate
from harpoon.model.wire import Changed, Snapshot
from tests.agent.rig import PATIENCE_S, agent, connected, daemon


def task(name: str, **fields: object) -> Task:
    return Task(id=TaskId(name), agent="a", generation="g", state=TaskState.RUNNING, **fields)  # type: ignore[arg-type]


def read(events: bytes | None) -> list[Changed]:
    assert events is not None
    blocks = events.split(b"\n\n")[:-1]
    assert all(block.startswith(b"event: changed\ndata: ") for block in blocks)
    return [codec.load(Changed, block.partition(b"data: ")[2]) for block in blocks]


async def test_changes_of_one_turn_are_one_event_with_the_last_word_on_each_task():
    told = Feed(Metrics())
    follower = told.follow()
    told.tell(TaskId("a"), task("a"))
    told.tell(TaskId("b"), task("b"))
    told.tell(TaskId("a"), task("a", ready=True))
    told.tell(TaskId("b"), None)
    (event,) = read(await follower.take(1))
    assert event == Changed(boot=told.boot, seq=1, tasks=(task("a", ready=True),), gone=(TaskId("b"),))


async def test_the_sequence_has_no_gap_for_one_who_follows_from_a_snapshot():
    told = Feed(Metrics())
    told.tell(TaskId("a"), task("a"))
    follower = told.follow()
    at = told.seq
    assert at == 1
    for n in range(5):
        told.tell(TaskId("a"), task("a", restarts=n))
        told.flush()
    assert [event.seq for event in read(await follower.take(1))] == [2, 3, 4, 5, 6]


async def test_silence_is_nothing_at_all():
    told = Feed(Metrics())
    follower = told.follow()
    assert await follower.take(0.01) is None
    assert not follower.is_cut
    told.flush()
    assert told.seq == 0


async def test_a_follower_that_does_not_keep_up_is_cut_off_and_others_are_not(monkeypatch):
    monkeypatch.setattr(feed, "_WAITING_EVENTS_MAX", 10)
    told = Feed(Metrics())
    slow, quick = told.follow(), told.follow()
    for n in range(12):
        told.tell(TaskId("a"), task("a", restarts=n))
        told.flush()
        assert len(read(await quick.take(1))) == 1
    assert slow.is_cut
    assert await slow.take(1) is None
    assert not quick.is_cut


async def test_it_is_known_whether_anybody_follows():
    told = Feed(Metrics())
    await told.idle()
    follower = told.follow()
    await told.followed()
    assert told.followers == 1
    told.leave(follower)
    await told.idle()
    assert told.followers == 0


async def test_every_follower_is_told_the_same(tmp_path):
    async with agent(tmp_path) as rig, connected(int(rig.client._url.rpartition(":")[2])) as other:
        order = await rig.start("sleep", "1000")
        await rig.running(order)
        assert await other.running(order) == rig.tasks[order]
        await rig.stop(order)
        await rig.over(order)
        await other.over(order)
        assert other.told[-3:] == rig.told[-3:]


async def test_a_steady_agent_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "KEEPALIVE_S", 0.02)
    async with agent(tmp_path) as rig:
        for order in [await rig.start("sleep", "1000") for _ in range(5)]:
            await rig.running(order)
        stream = rig.client.stream()
        assert isinstance(await anext(stream), Snapshot)
        async with asyncio.timeout(PATIENCE_S):
            # Fifteen signs of life in a row, and not one event.
            assert [await anext(stream) for _ in range(15)] == [None] * 15
        await stream.aclose()


async def test_many_tasks_make_few_events(tmp_path):
    async with agent(tmp_path) as rig:
        orders = [rig.order(TaskTemplate(command=("sleep", "1000"))) for _ in range(100)]
        await rig.send(*orders)
        await rig.until(lambda: sum(t.state is TaskState.RUNNING for t in rig.tasks.values()) == 100)
        assert rig.events < 150
        assert [t.state for t in rig.told if t.id == orders[0].task] in (
            [TaskState.STARTING, TaskState.RUNNING],
            [TaskState.RUNNING],
        )


async def test_a_stream_ends_when_the_agent_is_stopped(tmp_path):
    async with daemon(tmp_path) as ending, connected(ending.port) as rig:
        stream = rig.client.stream()
        await anext(stream)
        await ending.kill(signal.SIGTERM)
        with pytest.raises(Unavailable, match="ended the stream"):
            await anext(stream)


async def test_a_plain_question_is_answered_with_a_snapshot(tmp_path):
    async with agent(tmp_path) as rig, aiohttp.ClientSession() as session:
        await rig.running(await rig.start("sleep", "1000"))
        async with session.get(f"{rig.client._url}/v1/tasks") as response:
            snapshot = codec.load(Snapshot, await response.read())
        assert snapshot.uid == rig.uid
        assert [t.state for t in snapshot.tasks] == [TaskState.RUNNING]
