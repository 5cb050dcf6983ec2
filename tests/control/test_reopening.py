"""Runs that are over and go on again: by their shard's conductor, from memory or from the store, and never while purged."""

import asyncio
from datetime import timedelta

import pytest

from harpoon.control.ledger_records import fixed_of_ended, fixed_part, header_record
from harpoon.control.run_reader import events_of
from harpoon.core import repairing
from harpoon.core.event import RetriedFrom
from harpoon.core.repairing import Audit, Value
from harpoon.core.step import Refused
from harpoon.kit.errors import Conflict, Gone, Invalid, NotFound
from harpoon.model.header import Header
from harpoon.model.run import Status
from harpoon.model.sub_run import Caller
from harpoon.model.workflow import OnFailed
from harpoon.store.memory import MemoryStore
from tests.control.stage import SHARD, Stage
from tests.control.test_retention import keeping
from tests.control.test_starts import its
from tests.core.flow import DAY, HOUR, spec, work

CHAIN = spec(a=work(next={"done": "b"}), b=work())
PARKED = spec(a=work(), b=work(), on_failure=OnFailed.PARK)
R1 = its(1)


def retrying(op, order=""):
    return lambda run, now_ms: repairing.retry_from(run, op, Audit("ann", "", order), now_ms)


async def retry(stage, op, run=R1, order=""):
    await stage.conductor.repair(f"shop/{run}", stage._graph, retrying(op, order))


async def failed(stage):
    await stage.start(R1, inputs={"n": {"status": "failed"}})
    await stage.do(R1, "a", output={"a": ',"status":"failed"'})
    await stage.do(R1, "b", "fail", error="no")


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_a_run_that_has_failed_goes_on_and_ends_well(is_remembered: bool) -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await failed(stage)
        before, _ = await stage.stored(R1)
        assert (before.status, before.repairs) == (Status.FAILED, 0)
        if not is_remembered:
            stage.conductor._ended.clear()
        stage.clock.ms += HOUR
        await retry(stage, "b")
        header, records = await stage.stored(R1)
        assert (header.status, header.ended_ms, header.repairs, header.reason) == (Status.RUNNING, None, 1, "")
        assert header.ends_by_ms == stage.clock.ms + 7 * DAY
        assert header.inputs == {"n": {"status": "failed"}}
        assert type(events_of(header, records)[-1]) is RetriedFrom
        assert stage.notes.offered() == [(R1, "b")]
        await stage.do(R1, "b")
        header, _ = await stage.stored(R1)
        assert (header.status, header.ended_ms) == (Status.SUCCEEDED, stage.clock.ms)
        assert stage.notes.ended == [R1, R1]


async def test_what_goes_on_again_is_there_after_a_takeover() -> None:
    store = MemoryStore()
    async with Stage(store, CHAIN).at_work() as stage:
        await failed(stage)
        stage.conductor._ended.clear()
        await retry(stage, "a")
        hold = await stage.sealed()
    stage = Stage(store, CHAIN, "other")
    async with stage.at_work(hold):
        assert stage.loaded == 1
        run = stage.run(R1)
        assert (run.status, run.repairs, run.deadline_ms) == (Status.RUNNING, 1, stage.clock.ms + 7 * DAY)
        await stage.do(R1, "a")
        await stage.do(R1, "b")
        assert (await stage.stored(R1))[0].status is Status.SUCCEEDED


async def test_of_two_that_repair_one_run_at_once_both_find_it() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await failed(stage)
        stage.conductor._ended.clear()
        await asyncio.gather(*(retry(stage, "b", order=f"n{number % 2}") for number in range(4)))
        header, records = await stage.stored(R1)
        assert header.repairs == 2
        assert [type(event) for event in events_of(header, records)].count(RetriedFrom) == 2


async def test_an_order_that_is_refused_leaves_a_run_as_it_is() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await failed(stage)
        stage.conductor._ended.clear()
        revision = await stage.store.revision()
        with pytest.raises(Refused, match="has no operation 'x'"):
            await retry(stage, "x")
        with pytest.raises(NotFound):
            await retry(stage, "a", its(2))
        assert (stage.conductor.runs, await stage.store.revision()) == ({}, revision)
        await retry(stage, "b", order="n1")
        await stage.do(R1, "b")
        stage.conductor._ended.clear()
        await retry(stage, "b", order="n1")
        assert stage.conductor.runs == {}


async def test_a_run_whose_workflow_is_not_kept_does_not_go_on() -> None:
    async def no_graph(_namespace, _workflow, generation):
        raise NotFound(f"generation {generation} is not kept")

    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await failed(stage)
        stage.conductor._ended.clear()
        with pytest.raises(Conflict, match="generation g1 is not kept, so run"):
            await stage.conductor.repair(f"shop/{R1}", no_graph, retrying("b"))
        stage.graph = Stage(MemoryStore(), spec(z=work())).graph
        with pytest.raises(Conflict, match="cannot be read by this release"):
            await retry(stage, "b")


async def test_what_is_being_deleted_does_not_go_on_and_what_goes_on_is_not_deleted() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await failed(stage)
        retention = keeping(stage, span=timedelta(hours=1))
        stage.clock.ms += 2 * HOUR
        old, _ = await stage.stored(R1)
        with stage.conductor.reopening.purging(f"shop/{R1}"), pytest.raises(Gone, match="is just being deleted"):
            await retry(stage, "b")
        # It was looked at before it went on again, or ended once more.
        await retry(stage, "b")
        assert not await retention._purge(stage.conductor, old, stage.clock.ms)
        await stage.do(R1, "b")
        assert not await retention._purge(stage.conductor, old, stage.clock.ms)
        assert await retention.look(SHARD, stage.conductor) == 0
        # From its new end on it is kept as long as any.
        stage.clock.ms += HOUR
        assert await retention.look(SHARD, stage.conductor) == 1
        with pytest.raises(NotFound):
            await retry(stage, "b")


async def test_what_is_parked_is_told_by_the_header_and_counted() -> None:
    store = MemoryStore()
    async with Stage(store, PARKED).at_work() as stage:
        await stage.start(R1)
        await stage.do(R1, "a", "fail", error="no")
        assert (await stage.stored(R1))[0].incidents == 1
        assert stage.conductor.parked == {f"shop/{R1}"}
        await stage.do(R1, "b", "fail")
        assert (await stage.stored(R1))[0].incidents == 2
        hold = await stage.sealed()
    stage = Stage(store, PARKED, "other")
    async with stage.at_work(hold):
        assert stage.conductor.parked == {f"shop/{R1}"}
        await retry(stage, "b")
        assert stage.notes.offered() == [(R1, "b")]
        skip = Audit("ann")
        await stage.conductor.repair(
            f"shop/{R1}", stage._graph, lambda run, now: repairing.set_to(run, "a", None, Value(), skip, now)
        )
        assert (await stage.stored(R1))[0].incidents == 0
        assert stage.conductor.parked == set()
        ref, token = await stage.claim(R1, "b")
        await stage.conductor.repair(
            f"shop/{R1}", stage._graph, lambda run, now: repairing.set_to(run, "b", None, Value("fail"), skip, now)
        )
        assert (R1, "b", "it was closed as fail by hand") in stage.notes.lost
        assert (await stage.close(R1, ref, token)).code == "late"
        await retry(stage, "b")
        ref, token = await stage.claim(R1, "b")
        await retry(stage, "b")
        assert (R1, "b", "b is done anew") in stage.notes.lost


async def test_the_part_of_a_header_that_never_changes_is_found_whatever_it_tells() -> None:
    header = Header(
        namespace="shop", run="r", workflow="w", generation="g", body_hash="h", created_ms=1, deadline_ms=2,
        inputs={"a": {"b": 1, "status": "x"}, "s": '","status":"'}, started=(["s", 1, 1],),
    )  # fmt: skip
    fixed = fixed_part(header)
    outputs = {"deep": [{"x": 1, "status": "failed"}], "y": '{"z":1,"status":"failed"}'}
    record = header_record(fixed, {"status": "succeeded", "ended_ms": 1, "outputs": outputs})
    assert fixed_of_ended(record) == fixed
    with pytest.raises(Invalid, match="does not tell how the run stands"):
        fixed_of_ended(b"{}")


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_a_sub_run_that_is_over_stays_so_for_what_called_it_has_gone_on(is_remembered: bool) -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await stage.start(R1, caller=Caller(run="r0", op="a", visit=1, attempt=1))
        await stage.do(R1, "a", "fail")
        if not is_remembered:
            stage.conductor._ended.clear()
        with pytest.raises(Conflict, match=r"was called by .* and is over; repair that one"):
            await retry(stage, "a")
