"""Limits that instances keep together over HTTP: what is claimed, and what is said of what waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from harpoon.control.ledger_records import SHARDS, shard_of
from harpoon.model.instance import Instance
from harpoon.store.memory import MemoryStore
from tests.api.rig import TOKEN, Rig
from tests.api.runs_rig import NAMESPACE, Worker, a_runs_rig, declare, start
from tests.workflows import a_workflow

LIMITED = a_workflow(pack={"worker": "shop.pack", "concurrency": {"key": "crane", "limit": 1}})
#: The limit's home is an even shard, as those of the first instance are.
HERE, THERE = ([f"r{n}" for n in range(100) if shard_of(f"default/r{n}") % 2 == odd] for odd in (0, 1))


@asynccontextmanager
async def two(token: str | None) -> AsyncIterator[tuple[Rig, Rig]]:
    """Two instances that conduct half of the runs each."""
    assert shard_of("default/limit/crane") % 2 == 0
    store = MemoryStore()
    async with (
        a_runs_rig(shards=range(0, SHARDS, 2), store=store, instance="s1", is_sharing=True, token=token) as here,
        a_runs_rig(shards=range(1, SHARDS, 2), store=store, instance="s2", is_sharing=True, token=token) as there,
    ):
        for rig in (here, there):
            revision = await rig.write(Instance(name=rig.doors.instance, url=rig.doors.url, version="1", since_ms=1))
        await here.view.mirror.reached(revision)
        await declare(here, LIMITED)
        await there.view.mirror.reached(await store.revision())
        yield here, there


async def why(rig: Rig, run: str) -> dict[str, object]:
    answer = await rig.get(f"{NAMESPACE}/runs/{run}/why")
    assert answer.status == 200, answer.body
    return dict(answer.json["causes"][0])


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_one_limit_holds_for_the_runs_of_both_and_why_says_who_has_it(token: str | None) -> None:
    async with two(token) as (here, there):
        assert (await start(here, HERE[0], workflow="flow")).status == 201
        assert (await start(there, THERE[0], workflow="flow")).status == 201
        assert (await start(there, THERE[1], workflow="flow")).status == 201
        first, second = Worker(here, "shop.pack"), Worker(there, "shop.pack", name="w2")
        claim = await first.claim()
        assert claim["run"] == HERE[0]
        assert await second.ask(wait="200ms") == {"seq": 1}
        told = await why(there, THERE[0])
        assert told["code"] == "limit"
        assert f"1 of at most 1 with key crane are claimed, by {HERE[0]}" in str(told["sentence"])
        assert told["evidence"]["home"] == "s1"
        await first.close(claim)
        claim = await second.claim()
        assert claim["run"] in THERE
        await second.close(claim)
        # The other is to be had by way of the first instance, too.
        claim = await first.claim()
        assert claim["run"] in THERE
        await first.close(claim)


async def test_homes_that_are_closed_are_told_as_metrics() -> None:
    async with two(None) as (here, _):
        claim = Worker(here, "shop.pack")
        assert (await start(here, HERE[0], workflow="flow")).status == 201
        await claim.claim()
        told = (await here.get("/metrics")).body.decode()
        assert 'harpoon_work_limit_homes{state="open"} 32.0' in told
        assert 'harpoon_work_limit_homes{state="closed"} 0.0' in told


async def test_a_report_that_waits_gives_way_to_a_later_one() -> None:
    async with two(None) as (here, _):
        revision = await here.write(Instance(name="s9", url="", version="1", since_ms=1))
        await here.view.mirror.reached(revision)
        # The first one is answered at once: how it stands here is not known there.
        assert (await here.ask("POST", "/v1/permits", {"instance": "s9", "number": 1, "wait": "9s"})).status == 200
        waiting = asyncio.ensure_future(here.ask("POST", "/v1/permits", {"instance": "s9", "number": 2, "wait": "9s"}))
        while "s9" not in here.doors.sharing._open:  # type: ignore[union-attr]
            assert not waiting.done(), waiting.result()
            await asyncio.sleep(0.001)
        later = asyncio.ensure_future(here.ask("POST", "/v1/permits", {"instance": "s9", "number": 3, "wait": "1ms"}))
        # Long before its own time.
        async with asyncio.timeout(5):
            await waiting
        assert [(one.status, one.json) for one in (await waiting, await later)] == [
            (200, {"number": 2, "keys": []}),
            (200, {"number": 3, "keys": []}),
        ]
        assert (await here.ask("POST", "/v1/permits", {"instance": "s9", "number": 2})).status == 409


async def test_a_report_is_for_instances_and_refused_where_there_are_no_runs() -> None:
    async with two(TOKEN) as (here, _):
        report = {"instance": "s9", "number": 1}
        assert (await here.ask("POST", "/v1/permits", report)).status == 409
        assert (await here.ask("POST", "/v1/permits", {"instance": "s2"})).status == 400
        assert (await here.ask("POST", "/v1/permits", report | {"wait": "1h"})).status == 400
        here.headers.clear()
        assert (await here.ask("POST", "/v1/permits", report)).status == 401
