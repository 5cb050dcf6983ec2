"""Rebalancing over HTTP: what would be moved, what is, and what is under way."""

import asyncio
from typing import Any

import pytest

from harpoon.model.agent import LinkState
from tests.api.rig import Rig, a_rig
from tests.builders import a_link, a_placement, a_task, an_agent

PATH = "/v1/rebalance"


async def a_heap(rig: Rig, scale: int = 4) -> list[str]:
    """A job all of whose tasks are on a1, beside an empty a2; return their ids."""
    job = (await rig.put(scale=scale)).json["job"]["metadata"]
    placed = [a_placement(slot=slot, revision=7, generation=job["generation"]) for slot in range(scale)]
    await rig.write(an_agent("a1"), a_link("a1"), an_agent("a2"), a_link("a2"))
    await rig.write(*placed, *(a_task(one, ready=True) for one in placed))
    return [one.task for one in placed]


async def test_what_would_be_moved_is_told_with_where_from_where_to_and_why() -> None:
    async with a_rig() as rig:
        tasks = await a_heap(rig)
        told = await rig.ask("POST", PATH, {"max_moves": 1, "dry_run": True})
        assert told.status == 200
        assert told.json["moves"] == [
            {
                "task": tasks[3],
                "agent": "a1",
                "to": "a2",
                "reason": "a1 has 4 of this job's tasks, a2 would have 1 with it",
                "before": 4,
                "after": 1,
            }
        ]
        assert told.json["is_whole"] is True
        assert (await rig.get(PATH)).json["moves"] == []


async def test_what_is_moved_is_under_way_and_asked_again_with_its_key_is_not_moved_twice() -> None:
    async with a_rig() as rig:
        tasks = await a_heap(rig)
        first = await rig.ask("POST", PATH, {"max_moves": 1}, Idempotency_Key="k")
        again = await rig.ask("POST", PATH, {"max_moves": 1}, Idempotency_Key="k")
        assert (first.status, again.status) == (202, 202)
        assert first.json == again.json
        assert [one["task"] for one in (await rig.get(PATH)).json["moves"]] == [tasks[3]]
        assert (await rig.ask("POST", PATH, {"max_moves": 1})).json["moves"] == [], "the job is changing"


async def test_whoever_waits_is_told_when_a_move_begins() -> None:
    async with a_rig() as rig:
        await a_heap(rig)
        asked = asyncio.ensure_future(rig.get(f"{PATH}?wait=30s"))
        while not rig.doors.registry.waiters._waiters:
            await asyncio.sleep(0.005)
        await rig.ask("POST", PATH, {"max_moves": 2})
        assert len((await asked).json["moves"]) == 2


async def test_an_agent_that_is_away_neither_gives_nor_takes() -> None:
    async with a_rig() as rig:
        await a_heap(rig)
        await rig.write(a_link("a2", LinkState.LOST))
        assert (await rig.ask("POST", PATH, {"max_moves": 9})).json["moves"] == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "required, but missing"),
        ({"max_moves": 0}, "max_moves is 1 to 90"),
        ({"max_moves": 91}, "max_moves is 1 to 90"),
        ({"max_moves": 1, "job": "web"}, "job names one of a namespace; name that, too"),
        ({"max_moves": 1, "namespace": "No"}, "namespace is 1 to 63"),
        ({"max_moves": 1, "jobs": "web"}, "unknown field 'jobs'; did you mean 'job'?"),
    ],
)
async def test_an_order_that_cannot_be_is_refused_with_the_fix(body: Any, detail: str) -> None:
    async with a_rig() as rig:
        answer = await rig.ask("POST", PATH, body)
        assert answer.status == 400
        assert answer.json["errors"][0]["detail"].startswith(detail)


async def test_a_job_that_there_is_not_is_not_found() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("POST", PATH, {"max_moves": 1, "namespace": "default", "job": "web"})
        assert (answer.status, answer.json["detail"]) == (404, "there is no job web in namespace default")
