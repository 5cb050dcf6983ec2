"""Starting runs: the same start twice is one run, another under its id is refused, and nothing is read for it."""

import asyncio
from datetime import timedelta

import pytest

from harpoon.control import pen as pens
from harpoon.control.ledger_records import GONE, RUNS, run_key, shard_of
from harpoon.control.orders import Begun, ClaimOrder, CloseOrder, Granted
from harpoon.core.visit import Ref
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, Invalid, NotFound, Reused
from harpoon.model.run import Status
from harpoon.model.tombstone import Tombstone
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.stage import GRAPH, SHARD, Stage
from tests.control.test_conductor import Gated
from tests.control.test_ledger import Counting
from tests.core.flow import choose, spec, work
from tests.faulty import Fault, FaultyStore

ONE = spec(a=work())


def its(number: int) -> str:
    """Return a name of a run that is in the shard of the tests."""
    return [f"r{n}" for n in range(4000) if shard_of(run_key("shop", f"r{n}")) == SHARD][number]


async def test_the_same_start_is_one_run_whether_it_is_open_over_or_only_remembered() -> None:
    async with Stage(MemoryStore(), ONE).at_work() as stage:
        run = its(0)
        [new], [open_] = await stage.start(run), await stage.start(run)
        assert (new.is_new, open_.is_new, open_.status) == (True, False, Status.RUNNING)
        await stage.do(run, "a")
        [just_ended] = await stage.start(run)
        stage.conductor._ended.clear()
        [ended] = await stage.start(run)
        for told in (just_ended, ended):
            assert told == Begun("shop", run, False, "refund", "g1", Status.SUCCEEDED)
        key = stage.ledger.place.runs + run_key("shop", run)
        gone = Tombstone(body_hash="h1", status=Status.SUCCEEDED, purged_ms=1)
        from harpoon.store.port import Delete

        await stage.store.commit(
            (), [Delete(key), Put(stage.ledger.place.gone + run_key("shop", run), codec.dump(gone))]
        )
        [remembered] = await stage.start(run)
        assert remembered == Begun("shop", run, False, "refund", "", Status.SUCCEEDED)
        [other] = await stage.start(run, body_hash="h2")
        assert isinstance(other, Reused)
        assert stage.conductor.runs == {}
        assert stage.notes.offered() == []
        assert await stage.store.get(key) is None


async def test_another_start_under_the_same_id_is_refused_and_changes_nothing() -> None:
    async with Stage(MemoryStore(), ONE).at_work() as stage:
        run = its(0)
        await stage.start(run)
        seq = stage.run(run).seq
        [open_] = await stage.start(run, body_hash="h2")
        await stage.do(run, "a")
        [just_ended] = await stage.start(run, body_hash="h2")
        stage.conductor._ended.clear()
        [ended] = await stage.start(run, body_hash="h2")
        for told in (open_, just_ended, ended):
            assert isinstance(told, Reused)
            assert told.reused == run
        assert seq == 1
        assert stage.conductor.runs == {}


async def test_many_starts_in_one_request_are_answered_each_for_itself_and_read_nothing() -> None:
    store = Counting()
    async with Stage(store, ONE).at_work() as stage:
        await stage.start("taken")
        gets, commits = len(store.gets), len(store.commits)
        orders = [stage.order(f"n{number}") for number in range(120)]
        orders[7:7] = [
            stage.order("taken"),
            stage.order("taken", body_hash="h2"),
            stage.order("no name!"),
            stage.order("n3"),
        ]
        told = await stage.conductor.start(orders)
        assert [type(one).__name__ for one in told[6:12]] == ["Begun", "Begun", "Reused", "Invalid", "Begun", "Begun"]
        assert [one.is_new for one in told if isinstance(one, Begun)].count(False) == 2
        assert len(store.gets) == gets
        # Two conditions each, and the hold's, and the workflow's.
        assert len(store.commits) - commits == -(-120 // 49)
        commits = len(store.commits)
        await stage.start(*[f"fresh{number}" for number in range(100)], is_fresh=True)
        assert len(store.commits) - commits == 1


async def test_a_run_that_others_started_before_is_dropped_here_and_what_was_done_with_it_undone() -> None:
    store = MemoryStore()
    async with Stage(store, ONE).at_work() as stage:
        run, other = its(0), its(1)
        await stage.start(run)
        await stage.do(run, "a")
        stage.conductor._ended.clear()
        claims = []

        def claim(of, attempts):
            claims.append(stage.conductor.claim([ClaimOrder(run_key("shop", of.id), attempts[0].ref, "w", "s")]))

        stage.notes.react = claim
        told = await stage.conductor.start([stage.order(run), stage.order(other)])
        assert [one.is_new for one in told] == [False, True]
        assert stage.notes.gone == [run]
        assert list(stage.conductor.runs) == [run_key("shop", other)]
        refused, granted = [(await landing)[0] for landing in claims]
        assert refused.code == "over"
        assert granted.token
        header, records = await stage.stored(run)
        assert header.status is Status.SUCCEEDED
        assert len(records) == 2


async def test_a_run_that_was_dropped_can_be_started_under_another_body_no_more_than_before() -> None:
    store = MemoryStore()
    async with Stage(store, ONE).at_work() as stage:
        run = its(0)
        await store.commit(
            (),
            [
                Put(
                    f"{GONE}{SHARD:02d}/shop/{run}",
                    codec.dump(Tombstone(body_hash="h0", status=Status.FAILED, purged_ms=1)),
                )
            ],
        )
        one, two = stage.conductor.start([stage.order(run)]), stage.conductor.start([stage.order(run)])
        assert [type(told) for told in (*await one, *await two)] == [Reused, Reused]
        assert await store.get(f"{RUNS}{SHARD:02d}/shop/{run}") is None


async def test_a_workflow_that_was_changed_meanwhile_refuses_the_start() -> None:
    store = MemoryStore()
    async with Stage(store, ONE).at_work() as stage:
        await store.commit((), [Put(GRAPH, b"another")])
        told = await stage.start("r1", "r2", is_fresh=True)
        assert [type(one) for one in told] == [Conflict, Conflict]
        assert stage.conductor.runs == {}


async def test_a_run_that_ends_in_its_first_step_is_one_write() -> None:
    told = spec(a=choose("x"))
    store = Counting()
    async with Stage(store, told).at_work() as stage:
        [begun] = await stage.start("r1")
        assert begun == Begun("shop", "r1", True, "refund", "g1", Status.SUCCEEDED)
        assert [len(writes) for _, writes in store.commits[-1:]] == [1]
        header, records = await stage.stored("r1")
        assert (header.status, records) == (Status.SUCCEEDED, {})


async def test_a_run_ends_by_the_earlier_of_its_deadline_and_its_workflows() -> None:
    async with Stage(MemoryStore(), spec(a=work(), deadline=60_000)).at_work() as stage:
        await stage.start("short", deadline=timedelta(seconds=10))
        await stage.start("long", deadline=timedelta(days=10))
        assert stage.run("short").deadline_ms == stage.clock.ms + 10_000
        assert stage.run("long").deadline_ms == stage.clock.ms + 60_000
        await stage.pass_(10_000)
        assert stage.notes.ended == ["short"]
        await stage.pass_(50_000)
        assert stage.notes.ended == ["short", "long"]


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.SILENT, Fault.LATE])
async def test_a_start_whose_answer_was_lost_is_new_all_the_same(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pens, "RETRY_S", 0.001)
    store = FaultyStore()
    async with Stage(store, ONE).at_work() as stage:
        store.fail(fault, prefix=RUNS)
        [begun] = await stage.start("r1")
        assert begun.is_new
        assert stage.notes.offered() == [("r1", "a")]
        assert await store.deliver() == ([None] if fault is Fault.LATE else [])


async def test_a_caller_that_leaves_does_not_leave_a_run_behind_that_never_was() -> None:
    store = MemoryStore()
    async with Stage(store, ONE).at_work() as stage:
        run = its(0)
        await stage.start(run)
        await stage.do(run, "a")
        stage.conductor._ended.clear()
        stage.conductor.start([stage.order(run)])
        assert list(stage.conductor.runs)
        async with asyncio.timeout(5):
            await stage.ledger.drained()
        assert not stage.conductor.runs
        assert stage.conductor.claim([ClaimOrder(run_key("shop", run), Ref("a", 1, 1), "w", "s")]) is not None


async def test_a_name_that_is_none_is_refused() -> None:
    async with Stage(MemoryStore(), ONE).at_work() as stage:
        for name in ("", "a/b", "-x", "x" * 129, "ä"):
            [told] = await stage.start(name)
            assert isinstance(told, Invalid)
            assert told.problems[0].pointer == "/id"


async def test_a_start_does_not_get_in_the_way_of_an_end_that_is_not_durable_yet() -> None:
    store = Gated()
    async with Stage(store, ONE).at_work() as stage:
        run, other = its(0), its(1)
        await stage.start(run, other)
        ref, token = await stage.claim(run, "a")
        store.gate.clear()
        # A commit is under way, so that the end waits for the next.
        claiming = stage.conductor.claim([ClaimOrder(run_key("shop", other), Ref("a", 1, 1), "w", "s")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing = stage.conductor.close([CloseOrder(run_key("shop", run), ref, token, "done")])
        starting = stage.conductor.start([stage.order(run)])
        store.gate.set()
        assert isinstance((await claiming)[0], Granted)
        assert await closing == [None]
        [told] = await starting
        assert (told.is_new, told.status) == (False, Status.SUCCEEDED)
        header, _ = await stage.stored(run)
        assert header.status is Status.SUCCEEDED


async def test_what_is_asked_of_a_run_that_turns_out_to_be_over_is_refused_as_of_one_that_is_not_open() -> None:
    async with Stage(MemoryStore(), ONE).at_work() as stage:
        run = its(0)
        await stage.start(run)
        await stage.do(run, "a")
        stage.conductor._ended.clear()
        # It is not known here that there was one, so this one is conducted until its commit tells.
        again, key = stage.conductor.start([stage.order(run)]), run_key("shop", run)
        conductor = stage.conductor
        seen = conductor.seen(key)
        assert seen is not None
        for landing in (seen, conductor.pause(key, ""), conductor.resume(key, ""), conductor.cancel(key, "enough")):
            with pytest.raises(NotFound, match=f"run {run} is not open"):
                await landing
        assert await again == [Begun("shop", run, False, "refund", "g1", Status.SUCCEEDED)]
