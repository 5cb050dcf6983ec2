"""Retention: what ended first goes first, and leaves its name behind; what nothing happens in is left alone."""

from datetime import timedelta

import orjson

from harpoon.control import retention as module
from harpoon.control.ledger_records import SHARDS
from harpoon.control.metrics import Metrics
from harpoon.control.orders import Begun
from harpoon.control.retention import Budget, Retention
from harpoon.model.run import Status
from harpoon.store.memory import MemoryStore
from tests.control.stage import SHARD, Stage
from tests.control.test_ledger import Counting
from tests.control.test_starts import its
from tests.core.flow import DAY, HOUR, spec, work

ONE = spec(a=work(output_max=1 << 20))


def keeping(stage: Stage, **budget: object) -> Retention:
    return Retention(stage.store, stage.reader, stage.clock, Metrics(), Budget(**budget))


async def kept(stage: Stage) -> list[str]:
    place = stage.ledger.place
    return [e.key.removeprefix(place.runs) for e in [e async for p in stage.store.list(place.runs) for e in p.entries]]


async def left(stage: Stage, root: str) -> list[str]:
    return [entry.key async for page in stage.store.list(root) for entry in page.entries]


async def test_what_is_too_old_goes_with_its_log_and_open_runs_stay() -> None:
    store = Counting()
    async with Stage(store, ONE).at_work() as stage:
        old, new, open_ = its(0), its(1), its(2)
        await stage.start(old, open_)
        await stage.do(old, "a")
        stage.clock.ms += 2 * HOUR
        await stage.start(new)
        await stage.do(new, "a")
        retention = keeping(stage, span=timedelta(hours=1))
        assert await retention.look(SHARD, stage.conductor) == 1
        assert await kept(stage) == [f"shop/{name}" for name in sorted((new, open_))]
        assert not await left(stage, f"{stage.ledger.place.log}shop/{old}/")
        assert await left(stage, stage.ledger.place.gone) == [f"{stage.ledger.place.gone}shop/{old}"]
        stage.conductor._ended.clear()
        [again] = await stage.start(old)
        assert again == Begun("shop", old, False, "refund", "", Status.SUCCEEDED)
        # Nothing happens, so nothing is read.
        gets, revision = len(store.gets), await store.revision()
        stage.clock.ms += HOUR - 1
        assert await retention.look(SHARD, stage.conductor) == 0
        assert (len(store.gets), await store.revision()) == (gets, revision)
        stage.clock.ms += 1
        assert await retention.look(SHARD, stage.conductor) == 1
        assert await kept(stage) == [f"shop/{open_}"]


async def test_beyond_the_budget_of_bytes_what_ended_first_goes_first() -> None:
    async with Stage(MemoryStore(), ONE).at_work() as stage:
        runs = [its(number) for number in range(6)]
        for run in runs:
            stage.clock.ms += 1000
            await stage.start(run)
            await stage.do(run, "a", output="x" * 10_000)
        retention = keeping(stage, bytes=35_000 * SHARDS)
        assert await retention.look(SHARD, stage.conductor) == 3
        assert await kept(stage) == sorted(f"shop/{run}" for run in runs[3:])


async def test_tombstones_go_after_their_time_or_when_they_are_too_many(monkeypatch) -> None:
    monkeypatch.setattr(module, "TOMBSTONES_MAX", 3)
    async with Stage(MemoryStore(), ONE).at_work() as stage:
        retention = keeping(stage, span=timedelta(0))
        runs = [its(number) for number in range(5)]
        for run in runs:
            await stage.start(run)
            await stage.do(run, "a")
            stage.clock.ms += 1000
            await retention.look(SHARD, stage.conductor)
        gone = stage.ledger.place.gone
        assert await left(stage, gone) == sorted(f"{gone}shop/{run}" for run in runs[2:])
        stage.clock.ms += 7 * DAY - 1000
        await retention.look(SHARD, stage.conductor)
        assert await left(stage, gone) == sorted(f"{gone}shop/{run}" for run in runs[4:])


async def test_a_run_with_a_long_log_is_deleted_in_several_commits(monkeypatch) -> None:
    monkeypatch.setattr(module, "_DELETED_AT_ONCE", 3)
    chain = spec(**{f"s{n}": work(next={"done": f"s{n + 1}"} if n < 9 else {}) for n in range(10)})
    async with Stage(MemoryStore(), chain).at_work() as stage:
        run = its(0)
        await stage.start(run)
        for number in range(10):
            await stage.do(run, f"s{number}")
        assert len(await left(stage, stage.ledger.place.log)) == 20
        assert await keeping(stage, span=timedelta(0)).look(SHARD, stage.conductor) == 1
        assert await left(stage, stage.ledger.place.log) == []


async def test_what_ended_is_exported_as_lines_that_tell_all_of_it() -> None:
    async with Stage(MemoryStore(), spec(a=work(next={"done": "b"}), b=work())).at_work() as stage:
        done, open_ = its(0), its(1)
        await stage.start(done, open_, inputs={"n": 1})
        for op in "ab":
            await stage.do(done, op, output={"op": op})
        lines = b"".join([part async for part in stage.reader.export()]).splitlines()
        [told] = map(orjson.loads, lines)
        assert (told["namespace"], told["run"], told["status"], told["inputs"]) == ("shop", done, "succeeded", {"n": 1})
        assert [event["kind"] for event in told["events"]] == ["started", *["claimed", "closed"] * 2, "ended"]
        assert told["events"][2]["output"] == {"op": "a"}
        assert told["events"][2]["opened"][0]["op"] == "b"
        assert [part async for part in stage.reader.export("other")] == []
        assert len([part async for part in stage.reader.export("shop")]) == 1
