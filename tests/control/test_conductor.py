"""The conductor: decided at once, told once it is durable, and by nobody who has lost the shard."""

import asyncio

import pytest

from harpoon.control import ledger as ledgers
from harpoon.control import pen as pens
from harpoon.control.orders import MOVED, OVER, BeatOrder, ClaimOrder, CloseOrder, Granted, Refusal
from harpoon.control.run_reader import events_of
from harpoon.core.event import Claimed, Closed
from harpoon.core.step import Refused, Signal
from harpoon.core.visit import Ref
from harpoon.kit.errors import NotFound, Unavailable
from harpoon.model.run import Status
from harpoon.store.hold import acquire
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.stage import SHARD, Stage
from tests.core.flow import await_signal, retry, spec, work
from tests.faulty import Fault, FaultyStore

LOG = f"/h/1/run/log/{SHARD:02d}/"
RUNS = f"/h/1/run/runs/{SHARD:02d}/"
CHAIN = spec(a=work(next={"done": "b"}), b=work(next={"done": "c"}), c=work())
RETRIED = spec(a=work(retry=retry(fail=2, lost=2), heartbeat=1000, takes=10_000))


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(pens, "RETRY_S", 0.001)


class Gated(MemoryStore):
    """Commits wait until they may go on."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.writes = []

    async def commit(self, compares, writes):
        await self.gate.wait()
        self.writes.append([write.key for write in writes])
        return await super().commit(compares, writes)


async def test_a_run_is_started_worked_on_and_ended_and_its_log_tells_all_of_it() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        [begun] = await stage.start("r1", inputs={"n": 1}, tags={"team": "shop"})
        assert (begun.id, begun.is_new, begun.generation, begun.status) == ("r1", True, "g1", Status.RUNNING)
        assert stage.notes.offered() == [("r1", "a")]
        for op in "abc":
            assert await stage.do("r1", op, output={"op": op}) is None
        assert stage.notes.ended == ["r1"]
        assert stage.conductor.runs == {}
        header, records = await stage.stored("r1")
        assert (header.status, header.inputs, header.tags) == (Status.SUCCEEDED, {"n": 1}, {"team": "shop"})
        assert header.bytes > 0
        kinds = [type(event).__name__ for event in events_of(header, records)]
        assert kinds == ["Started", *["Claimed", "Closed"] * 3, "Ended"]


async def test_nothing_is_told_before_it_is_durable_and_what_a_closing_opens_is_claimed_in_its_commit() -> None:
    store = Gated()
    async with Stage(store, CHAIN).at_work() as stage:
        await stage.start("r1")
        ref, token = await stage.claim("r1", "a")
        claims = []

        def claim(run, attempts):
            orders = [ClaimOrder(f"shop/{run.id}", attempt.ref, "w1", "s1") for attempt in attempts]
            claims.append(stage.conductor.claim(orders))

        stage.notes.react = claim
        store.gate.clear()
        store.writes.clear()

        async def told(landing):
            return await landing

        closing = asyncio.ensure_future(told(stage.conductor.close([CloseOrder("shop/r1", ref, token, "done")])))
        [claiming] = claims
        claiming = asyncio.ensure_future(told(claiming))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not closing.done()
        assert not claiming.done()
        store.gate.set()
        assert await closing == [None]
        [granted] = await claiming
        assert isinstance(granted, Granted)
        # One commit, of one record.
        assert [len(keys) for keys in store.writes] == [1]
        header, records = await stage.stored("r1")
        last = events_of(header, records)[-2:]
        assert [type(event) for event in last] == [Closed, Claimed]
        assert last[1].token == granted.token


async def test_what_is_shown_of_a_run_is_durable() -> None:
    store = Gated()
    async with Stage(store, CHAIN).at_work() as stage:
        store.gate.clear()
        starting = stage.conductor.start([stage.order("r1")])
        seen = stage.conductor.seen("shop/r1")

        async def look():
            return (await seen).seq, await store.get(RUNS + "shop/r1")

        looking = asyncio.ensure_future(look())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not looking.done()
        store.gate.set()
        seq, entry = await looking
        assert seq == 1
        assert entry is not None
        await starting
        assert stage.conductor.seen("shop/none") is None


async def test_a_closing_that_comes_again_is_answered_alike_and_others_are_refused() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await stage.start("r1")
        ref, token = await stage.claim("r1", "a")
        foreign = await stage.close("r1", ref, "another")
        assert isinstance(foreign, Refusal)
        assert foreign.code == "foreign"
        assert isinstance(await stage.close("r1", ref, token, "nonsense"), Refusal)
        assert await stage.close("r1", ref, token) is None
        seq = stage.run("r1").seq
        assert await stage.close("r1", ref, token) is None
        late = await stage.close("r1", ref, token, "fail")
        assert isinstance(late, Refusal)
        assert stage.run("r1").seq == seq


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_the_closing_that_ended_a_run_is_answered_alike_also_when_it_is_out_of_memory(
    is_remembered: bool,
) -> None:
    async with Stage(MemoryStore(), spec(a=work())).at_work() as stage:
        run = next(f"r{n}" for n in range(999) if _shard(f"shop/r{n}") == SHARD)
        await stage.start(run)
        ref, token = await stage.claim(run, "a")
        assert await stage.close(run, ref, token) is None
        if not is_remembered:
            stage.conductor._ended.clear()
        assert await stage.close(run, ref, token) is None
        for other in ((ref, token, "fail"), (ref, "another", "done"), (Ref("a", 1, 2), token, "done")):
            told = await stage.close(run, *other)
            assert isinstance(told, Refusal), other
        unknown = await stage.close("never", ref, token)
        assert isinstance(unknown, Refusal)
        assert unknown.code == OVER


def _shard(key):
    from harpoon.control.ledger_records import shard_of

    return shard_of(key)


async def test_claims_are_refused_one_by_one_and_tokens_are_given_once() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await stage.start("r1", "r2")
        refs = [ClaimOrder(f"shop/{run}", Ref("a", 1, 1), "w1", "s1") for run in ("r1", "r2", "r1", "none")]
        told = await stage.conductor.claim(refs)
        assert [type(one) for one in told] == [Granted, Granted, Refusal, Refusal]
        assert told[0] != told[1]
        assert (told[2].code, told[3].code) == ("taken", OVER)


async def test_heartbeats_keep_a_claim_and_without_them_it_is_lost_and_offered_again() -> None:
    async with Stage(MemoryStore(), RETRIED).at_work() as stage:
        await stage.start("r1")
        ref, token = await stage.claim("r1", "a")
        revision = await stage.store.revision()
        for _ in range(5):
            await stage.pass_(900)
            assert await stage.beat("r1", ref, token)
        assert stage.run("r1").find(ref) is not None
        # Heartbeats are not written; that the time is short is noted.
        assert await stage.store.revision() <= revision + 2
        await stage.pass_(1001)
        assert ("r1", "a", "lost") in stage.notes.lost
        assert not await stage.beat("r1", ref, token)
        assert stage.attempt("r1", "a") == Ref("a", 1, 2)
        again, other = await stage.claim("r1", "a")
        assert (again, other) != (ref, token)
        told = await stage.close("r1", ref, token)
        assert isinstance(told, Refusal)
        assert await stage.close("r1", again, other) is None
        assert stage.notes.ended == ["r1"]


async def test_a_retry_is_offered_from_its_time_on() -> None:
    async with Stage(MemoryStore(), RETRIED).at_work() as stage:
        await stage.start("r1")
        assert await stage.do("r1", "a", "fail", error="no") is None
        assert stage.notes.open[("r1", Ref("a", 1, 2))].ready_ms == stage.clock.ms + 1000
        early = await stage.claim("r1", "a")
        assert early.code == "early"
        await stage.pass_(1000)
        assert await stage.do("r1", "a") is None


async def test_pausing_withdraws_and_resuming_offers_again() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await stage.start("r1")
        await stage.conductor.pause("shop/r1", "ann")
        assert stage.notes.offered() == []
        assert stage.notes.lost == [("r1", "a", "paused")]
        header, _ = await stage.stored("r1")
        assert header.is_paused
        refused = await stage.conductor.claim([ClaimOrder("shop/r1", Ref("a", 1, 1), "w1", "s1")])
        assert refused[0].code == "paused"
        revision = await stage.store.revision()
        await stage.conductor.pause("shop/r1", "ann")
        assert await stage.store.revision() == revision
        await stage.conductor.resume("shop/r1", "ann")
        assert stage.notes.offered() == [("r1", "a")]
        header, _ = await stage.stored("r1")
        assert not header.is_paused


async def test_cancelling_ends_a_run_and_its_claims_are_nobodys() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await stage.start("r1")
        ref, token = await stage.claim("r1", "a")
        await stage.conductor.cancel("shop/r1", "no more")
        header, _ = await stage.stored("r1")
        assert (header.status, header.cancel_reason) == (Status.CANCELLED, "no more")
        assert stage.notes.ended == ["r1"]
        assert not await stage.beat("r1", ref, token)
        assert isinstance(await stage.close("r1", ref, token), Refusal)
        with pytest.raises(NotFound):
            stage.conductor.cancel("shop/r1", "again")


async def test_signals_are_taken_once() -> None:
    told = spec(a=await_signal("go", labels=["go"], next={"go": "b"}), b=work())
    async with Stage(MemoryStore(), told).at_work() as stage:
        await stage.start("r1")
        await stage.conductor.signal("shop/r1", Signal("m1", "go", None, "go", {"n": 1}))
        assert stage.notes.offered() == [("r1", "b")]
        revision = await stage.store.revision()
        await stage.conductor.signal("shop/r1", Signal("m1", "go", None, "go", {"n": 1}))
        assert await stage.store.revision() == revision
        with pytest.raises(Refused):
            stage.conductor.signal("shop/r1", Signal("m2", "nothing", None, "go", None))


async def test_clocks_fire_by_themselves_and_never_early() -> None:
    async with Stage(MemoryStore(), spec(a=work(queue_timeout=5000))).at_work() as stage:
        await stage.start("r1")
        await stage.pass_(4999)
        assert stage.notes.ended == []
        await stage.pass_(1)
        assert stage.notes.ended == ["r1"]
        header, _ = await stage.stored("r1")
        assert header.status is Status.FAILED


async def test_once_nothing_happens_the_store_stands_still() -> None:
    async with Stage(MemoryStore(), CHAIN).at_work() as stage:
        await stage.start("r1", "r2")
        await stage.claim("r1", "a")
        revision = await stage.store.revision()
        for _ in range(3):
            await stage.beat("r1", Ref("a", 1, 1), "nobody's")
            await asyncio.sleep(0.01)
        assert await stage.store.revision() == revision


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.SILENT, Fault.LATE, Fault.REFUSED])
async def test_after_lost_answers_everything_goes_on_and_has_happened_once(fault: Fault) -> None:
    store = FaultyStore()
    async with Stage(store, CHAIN).at_work() as stage:
        store.fail(fault, prefix=RUNS)
        [begun] = await stage.start("r1")
        assert begun.is_new
        for op in "abc":
            store.fail(fault, prefix=LOG)
            ref, token = await stage.claim("r1", op)
            store.fail(fault, prefix=LOG)
            assert await stage.close("r1", ref, token) is None
        header, records = await stage.stored("r1")
        assert header.status is Status.SUCCEEDED
        assert [event.seq for event in events_of(header, records)] == list(range(1, 9))
        assert not any(await store.deliver())


async def test_who_has_lost_the_shard_tells_nothing_but_that_it_moved() -> None:
    store = FaultyStore()
    async with Stage(store, CHAIN).at_work() as stage:
        await stage.start("r1", "r2")
        ref, token = await stage.claim("r1", "a")
        store.lapse(is_gone=True)
        await acquire(store, await store.lease(30), f"shards/{SHARD:02d}", "other", 1)
        conductor = stage.conductor
        landings = [
            conductor.close([CloseOrder("shop/r1", ref, token, "done")]),
            conductor.close([CloseOrder("shop/r1", ref, "foreign", "done"), CloseOrder("shop/no", ref, token, "done")]),
            conductor.claim([ClaimOrder("shop/r2", Ref("a", 1, 1), "w1", "s1")]),
        ]
        for landing in landings:
            assert {told.code for told in await landing} == {MOVED}
        # That a claim is not the worker's any more is not told by one who cannot know.
        assert await conductor.beat([BeatOrder("shop/none", ref, token)]) == [True]
        [started] = await conductor.start([stage.order("r3")])
        assert isinstance(started, Unavailable)
        with pytest.raises(Unavailable):
            await conductor.pause("shop/r2", "ann")
    assert stage.ended_by is not None
    header, records = await stage.stored("r1")
    assert len(events_of(header, records)) == 2


async def test_a_hold_lost_in_mid_commit_leaves_it_to_the_next_holder_what_happened() -> None:
    store = FaultyStore()
    first = Stage(store, CHAIN)
    async with first.at_work():
        await first.start("r1")
        ref, token = await first.claim("r1", "a")
        store.fail(Fault.SILENT, prefix=LOG)
        closing = first.conductor.close([CloseOrder("shop/r1", ref, token, "done")])
        for _ in range(3):
            await asyncio.sleep(0)
        store.lapse(is_gone=True)
        second = Stage(store, CHAIN, "other")
        async with second.at_work():
            [told] = await closing
            assert told.code == MOVED
            assert second.loaded == 1
            # It had happened: the same closing again is answered alike, and what it opened is there.
            assert await second.close("r1", ref, token) is None
            assert second.notes.offered() == [("r1", "b")]


async def test_tokens_of_one_holder_are_never_given_by_another_nor_by_itself_again() -> None:
    store, given = FaultyStore(), set()
    hold = None
    for number in range(4):
        stage = Stage(store, spec(a=work(), b=work()), "me")
        if number == 2:
            store.lapse(is_gone=True)
            hold = None
        async with stage.at_work(hold):
            await stage.start(f"r{number}")
            for op in "ab":
                given.add((await stage.claim(f"r{number}", op))[1])
            hold = await stage.sealed()
            stage.ledger._pen.hold = hold
    assert len(given) == 8


async def test_too_much_that_waits_refuses_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "WAITING_BYTES", 50)
    store = Gated()
    async with Stage(store, CHAIN).at_work() as stage:
        await stage.start("r1")
        store.gate.clear()
        first = stage.conductor.start([stage.order("r2")])
        [refused] = await stage.conductor.start([stage.order("r3")])
        assert isinstance(refused, Unavailable)
        with pytest.raises(Unavailable):
            stage.conductor.pause("shop/r1", "ann")
        [claim] = await stage.conductor.claim([ClaimOrder("shop/r1", Ref("a", 1, 1), "w1", "s1")])
        assert claim.code == MOVED
        store.gate.set()
        [begun] = await first
        assert begun.is_new
        assert "shop/r3" not in stage.conductor.runs


async def test_what_belongs_to_nobody_is_left_alone() -> None:
    store = MemoryStore()
    await store.commit((), [Put("/h/1/run/other", b"x")])
    async with Stage(store, CHAIN).at_work() as stage:
        await stage.start("r1")
    assert (await store.get("/h/1/run/other")).value == b"x"
