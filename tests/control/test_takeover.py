"""Taking a shard over: what the store has is what there was, and it goes on from there."""

import asyncio
import time
from pathlib import Path

import pytest

from harpoon.control.ledger_records import LOG, RUNS
from harpoon.control.takeover import Loader
from harpoon.core.step import Signal
from harpoon.core.visit import Ref
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import NotFound
from harpoon.model.run import Status
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put, Store
from harpoon.store.sqlite import SqliteStore
from tests.control.stage import SHARD, Stage
from tests.control.test_starts import its
from tests.core.flow import await_signal, choose, retry, spec, story, work

RICH = spec(
    a=work(retry=retry(fail=3), next={"done": ["b", "c"]}),
    b=await_signal("go", labels=["go"], next={"go": "d"}),
    c=work(heartbeat=5000, takes=20_000),
    d=choose("x", next={"x": "e"}),
    e=work(),
)


async def some(stage: Stage) -> None:
    """Have runs that stand in all kinds of ways."""
    await stage.start("r1", inputs={"n": 1, "status": ',"status":"running"'}, tags={"t": "x"})
    await stage.do("r1", "a", "fail", error="no")
    stage.clock.ms += 1000
    await stage.do("r1", "a", output={"big": "x" * 1000})
    await stage.claim("r1", "c")
    await stage.conductor.signal("shop/r1", Signal("m1", "go", None, "go", {"n": 1}))
    await stage.start("r2", "r3", its(0))
    await stage.claim("r2", "a")
    await stage.conductor.pause("shop/r3", "ann")
    await stage.conductor.cancel(f"shop/{its(0)}", "no more")


async def standing(stage: Stage) -> dict[str, object]:
    await stage.ledger.drained()
    return {key: story(conducted.run) for key, conducted in stage.conductor.runs.items()}


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("is_sparse", [True, False])
async def test_the_next_holder_has_exactly_the_runs_of_the_one_before(
    kind: str, is_sparse: bool, tmp_path: Path
) -> None:
    store: Store = MemoryStore()
    if kind == "sqlite":
        store = await SqliteStore.open(tmp_path / "store", clock=SystemClock())
    first = Stage(store, RICH)
    async with first.at_work():
        await some(first)
        if is_sparse:
            # Many more that have ended.
            ended = [f"e{number}" for number in range(60)]
            await first.start(*ended)
            for run in ended:
                await first.conductor.cancel(f"shop/{run}", "")
        before = await standing(first)
        tasks = {(run, ref) for run, ref in first.notes.open}
    await first.ledger.hold.release(store)
    second = Stage(store, RICH, "other")
    second.clock.ms = first.clock.ms
    async with second.at_work():
        assert second.loaded == 3
        assert await standing(second) == before
        assert {(run, ref) for run, ref in second.notes.open} == {one for one in tasks if one[0] != "r3"}
        assert sorted((run, ref.op) for run, ref, _ in second.notes.taken) == [("r1", "c"), ("r2", "a")]
        # And its headers can be written again.
        await second.conductor.resume("shop/r3", "bob")
        await second.conductor.cancel("shop/r1", 'with "status":"running" in it')
        header, _ = await second.stored("r1")
        assert (header.status, header.inputs["n"], header.tags) == (Status.CANCELLED, 1, {"t": "x"})
        assert not (await second.stored("r3"))[0].is_paused
    await store.close()


async def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    """Nothing is closed in order: what is read is the file as it stood at that moment."""
    path, copy = tmp_path / "store", tmp_path / "copy"
    store = await SqliteStore.open(path, clock=SystemClock())
    stage = Stage(store, RICH)
    async with stage.at_work():
        await some(stage)
        before = await standing(stage)
        for end in ("", "-wal"):
            (tmp_path / f"copy{end}").write_bytes((tmp_path / f"store{end}").read_bytes())
    await store.close()
    again = await SqliteStore.open(copy, clock=SystemClock())
    second = Stage(again, RICH, "other")
    second.clock.ms = stage.clock.ms
    async with second.at_work():
        assert await standing(second) == before
    await again.close()


async def test_an_open_claim_gets_one_full_heartbeat_after_a_takeover_and_no_more() -> None:
    store = MemoryStore()
    first = Stage(store, RICH)
    async with first.at_work():
        await some(first)
        ref, token = next((ref, token) for ref, token in [await_claim(first)])
    await first.ledger.hold.release(store)
    second = Stage(store, RICH, "other")
    second.clock.ms = first.clock.ms + 9000
    async with second.at_work():
        await second.pass_(4999)
        assert second.run("r1").find(ref) is not None
        assert await second.beat("r1", ref, token)
        await second.pass_(4000)
        # Beyond its stored due nothing keeps it.
        await second.pass_(2001)
        assert second.run("r1").find(ref) is None
        assert not await second.beat("r1", ref, token)


def await_claim(stage: Stage) -> tuple[Ref, str]:
    ref = Ref("c", 1, 1)
    attempt = stage.run("r1").find(ref)
    assert attempt is not None
    assert attempt.claim is not None
    return ref, attempt.claim.token


async def test_a_dead_clock_fires_after_the_takeover() -> None:
    store = MemoryStore()
    first = Stage(store, spec(a=work(queue_timeout=5000)))
    async with first.at_work():
        await first.start("r1")
    await first.ledger.hold.release(store)
    second = Stage(store, spec(a=work(queue_timeout=5000)), "other")
    second.clock.ms = first.clock.ms + 60_000
    async with second.at_work():
        await second.pass_(0)
        assert second.notes.ended == ["r1"]


async def test_a_run_that_cannot_be_read_stays_as_it_is_and_keeps_no_other_from_going_on() -> None:
    store = MemoryStore()
    first = Stage(store, RICH)
    async with first.at_work():
        await first.start("r1", "r2", "r3", "r4", "r5")
        for run in ("r2", "r3"):
            await first.do(run, "a")
    await first.ledger.hold.release(store)
    log, runs = f"{LOG}{SHARD:02d}/shop/", f"{RUNS}{SHARD:02d}/shop/"
    entry = await store.get(runs + "r5")
    assert entry is not None
    await store.commit(
        (),
        [
            Put(log + "r1/00000002", b"{"),
            Delete(log + "r2/00000002"),
            Put(runs + "r4", b'{"x":1,"status":"running"}'),
            Put(runs + "r5", entry.value.replace(b'"g1"', b'"g0"')),
            # What is of no run means nothing.
            Put(log + "nobody/00000002", b"[]"),
            Put(log + "r3/00000009.000", b"a part that nothing names"),
        ],
    )
    second = Stage(store, RICH, "other")
    async with second.at_work():
        assert sorted(second.conductor.runs) == ["shop/r3"]
        assert second.notes.offered() == [("r3", "c")]
    assert (await store.get(log + "r1/00000002")).value == b"{"


async def test_a_log_that_does_not_fit_its_workflow_is_a_run_that_cannot_be_read() -> None:
    store = MemoryStore()
    first = Stage(store, RICH)
    async with first.at_work():
        await first.start("r1", "r2")
        await first.do("r1", "a")
    await first.ledger.hold.release(store)
    second = Stage(store, spec(other=work()), "other")
    async with second.at_work():
        assert second.loaded == 0


async def test_records_that_were_cut_are_read_whole() -> None:
    store = MemoryStore()
    told = spec(
        a=work(output_max=1 << 20, visits=9, next={"done": "b"}),
        b=work(output_max=1 << 20, next={"done": "c"}),
        c=work(),
    )
    first = Stage(store, told)
    async with first.at_work():
        await first.start("r1", inputs={"x": "y" * 200_000})
        ref, token = await first.claim("r1", "a")
        landing = first.close("r1", ref, token, output="z" * 1_000_000)
        assert await landing is None
        await first.do("r1", "b", output="u" * 1_000_000)
        before = await standing(first)
    await first.ledger.hold.release(store)
    second = Stage(store, told, "other")
    second.clock.ms = first.clock.ms
    async with second.at_work():
        assert await standing(second) == before
        assert second.run("r1").scope["ops"]["a"]["output"] == "z" * 1_000_000
        await second.do("r1", "c")
        header, _ = await second.stored("r1")
        assert header.status is Status.SUCCEEDED


async def test_ten_thousand_open_runs_are_loaded_within_a_second_of_processor_time() -> None:
    store = MemoryStore()
    told = spec(a=work(next={"done": "b"}), b=work())
    first = Stage(store, told)
    async with first.at_work():
        runs = [f"r{number}" for number in range(2000)]
        await first.start(*runs, is_fresh=True)
    loader = Loader(store, first.reader, first._graph, first.turns)
    found = []
    longest, began, spent = 0.0, time.perf_counter(), time.process_time()

    async def look() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - before)

    looking = asyncio.ensure_future(look())
    assert await loader.load(SHARD, found.append) == 2000
    looking.cancel()
    # A fifth of them, with much room for a machine that has other work.
    assert time.process_time() - spent < 1.0, time.perf_counter() - began
    assert len(found) == 2000


async def test_a_workflow_that_is_not_kept_is_told() -> None:
    with pytest.raises(NotFound):
        await Stage(MemoryStore(), RICH)._graph("shop", "refund", "g9")
