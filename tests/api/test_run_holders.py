"""Runs that another instance conducts: passed on once, and answered as that one does; or nobody does, and that is said."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from harpoon import __version__
from harpoon.api import holders
from harpoon.api.limits import Limits
from harpoon.control.ledger_records import SHARDS, shard_of
from harpoon.control.runs import SHARD_HOLDS, shard_name
from harpoon.model.instance import Instance
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Store
from tests.api.rig import TOKEN, Rig
from tests.api.runs_rig import PLAIN, RUNS, Worker, a_runs_rig, conducting, declare, start
from tests.api.telling import as_problem
from tests.ports import free_port

HALF = SHARDS // 2


def a_name(shards: range, number: int = 0) -> str:
    """The id of a run of one of these shards."""
    found = (f"r{n}" for n in range(10_000) if shard_of(f"default/r{n}") in shards)
    return [next(found) for _ in range(number + 1)][-1]


LOW, HIGH = range(HALF), range(HALF, SHARDS)


async def announce(rig: Rig, url: str | None = None) -> None:
    """Make an instance known to the others."""
    doors = rig.doors
    await rig.write(
        Instance(name=doors.instance, url=doors.url if url is None else url, version=__version__, since_ms=1)
    )


@asynccontextmanager
async def two(store: Store | None = None, **settings: Any) -> AsyncIterator[tuple[Rig, Rig]]:
    """Two instances of one registry, each of which conducts half of the shards."""
    store = store or MemoryStore()
    async with (
        a_runs_rig(store=store, instance="s1", shards=LOW, **settings) as first,
        a_runs_rig(store=store, instance="s2", shards=HIGH, **settings) as second,
    ):
        await announce(first)
        await announce(second)
        revision = await store.revision()
        for rig in (first, second):
            await rig.view.mirror.reached(revision)
        yield first, second


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_whoever_is_asked_a_run_is_started_and_told_things_where_it_is_conducted(token: str | None) -> None:
    async with two(token=token) as (first, second):
        await declare(first, PLAIN)
        await second.view.mirror.reached(first.view.revision)
        run = a_name(HIGH)
        begun = await start(first, run, workflow="flow")
        assert (begun.status, begun.json["id"]) == (201, run)
        assert (await start(second, run, workflow="flow")).status == 200
        as_problem(await start(first, run, workflow="flow", tags={"a": "b"}), 422, "id_reused")
        assert (await first.ask("POST", f"{RUNS}/{run}/pause", {})).json["is_paused"] is True
        assert (await second.get(f"{RUNS}/{run}")).json["is_paused"] is True
        assert (await first.ask("POST", f"{RUNS}/{run}/resume", {})).status == 200
        # Only the instance that conducts it knows of workers.
        assert (await first.get(f"{RUNS}/{run}/why")).json["causes"][0]["code"] == "no_worker"
        await Worker(second, "shop.pack").ask()
        assert (await first.get(f"{RUNS}/{run}/why")).json["causes"][0]["code"] == "claimed"
        assert (await first.ask("POST", f"{RUNS}/{run}/cancel", {"reason": "x"})).json["status"] == "cancelled"


async def test_many_starts_are_shared_out() -> None:
    async with two() as (first, second):
        await declare(first, PLAIN)
        await second.view.mirror.reached(first.view.revision)
        starts: list[dict[str, Any]] = [{"id": f"m{number}", "workflow": "flow"} for number in range(40)]
        starts[3] = {"id": a_name(HIGH), "workflow": "flow", "inputs": {"no": 1}}
        results = (await first.ask("POST", RUNS, {"runs": starts})).json["results"]
        assert [one["status"] for one in results] == [201] * 3 + [400] + [201] * 36
        assert [one["pointer"] for one in results[3]["problem"]["errors"]] == ["/runs/3/inputs/no"]
        assert [one["run"]["id"] for one in results[4:]] == [one["id"] for one in starts[4:]]
        held = [sum(len(one.runs) for one in rig.doors.runs.conductors.values()) for rig in (first, second)]
        assert min(held) > 0
        assert sum(held) == 39
        again = (await second.ask("POST", RUNS, {"runs": starts[4:]})).json["results"]
        assert {one["status"] for one in again} == {200}


async def test_where_an_instance_cannot_be_asked_the_answer_is_503_and_says_what_is_in_doubt() -> None:
    store = MemoryStore()
    async with a_runs_rig(store=store, instance="s1", shards=LOW, limits=Limits(mutation_s=1.5)) as rig:
        await declare(rig, PLAIN)
        gone = f"http://127.0.0.1:{free_port()}"
        await rig.write(Instance(name="s2", url=gone, version=__version__, since_ms=1))
        run = a_name(HIGH)
        await rig.hold(SHARD_HOLDS + shard_name(shard_of(f"default/{run}")), "s2")
        answer = await start(rig, run, workflow="flow")
        told = as_problem(answer, 503, "holder_unreachable")
        assert "look before trying again" in told["detail"]
        assert answer.headers["Retry-After"] == "1"
        results = (await rig.ask("POST", RUNS, {"runs": [{"id": run, "workflow": "flow"}]})).json["results"]
        assert [one["status"] for one in results] == [503]


async def test_a_run_that_nobody_conducts_is_explained_from_what_is_stored() -> None:
    store = MemoryStore()
    async with a_runs_rig(store=store, instance="s1", shards=()) as rig:
        await declare(rig, PLAIN)
        async with conducting(rig):
            assert (await start(rig, workflow="flow")).status == 201
        told = (await rig.get(f"{RUNS}/o-1/why")).json
        assert [one["code"] for one in told["causes"]] == ["workers_unknown"]
        assert (await rig.get(f"{RUNS}/o-1")).json["status"] == "running"
        await rig.write(Instance(name="s2", url=f"http://127.0.0.1:{free_port()}", version=__version__, since_ms=1))
        await rig.hold(SHARD_HOLDS + shard_name(shard_of("default/o-1")), "s2")
        assert (await rig.get(f"{RUNS}/o-1/why")).json["causes"][0]["code"] == "workers_unknown"


async def test_a_holder_is_waited_for_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_runs_rig(shards=()) as rig, asyncio.TaskGroup() as group:
        await declare(rig, PLAIN)
        begun = group.create_task(start(rig, workflow="flow"))
        await asyncio.sleep(0.02)
        async with conducting(rig):
            assert (await begun).status == 201
        monkeypatch.setattr(holders, "HOLDER_WITHIN_S", 0.05)
        answer = await start(rig, "o-2", workflow="flow")
        as_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "1"


async def test_what_was_passed_on_is_not_passed_on_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "HOLDER_WITHIN_S", 0.05)
    async with two() as (first, second):
        await declare(first, PLAIN)
        answer = await first.ask(
            "POST", RUNS, {"id": a_name(HIGH), "workflow": "flow"}, Harpoon_Passed_On="1", Harpoon_Time_Left="5.0"
        )
        told = as_problem(answer, 503, "unavailable")
        assert "does not conduct the run" in told["detail"]
        assert not any(one.runs for one in second.doors.runs.conductors.values())


async def test_what_is_passed_on_keeps_to_the_time_that_is_left() -> None:
    async with a_runs_rig(shards=()) as rig:
        await declare(rig, PLAIN)
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await rig.ask(
            "POST", RUNS, {"id": "o-1", "workflow": "flow"}, Harpoon_Passed_On="1", Harpoon_Time_Left="0.1"
        )
        assert answer.status == 503
        assert loop.time() - began < holders.HOLDER_WITHIN_S
