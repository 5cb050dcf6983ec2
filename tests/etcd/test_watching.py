"""A watch and its reader: what is told is neither lost nor doubled when the member is left, however slowly it is read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from harpoon.store.etcd.store import EtcdStore
from harpoon.store.etcd.watching import SLOW_S
from harpoon.store.feed import QUEUED_BYTES_MAX
from harpoon.store.port import SlowWatcher
from harpoon.store.url import EtcdUrl
from tests.etcd.members import Member
from tests.etcd.opening import opened
from tests.store.reading import put

VALUE = b"x" * 500_000
#: More than the queue takes.
COUNT = QUEUED_BYTES_MAX // len(VALUE) + 10


@pytest.fixture
async def store(etcd: Member) -> AsyncIterator[EtcdStore]:
    etcd.wipe()
    async with opened(EtcdUrl(endpoints=(etcd.endpoint,))) as store:
        yield store


async def a_full_queue(store: EtcdStore) -> list[int]:
    async with asyncio.TaskGroup() as group:
        written = [group.create_task(put(store, f"/w/{number}", VALUE)) for number in range(COUNT)]
    return sorted({task.result() for task in written})


async def test_nothing_is_lost_when_the_member_is_left_while_the_queue_is_full(store: EtcdStore) -> None:
    after = await store.revision()
    revisions = await a_full_queue(store)
    told = []
    async with asyncio.timeout(30), aclosing(store.watch("/w/", after=after)) as stream:
        told.append((await anext(stream))[0])
        for left in range(3):
            # So much is told as there is room for, and the next one waits.
            await asyncio.sleep(0.3)
            store._members.leave(store._members.current)
            while store.health().counts["watch_resumes"] == left:
                await asyncio.sleep(0.01)
            told.append((await anext(stream))[0])
        while told[-1] < revisions[-1]:
            told.append((await anext(stream))[0])
    assert told == revisions
    assert store.health().counts["watch_resumes"] == 3


async def test_a_watcher_that_reads_nothing_is_cut_off_and_may_resume(store: EtcdStore) -> None:
    after = await store.revision()
    revisions = await a_full_queue(store)
    async with asyncio.timeout(30), aclosing(store.watch("/w/", after=after)) as stream:
        assert (await anext(stream))[0] == revisions[0]
        await asyncio.sleep(SLOW_S + 1)
        with pytest.raises(SlowWatcher):
            await anext(stream)
    async with asyncio.timeout(30), aclosing(store.watch("/w/", after=revisions[0])) as stream:
        assert [(await anext(stream))[0] for _ in revisions[1:]] == revisions[1:]
