"""Signals by key: kept until a run waits, had by one run, once, whoever conducts it and whoever dies in between."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from harpoon.control import keyed_records, keyed_signals
from harpoon.control.keyed_records import KEPT, KEYED, SENT, Place, name_of
from harpoon.control.ledger_records import RUNS as RECORDS
from harpoon.control.ledger_records import prefix_of, shard_of
from harpoon.core.fold import SIGNAL_KEPT_MS
from harpoon.core.step import Signal
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.loop import Pace
from harpoon.model.keyed_signal import DeliveredSignal, KeyedSignal
from harpoon.model.run_orders import SignalDelivery
from harpoon.model.run_shown import KeptSignals
from harpoon.store.port import Delete, Put, Store
from tests.api.rig import PATIENCE_S, Rig
from tests.api.runs_rig import NAMESPACE, RUNS, a_runs_rig, conducting, declare, start
from tests.api.telling import as_problem
from tests.api.test_run_holders import HIGH, LOW, a_name, two
from tests.workflows import a_workflow

PATH = f"{NAMESPACE}/signals/paid"
#: Two signals, one after the other.
TWICE: dict[str, Any] = a_workflow(
    first={"wait": {"signal": "paid", "key": "all"}, "labels": ["late"], "next": {"done": "second", "late": "second"}},
    second={"wait": {"signal": "paid", "key": "all"}},
)
ONCE: dict[str, Any] = a_workflow(wait_paid={"wait": {"signal": "paid", "key": "all"}})
NOW_MS = SystemClock().now().wall


async def send(rig: Rig, id_: str, key: str = "all", **more: Any) -> str | None:
    """Send a signal, and return which run has it."""
    answer = await rig.ask("POST", f"{PATH}?key={key}", {"id": id_, **more})
    assert answer.status == 200, answer.body
    codec.load(SignalDelivery, answer.body)
    assert answer.json["id"] == id_
    run = answer.json["run"]
    return None if run is None else str(run)


async def had(rig: Rig, run: str) -> list[Any]:
    """The payloads that the waits of a run closed with, in their order."""
    answer = await rig.get(f"{RUNS}/{run}/attempts")
    assert answer.status == 200, answer.body
    return [one["output"] for one in answer.json["items"] if one["state"] == "closed"]


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await found():
            await asyncio.sleep(0.002)


async def until_over(rig: Rig, *runs: str) -> None:
    for run in runs:
        async with rig.watch(f"{RUNS}/{run}?watch=true") as reader:
            assert (await reader.until_type("over"))[-1]["status"] == "succeeded"


async def names(store: Store, prefix: str) -> list[str]:
    return [entry.key async for page in store.list(prefix) for entry in page.entries]


async def settled(store: Store) -> None:
    """Wait until nothing is kept."""

    async def is_empty() -> bool:
        return not await names(store, KEPT)

    await until(is_empty)


def a_record(run: str | None, *, id_: str = "s-1", sent_ms: int = NOW_MS) -> Put:
    """A signal that is kept, as an instance that died has left it."""
    told = KeyedSignal(
        namespace="default", name="paid", key="all", id=id_, label="done", payload=id_, sent_ms=sent_ms, run=run
    )
    return Put(KEPT + name_of("default", Signal(id_, "paid", "all")), codec.dump(told))


async def test_a_signal_that_is_first_is_kept_for_the_wait_and_had_once(any_store: Store) -> None:
    async with a_runs_rig(store=any_store) as rig:
        await declare(rig, TWICE)
        assert await send(rig, "s-1", payload={"amount": 1}) is None
        assert await send(rig, "s-1", payload={"amount": 2}) is None
        assert await send(rig, "s-2", payload={"amount": 3}) is None
        assert await send(rig, "s-3", key="other") is None
        await start(rig, workflow="flow")
        await until_over(rig, "o-1")
        assert await had(rig, "o-1") == [{"amount": 1}, {"amount": 3}]
        await until(lambda: is_sent(any_store, 2))
        # The same again is answered alike, and no other run has it.
        assert await send(rig, "s-1") == "o-1"
        await start(rig, "o-2", workflow="flow")
        assert await send(rig, "s-2") == "o-1"
        assert await had(rig, "o-2") == []
        assert len(await names(any_store, KEPT)) == 1


async def is_sent(store: Store, count: int) -> bool:
    return len(await names(store, SENT)) == count


async def test_of_those_that_wait_one_has_it_and_the_next_signal_is_for_the_next() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ONCE)
        for run in ("r1", "r2"):
            await start(rig, run, workflow="flow")
        first = await send(rig, "s-1", payload=1)
        second = await send(rig, "s-2", payload=2)
        assert {first, second} == {"r1", "r2"}
        await until_over(rig, "r1", "r2")
        assert await had(rig, first or "") == [1]
        assert await had(rig, second or "") == [2]
        assert await send(rig, "s-3") is None


async def test_a_run_that_another_instance_conducts_has_it(any_store: Store) -> None:
    async with two(store=any_store) as (first, second):
        await declare(second, ONCE)
        await first.view.mirror.reached(second.view.revision)
        high, low = a_name(HIGH), a_name(LOW)
        await start(second, high, workflow="flow")
        assert await send(first, "s-1", payload=1) == high
        assert await had(first, high) == [1]
        assert await send(second, "s-2", payload=2) is None
        await start(second, low, workflow="flow")
        await until_over(second, low)
        assert await had(second, low) == [2]
        await settled(any_store)


async def test_many_signals_and_many_runs_of_two_instances_come_to_pairs(any_store: Store) -> None:
    async with two(store=any_store) as (first, second):
        await declare(first, ONCE)
        await second.view.mirror.reached(first.view.revision)
        runs, ids = [f"m{number}" for number in range(30)], [f"s-{number}" for number in range(30)]
        async with asyncio.TaskGroup() as group:
            for number, (run, id_) in enumerate(zip(runs, ids, strict=True)):
                rig = (first, second)[number % 2]
                group.create_task(start(rig, run, workflow="flow"))
                group.create_task(send(rig, id_, payload=id_))
        await until_over(first, *runs)
        got = [await had(first, run) for run in runs]
        assert sorted(one for payloads in got for one in payloads) == sorted(ids)
        assert {len(payloads) for payloads in got} == {1}
        await settled(first.store)
        for id_ in ids:
            assert [id_] == await had(first, await send(second, id_) or "")


async def test_a_run_that_is_paused_has_it_when_it_goes_on() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ONCE)
        await start(rig, workflow="flow")
        await rig.ask("POST", f"{RUNS}/o-1/pause", {})
        assert await send(rig, "s-1", payload=1) is None
        assert (await rig.get(f"{RUNS}/o-1")).json["signals"] == []
        await rig.ask("POST", f"{RUNS}/o-1/resume", {})
        await until_over(rig, "o-1")
        assert await had(rig, "o-1") == [1]


async def test_a_label_that_no_wait_can_offer_is_refused() -> None:
    async with a_runs_rig(shards=range(1)) as rig:
        for label in ("", "Late", "a b", "x" * 64, "true", "timeout"):
            answer = await rig.ask("POST", f"{NAMESPACE}/signals/paid?key=k", {"label": label})
            assert (answer.status, [one["pointer"] for one in answer.json["errors"]]) == (400, ["/label"]), label
        assert (await rig.get(f"{NAMESPACE}/signals")).json["items"] == []


async def test_what_no_wait_takes_waits_for_one_that_does() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, TWICE)
        await start(rig, workflow="flow")
        assert await send(rig, "s-1", label="late", payload=1) == "o-1"
        # The second wait does not offer it, whoever comes; another signal is not kept from it.
        assert await send(rig, "s-2", label="late", payload=2) is None
        assert await send(rig, "s-3", payload=3) == "o-1"
        await until_over(rig, "o-1")
        await start(rig, "o-2", workflow="flow")
        await until(lambda: is_open(rig, "o-2", "second"))
        assert await had(rig, "o-2") == [2]


async def is_open(rig: Rig, run: str, op: str) -> bool:
    return bool((await rig.get(f"{RUNS}/{run}")).json["visits"][-1]["op"] == op)


async def test_a_run_that_was_named_has_it_whoever_conducts_it_then() -> None:
    """An instance dies when it has written which run is to have a signal, and before the run has it."""
    async with a_runs_rig(shards=()) as rig:
        await declare(rig, ONCE)
        async with conducting(rig):
            await start(rig, workflow="flow")
            await start(rig, "o-2", workflow="flow")
        await rig.store.commit((), [a_record("o-1")])
        async with conducting(rig, loads=True):
            await until_over(rig, "o-1")
            assert await had(rig, "o-1") == ["s-1"]
            assert await had(rig, "o-2") == []
            await settled(rig.store)
            assert await send(rig, "s-1") == "o-1"


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_run_that_has_it_has_it_once_however_often_it_is_named(is_over: bool) -> None:
    """An instance dies when the run has a signal, and before that is written down."""
    async with a_runs_rig() as rig:
        await declare(rig, ONCE if is_over else TWICE)
        await start(rig, workflow="flow")
        await start(rig, "o-2", workflow="flow")
        had_it = await send(rig, "s-1", payload="s-1")
        other = {"o-1": "o-2", "o-2": "o-1"}[had_it or ""]
        [sent] = await names(rig.store, SENT)
        await rig.store.commit((), [a_record(had_it), Delete(sent)])
        await settled(rig.store)
        assert await had(rig, had_it or "") == ["s-1"]
        assert await had(rig, other) == []
        assert codec.load(DeliveredSignal, (await entry_of(rig.store, sent))).run == had_it


async def entry_of(store: Store, key: str) -> bytes:
    entry = await store.get(key)
    assert entry is not None
    return entry.value


@pytest.mark.parametrize("named", ["o-1", "nobody"])
async def test_a_run_that_was_named_and_waits_no_more_gives_way_to_another(named: str) -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ONCE)
        await start(rig, workflow="flow")
        await rig.ask("POST", f"{RUNS}/o-1/cancel", {})
        await start(rig, "o-2", workflow="flow")
        await rig.store.commit((), [a_record(named)])
        await until_over(rig, "o-2")
        assert await had(rig, "o-2") == ["s-1"]
        await settled(rig.store)


async def test_what_was_not_had_within_seven_days_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_signals, "SWEEP_S", 0.01)
    monkeypatch.setattr(keyed_signals, "SENT_MAX", 1)
    async with a_runs_rig(pace=Pace(resync=timedelta(seconds=0.02))) as rig:
        await declare(rig, ONCE)
        old_ms = NOW_MS - SIGNAL_KEPT_MS - 1
        await rig.store.commit((), [a_record(None, sent_ms=old_ms)])
        for number, at_ms in enumerate((old_ms, NOW_MS - 1, NOW_MS)):
            told = codec.dump(DeliveredSignal(run="r", at_ms=at_ms))
            await rig.store.commit((), [Put(f"{SENT}default/{number}", told)])
        await until(lambda: is_sent(rig.store, 1))
        await settled(rig.store)
        # Of those that are too many the latest stay.
        assert await names(rig.store, KEYED) == [f"{SENT}default/2"]
        await start(rig, workflow="flow")
        assert await had(rig, "o-1") == []


async def test_many_that_no_run_takes_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_signals, "_SLICE", 1)
    async with a_runs_rig() as rig:
        await declare(rig, ONCE)
        for run in ("o-1", "o-2"):
            await start(rig, run, workflow="flow")
        for number in range(5):
            assert await send(rig, f"s-{number}", label="late") is None
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        keyed, counting = rig.doors.keyed, asyncio.ensure_future(others())
        assert keyed is not None
        await keyed._attend_all(Place("default", "paid", "all"))
        counting.cancel()
        assert turns >= 5 * (2 + 1), "after each run and each signal"
        assert await send(rig, "s-9") == "o-1"


async def test_a_run_of_which_nobody_knows_keeps_no_other_from_its_signal() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ONCE)
        await start(rig, "o-9", workflow="flow")
        header = await rig.store.get(f"{prefix_of(RECORDS, shard_of('default/o-9'))}default/o-9")
        assert header is not None
        # One that this release cannot go on with, say.
        lost = f"{prefix_of(RECORDS, shard_of('default/lost'))}default/lost"
        await rig.store.commit((), [Put(lost, header.value), a_record("lost", id_="s-1")])
        assert await send(rig, "s-2") == "o-9"
        assert await names(rig.store, KEPT) == [a_record("lost", id_="s-1").key]


async def test_too_large_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_records, "KEPT_FOR_KEY_MAX", 2)
    monkeypatch.setattr(keyed_records, "KEPT_MAX", 3)
    async with a_runs_rig() as rig:
        told = as_problem(await rig.ask("POST", f"{PATH}?key=k", {"payload": "x" * 70_000}), 400, "invalid")
        assert [one["pointer"] for one in told["errors"]] == ["/payload"]
        as_problem(await rig.ask("POST", PATH, {}), 400, "invalid")
        as_problem(await rig.ask("POST", f"{PATH}?key={'k' * 257}", {}), 400, "invalid")
        for id_ in ("s-1", "s-2"):
            await send(rig, id_, key="k")
        as_problem(await rig.ask("POST", f"{PATH}?key=k", {"id": "s-3"}), 409, "conflict")
        # What is kept already is not refused.
        assert await send(rig, "s-1", key="k") is None
        assert await send(rig, "s-3", key="other") is None
        as_problem(await rig.ask("POST", f"{PATH}?key=third", {}), 409, "conflict")


async def test_what_is_kept_is_shown_page_by_page_until_a_run_has_it() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ONCE)
        for number in range(3):
            await send(rig, f"s-{number}", payload={"secret": number})
        told = (await rig.get(f"{NAMESPACE}/signals?limit=2")).json
        assert [one["id"] for one in told["items"]] == ["s-0", "s-1"]
        assert set(told["items"][0]) == {"id", "name", "key", "label", "sent_ms"}
        rest = await rig.get(f"{NAMESPACE}/signals?limit=2&continue={told['continue']}")
        codec.load(KeptSignals, rest.body)
        assert [one["id"] for one in rest.json["items"]] == ["s-2"]
        assert (await rig.get("/v1/namespaces/shop/signals")).json["items"] == []
        await start(rig, workflow="flow")
        await until_over(rig, "o-1")
        await until(lambda: is_sent(rig.store, 1))
        assert [one["id"] for one in (await rig.get(f"{NAMESPACE}/signals")).json["items"]] == ["s-1", "s-2"]


async def test_the_same_request_again_is_the_same_signal() -> None:
    async with a_runs_rig() as rig:
        once = await rig.ask("POST", f"{PATH}?key=k", {}, Idempotency_Key="i-1")
        again = await rig.ask("POST", f"{PATH}?key=k", {}, Idempotency_Key="i-1")
        assert once.json == again.json
        assert len(await names(rig.store, KEPT)) == 1
