"""Runs on a real etcd: what was acknowledged is there, whatever became of the answers on the way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from harpoon.control import pen
from harpoon.control.orders import ClaimOrder, CloseOrder, Granted
from harpoon.control.run_reader import events_of
from harpoon.core.event import Closed
from harpoon.core.visit import Ref
from harpoon.model.run import Status
from harpoon.store.url import EtcdUrl
from tests.control.stage import Stage
from tests.core.flow import spec, story, work
from tests.etcd.members import Member
from tests.etcd.opening import opened

STEPS, RUNS = 6, 40
CHAIN = spec(**{f"s{n}": work(next={"done": f"s{n + 1}"} if n < STEPS - 1 else {}) for n in range(STEPS)})


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    """A member of its own, to be killed."""
    with Member(tmp_path / "etcd") as member:
        yield member


async def finished(stage: Stage, run: str) -> None:
    """Do all steps of a run, each as soon as the one before is durable."""
    for n in range(STEPS):
        ref = Ref(f"s{n}", 1, 1)
        [granted] = await stage.conductor.claim([ClaimOrder(f"shop/{run}", ref, "w1", "s1")])
        assert isinstance(granted, Granted), granted
        order = CloseOrder(f"shop/{run}", ref, granted.token, "done", {"n": n})
        assert await stage.conductor.close([order]) == [None]


async def test_runs_go_on_through_the_death_of_their_etcd_and_everything_happened_once(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pen, "RETRY_S", 0.01)
    runs = [f"r{number}" for number in range(RUNS)]
    async with opened(EtcdUrl(endpoints=(member.endpoint,))) as store:
        stage = Stage(store, CHAIN)
        async with stage.at_work():
            told = await stage.start(*runs)
            assert all(one.is_new for one in told)
            await stage.do("r0", "s0")
            sealed = stage.ledger.hold.sealed
            await asyncio.to_thread(member.pause)
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                for run in runs[1:]:
                    group.create_task(finished(stage, run))
                # By then the first commit is on its way; what becomes of it nobody is told.
                await asyncio.sleep(0.1)
                await asyncio.to_thread(member.restart)
                await asyncio.sleep(0.02)
                await asyncio.to_thread(member.restart)
            assert stage.ledger.hold.sealed > sealed
            for run in runs[1:]:
                header, records = await stage.stored(run)
                assert header.status is Status.SUCCEEDED
                closed = [event.op for event in events_of(header, records) if isinstance(event, Closed)]
                assert closed == [f"s{n}" for n in range(STEPS)]
            # The next holder has what there was.
            left = story(stage.run("r0"))
            await stage.ledger.drained()
        await stage.ledger.hold.release(store)
        second = Stage(store, CHAIN, "other")
        async with second.at_work():
            assert second.loaded == 1
            assert story(second.run("r0")) == left
