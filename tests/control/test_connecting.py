"""The crew: attempts of the engine's own operations, from their claims to their closings, by a real conductor."""

import asyncio
import logging
from typing import Any

import pytest

from harpoon.control import connecting
from harpoon.control.connector_port import Order, Outcome
from harpoon.core.crew import Wait
from harpoon.core.offers import AttemptId
from harpoon.core.visit import Ref
from harpoon.model.label import DONE, FAIL
from harpoon.store.memory import MemoryStore
from tests.control.crewing import Site, Strings, a_site, call
from tests.core.flow import each, limit, retry, spec, work

ONE = spec(a=call("${'http://' + inputs.host}"), inputs={"host": "string"})
CHAIN = spec(a=call(next={"done": "b"}), b=call(next={"done": "c"}), c=call())
INPUTS = {"host": "x.example"}


async def test_an_attempt_is_claimed_carried_out_and_closed_with_its_output() -> None:
    strings = Strings()
    async with a_site(ONE, strings) as site:
        await site.stage.start("r1", inputs=INPUTS)
        await site.until(lambda: strings.open)
        (order,) = strings.orders
        assert order == Order(
            "shop", "r1", "refund", Ref("a", 1, 1), order.spec, {"url": "http://x.example"}, "shop/r1/a/1",
            site.stage.clock.ms + 300_000, is_resumed=False,
        )  # fmt: skip
        claim = site.stage.run("r1").open["a", 1].claim
        assert claim is not None
        assert (claim.worker, claim.session) == ("harpoon", "me")
        assert site.crew.busy() == {":http": 1}
        strings.end("r1.a.1.1", DONE, {"status": 200})
        assert await site.ended("r1") == ["succeeded"]
        assert site.crew.busy() == {":http": 0}
        assert (len(site.exchange.core), dict(site.crew.closed)) == (0, {(":http", "done"): 1})
        assert strings.cancelled == strings.abandoned == []


async def test_what_many_runs_come_to_at_once_is_one_commit_with_what_follows() -> None:
    strings = Strings()
    runs = [f"r{number}" for number in range(20)]
    async with a_site(CHAIN, strings) as site:
        await site.stage.start(*runs)
        for op in "abc":
            await site.until(lambda: len(strings.open) == 20)
            await site.until(lambda: site.stage.ledger.is_idle)
            before = site.stage.ledger.commits
            for run in runs:
                strings.end(f"{run}.{op}.1.1")
            await site.until(lambda op=op: not any(f"r0.{op}" in name for name in strings.open))
            await site.until(lambda: site.stage.ledger.is_idle)
            assert site.stage.ledger.commits - before <= 2
        assert set(await site.ended(*runs)) == {"succeeded"}


async def test_no_more_are_carried_out_at_once_than_the_connector_takes() -> None:
    strings = Strings(most=3)
    runs = [f"r{number}" for number in range(10)]
    async with a_site(CHAIN, strings) as site:
        await site.stage.start(*runs)
        ends = asyncio.ensure_future(site.ended(*runs))
        while not ends.done():
            for name in list(strings.open)[:1]:
                strings.end(name)
            await asyncio.sleep(0)
        assert set(ends.result()) == {"succeeded"}
        assert strings.peak == 3
        assert len(strings.orders) == 30


async def test_a_workflow_leaves_room_for_others_and_has_more_when_places_come_free() -> None:
    strings = Strings(most=10)
    runs = [f"r{number}" for number in range(30)]
    async with a_site(spec(a=call()), strings) as site:
        await site.stage.start(*runs)
        await site.until(lambda: len(strings.open) == 8)
        ends = asyncio.ensure_future(site.ended(*runs))
        while not ends.done():
            assert len(strings.open) <= 8
            for name in list(strings.open)[:3]:
                strings.end(name)
            await asyncio.sleep(0)
        assert set(ends.result()) == {"succeeded"}
        assert (strings.peak, len(strings.orders)) == (8, 30)


async def test_a_failure_is_tried_again_as_the_operation_says_under_the_same_key() -> None:
    strings = Strings()
    strings.at_once = lambda order: Outcome(FAIL, {"n": 1}, "not now") if order.ref.attempt < 3 else None
    async with a_site(spec(a=call(retry=retry(fail=3))), strings) as site:
        await site.stage.start("r1")
        for tries in (1, 2):
            await site.until(lambda tries=tries: len(strings.orders) == tries and site.stage.run("r1").ready)
            await site.until(lambda: site.stage.ledger.is_idle)
            await site.stage.pass_(60_000)
            site.exchange._deal()
        await site.until(lambda: strings.open)
        assert [one.ref.attempt for one in strings.orders] == [1, 2, 3]
        assert {one.idempotency_key for one in strings.orders} == {"shop/r1/a/1"}
        strings.end("r1.a.1.3")
        assert await site.ended("r1") == ["succeeded"]


async def test_a_failure_that_trying_again_does_not_mend_is_not_tried_again() -> None:
    strings = Strings()
    strings.at_once = lambda _order: Outcome(FAIL, None, "never", is_retryable=False)
    async with a_site(spec(a=call(retry=retry(fail=3))), strings) as site:
        await site.stage.start("r1")
        assert await site.ended("r1") == ["failed"]
        assert len(strings.orders) == 1


async def test_what_times_out_is_cancelled_and_abandoned() -> None:
    strings = Strings()
    async with a_site(spec(a=call(takes=10_000)), strings) as site:
        await site.stage.start("r1")
        await site.until(lambda: strings.open)
        await site.stage.pass_(10_000)
        assert await site.ended("r1") == ["failed"]
        await site.until(lambda: strings.abandoned)
        assert strings.cancelled == ["r1.a.1.1"]
        assert [name for name, _ in strings.abandoned] == ["r1.a.1.1"]
        header, _ = await site.stage.stored("r1")
        assert header.reason == "a closed as timeout, which no edge takes: it took longer than 10s"


async def test_a_cancelled_run_abandons_what_it_has_begun_and_nothing_else() -> None:
    strings = Strings()
    async with a_site(spec(a=call()), strings) as site:
        await site.stage.start("r1", "r2")
        await site.until(lambda: len(strings.open) == 2)
        await site.stage.conductor.cancel("shop/r1", "no longer needed")
        await site.until(lambda: strings.abandoned)
        assert strings.abandoned == [("r1.a.1.1", "the run is over: cancelled")]
        strings.end("r2.a.1.1")
        assert await site.ended("r2") == ["succeeded"]
        assert len(strings.abandoned) == 1


async def test_heartbeats_keep_what_takes_long() -> None:
    strings = Strings()
    async with a_site(spec(a=call(heartbeat=100, takes=3_600_000)), strings) as site:
        await site.stage.start("r1")
        await site.until(lambda: strings.open)
        claim = site.stage.run("r1").open["a", 1].claim
        assert claim is not None
        due = claim.beat_due_ms
        site.stage.clock.ms += 60
        await asyncio.wait_for(site.until(lambda: claim.beat_due_ms == due + 60), 5)
        strings.reports["r1.a.1.1"]({"at": 3})
        assert site.exchange.core.progress(AttemptId("shop", "r1", "a", 1, 1)) == {"at": 3}
        strings.reports["r1.a.1.1"]("x" * 5000)
        assert site.exchange.core.progress(AttemptId("shop", "r1", "a", 1, 1)) == {"at": 3}
        strings.end("r1.a.1.1")
        assert await site.ended("r1") == ["succeeded"]


async def test_an_error_of_a_connector_fails_the_attempt_and_is_counted_and_its_text_is_told_nobody(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    strings = Strings()

    def burst(_order: Order) -> Outcome:
        raise ZeroDivisionError("canary")

    strings.at_once = burst
    with caplog.at_level(logging.DEBUG):
        async with a_site(spec(a=call()), strings) as site:
            await site.stage.start("r1")
            assert await site.ended("r1") == ["failed"]
            assert dict(site.crew.errors) == {":http": 1}
            header, log = await site.stage.stored("r1")
            assert "ZeroDivisionError" in header.reason
            assert "canary" not in f"{header} {log}"
    told = caplog.text + "".join(capsys.readouterr())
    assert "canary" not in told


async def test_what_could_not_be_written_fails_the_attempt_and_nothing_else() -> None:
    deep: Any = 1
    for _ in range(250):
        deep = [deep]
    strings = Strings()
    outcomes = iter([Outcome(DONE, deep), Outcome(DONE, object()), Outcome(FAIL, None, "\ud800"), Outcome(DONE, 1)])
    strings.at_once = lambda _order: next(outcomes)
    async with a_site(spec(a=call()), strings) as site:
        await site.stage.start("r1", "r2", "r3", "r4")
        assert await site.ended("r1", "r2", "r3", "r4") == ["failed", "failed", "failed", "succeeded"]
        assert dict(site.crew.errors) == {":http": 3}


async def test_an_abandoning_that_fails_is_counted_and_nothing_else() -> None:
    strings = Strings()
    strings.unwilling = ValueError("no")
    async with a_site(spec(a=call()), strings) as site:
        await site.stage.start("r1", "r2")
        await site.until(lambda: len(strings.open) == 2)
        await site.stage.conductor.cancel("shop/r1", "")
        await site.until(lambda: site.crew.errors)
        strings.end("r2.a.1.1")
        assert await site.ended("r2") == ["succeeded"]


@pytest.mark.parametrize("outcome", [Outcome("maybe"), Outcome(DONE, "x" * 70_000)])
async def test_an_outcome_that_the_operation_does_not_take_fails_it(outcome: Outcome) -> None:
    strings = Strings()
    strings.at_once = lambda _order: outcome
    async with a_site(spec(a=call(retry=retry(fail=3))), strings) as site:
        await site.stage.start("r1")
        assert await site.ended("r1") == ["failed"]
        header, _ = await site.stage.stored("r1")
        assert "is not closed as 'maybe'" in header.reason or "output_max" in header.reason
        assert len(strings.orders) == 1


async def test_closings_that_nobody_takes_now_are_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "RETRY_S", 0.001)
    strings = Strings()
    async with a_site(spec(a=call()), strings) as site:
        await site.stage.start("r1")
        await site.until(lambda: strings.open)
        site.is_found = False
        strings.end("r1.a.1.1")
        await asyncio.sleep(0.005)
        assert site.crew.busy() == {":http": 1}
        site.is_found = True
        assert await site.ended("r1") == ["succeeded"]


async def test_what_cannot_be_claimed_now_is_claimed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "RETRY_S", 0.001)
    strings = Strings()
    async with a_site(spec(a=call()), strings) as site:
        site.is_found = False
        await site.stage.start("r1")
        await asyncio.sleep(0.005)
        assert not strings.orders
        site.is_found = True
        await site.until(lambda: strings.open)
        strings.end("r1.a.1.1")
        assert await site.ended("r1") == ["succeeded"]


async def _handed_over(store: MemoryStore, told: Any, first: Strings, then: Strings) -> tuple[Site, Any]:
    async with a_site(told, first, store=store, name="me") as site:
        await site.stage.start("r1")
        await site.until(lambda: first.open)
        await site.until(lambda: site.stage.ledger.is_idle)
        hold = await site.stage.sealed()
        await site.stage.conductor.leave(site.stage.turns)
        await site.until(lambda: first.cancelled)
        assert site.crew.busy() == {":http": 0}
    return site, hold


async def test_what_goes_on_when_the_shard_leaves_is_resumed_by_who_comes_next() -> None:
    store, told = MemoryStore(), spec(a=call(heartbeat=1000, retry=retry(lost=2)))
    first, then = Strings(resumes=True), Strings(resumes=True)
    before, hold = await _handed_over(store, told, first, then)
    assert (first.cancelled, first.abandoned) == (["r1.a.1.1"], [])
    async with a_site(told, then, store=store, hold=hold, name="you") as site:
        await site.until(lambda: then.open)
        (order,) = then.orders
        assert order.is_resumed
        assert order[:7] == first.orders[0][:7]
        assert order.due_ms == first.orders[0].due_ms
        then.end("r1.a.1.1", DONE, 7)
        assert await site.ended("r1") == ["succeeded"]
    del before


async def test_a_resumed_attempt_that_is_over_is_abandoned() -> None:
    store, told = MemoryStore(), spec(a=call(takes=20_000))
    first, then = Strings(resumes=True), Strings(resumes=True)
    _, hold = await _handed_over(store, told, first, then)
    async with a_site(told, then, store=store, hold=hold, name="you") as site:
        await site.until(lambda: then.open)
        await site.stage.conductor.cancel("shop/r1", "enough")
        await site.until(lambda: then.abandoned)
        assert then.abandoned == [("r1.a.1.1", "the run is over: cancelled")]


async def test_what_its_connector_does_not_resume_is_lost_and_tried_again() -> None:
    store, told = MemoryStore(), spec(a=call(heartbeat=1000, retry=retry(lost=2)))
    first, then = Strings(), Strings()
    _, hold = await _handed_over(store, told, first, then)
    async with a_site(told, then, store=store, hold=hold, name="you") as site:
        assert not then.orders
        await site.stage.pass_(1000)
        await site.until(lambda: then.open)
        assert [(one.ref.attempt, one.is_resumed) for one in then.orders] == [(2, False)]
        then.end("r1.a.1.2")
        assert await site.ended("r1") == ["succeeded"]


async def test_when_the_instance_stops_what_is_begun_is_cancelled_and_not_abandoned() -> None:
    strings = Strings()
    async with a_site(spec(a=call()), strings) as site:
        await site.stage.start("r1")
        await site.until(lambda: strings.open)
    assert (strings.cancelled, strings.abandoned) == (["r1.a.1.1"], [])


async def test_limits_count_what_the_crew_has() -> None:
    strings = Strings()
    async with a_site(spec(a=call(concurrency=limit("one", most=2))), strings) as site:
        await site.stage.start(*(f"r{number}" for number in range(5)))
        for _ in range(5):
            await site.until(lambda: strings.open)
            assert len(strings.open) <= 2
            strings.end(next(iter(strings.open)))
            await asyncio.sleep(0)
        assert set(await site.ended(*(f"r{number}" for number in range(5)))) == {"succeeded"}
        assert strings.peak == 2


async def test_what_waits_for_the_crew_is_told_so() -> None:
    strings = Strings(most=1)
    async with a_site(spec(a=call(), b=work("pack")), strings) as site:
        await site.stage.start("r1", "r2")
        await site.until(lambda: strings.open)
        waits = {
            (run, place[0]): one.wait
            for run in ("r1", "r2")
            for place, one in site.exchange.takers(site.stage.run(run)).items()
        }
        assert waits == {("r1", "b"): Wait.NO_WORKER, ("r2", "b"): Wait.NO_WORKER, ("r2", "a"): Wait.BUSY}


async def test_without_a_connector_it_waits() -> None:
    async with a_site(spec(a=call())) as site:
        await site.stage.start("r1")
        taken = site.exchange.takers(site.stage.run("r1"))
        assert [one.wait for one in taken.values()] == [Wait.NO_WORKER]


async def test_items_are_carried_out_as_any_attempts_and_what_is_not_wanted_any_more_is_abandoned() -> None:
    strings = Strings()
    told = spec(
        a=call("${'http://' + item}", foreach=each("${inputs.hosts}", parallel=3), next={"done": "b", "fail": "c"}),
        b=work(input="${ops.a.output}"),
        c=work(),
        inputs={"hosts": "array"},
    )
    async with a_site(told, strings) as site:
        for run in ("r1", "r2"):
            await site.stage.start(run, inputs={"hosts": ["x", "y", "z", "w"]})
        await site.until(lambda: len(strings.open) == 6)
        assert [one.spec.foreach for one in strings.orders] == [None] * 6
        urls = {one.idempotency_key: dict(one.input)["url"] for one in strings.orders}  # type: ignore[call-overload]
        assert urls["shop/r1/a[]/3"] == "http://z"
        for visit in (3, 1, 2):
            strings.end(f"r1.a[].{visit}.1", DONE, {"n": visit})
        await site.until(lambda: "r1.a[].4.1" in strings.open)
        strings.end("r1.a[].4.1", DONE, {"n": 4})
        await site.until(lambda: ("b", 1) in site.stage.run("r1").open)
        assert site.stage.run("r1").open["b", 1].input == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]
        strings.end("r2.a[].2.1", FAIL)
        await site.until(lambda: len(strings.abandoned) == 2)
        assert not strings.open
        assert site.stage.run("r2").scope["ops"]["a"] == {"label": "fail", "visits": 1}
