"""Work over HTTP: what is refused, what is told, and what becomes of those who wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from harpoon.api.limits import Limits
from harpoon.kit import codec
from harpoon.model.work import ITEMS_MAX, WorkAnswer
from tests.api.rig import TOKEN, Answer, Rig, a_rig
from tests.api.telling import as_problem
from tests.control.working import Table, lost, ops, statuses, which

PATH = "/v1/namespaces/default/work"


@asynccontextmanager
async def a_table(**settings: Any) -> AsyncIterator[tuple[Rig, Table]]:
    table = Table()
    async with a_rig(work=table.exchange, **settings) as rig:
        yield rig, table


def a_request(seq: int = 1, *, want: int = 1, **more: Any) -> dict[str, Any]:
    return {"worker": "w1", "session": "s1", "seq": seq, "handlers": ["pack"], "want": want, **more}


def closing(claim: dict[str, Any], label: str = "done", **more: Any) -> dict[str, Any]:
    return {**which(claim), "label": label, **more}


async def ask(rig: Rig, seq: int = 1, **more: Any) -> dict[str, Any]:
    answer = await rig.ask("POST", PATH, a_request(seq, **more))
    assert answer.status == 200, answer.body
    # What is told is what the document says that is told.
    codec.load(WorkAnswer, answer.body)
    return answer.json


async def waiting(rig: Rig, group: asyncio.TaskGroup, **more: Any) -> asyncio.Task[Answer]:
    """A request that waits."""
    task = group.create_task(rig.ask("POST", PATH, a_request(wait="60s", **more)))
    while not rig.doors.work or not any(one.news for one in rig.doors.work.under_way.values()):
        await asyncio.sleep(0.001)
    return task


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_work_goes_out_and_comes_back(token: str | None) -> None:
    async with a_table(token=token) as (rig, table):
        table.plain.start("r1", "a", "b")
        first = await ask(rig)
        claim = first["claims"][0]
        assert (claim["op"], claim["input"], claim["key"]) == ("a", {"op": "a"}, "default/r1/a/1")
        answer = await ask(rig, 2, closings=[closing(claim, output={"n": [1, None, "ü\n"]})])
        assert (statuses(answer), ops(answer)) == ([200], ["b"])
        beat = which(answer["claims"][0])
        assert await ask(rig, 3, want=0, heartbeats=[beat]) == {"seq": 3}
        assert lost(await ask(rig, 4, want=0, heartbeats=[beat | {"token": "no"}])) != {}
        assert await ask(rig, 4) == await ask(rig, 4)


async def test_how_far_an_attempt_is_is_shown_with_its_worker() -> None:
    async with a_table() as (rig, table):
        table.plain.start()
        beat = which((await ask(rig))["claims"][0])
        await ask(rig, 2, want=0, heartbeats=[beat | {"progress": {"percent": 30}}])
        await ask(rig, 3, want=0, heartbeats=[beat])
        (worker,) = (await rig.get(PATH + "ers")).json["items"]
        assert [one["progress"] for one in worker["sessions"][0]["attempts"]] == [{"percent": 30}]
        body = a_request(4, heartbeats=[beat, beat | {"progress": "x" * 4095}])
        told = as_problem(await rig.ask("POST", PATH, body), 400, "invalid")
        assert told["errors"][0]["pointer"] == "/heartbeats/1/progress"


async def test_how_work_goes_is_told_as_metrics() -> None:
    async with a_table() as (rig, table):
        table.plain.start("r1", "a", "b", "c")
        table.plain.start("r2", "later", ready_ms=table.clock.wall + 1000)
        claim = (await ask(rig, want=2))["claims"][0]
        await ask(rig, 2, want=0, closings=[closing(claim), closing(claim, "fail")])
        told = (await rig.get("/metrics")).body.decode()
    for line in (
        'harpoon_work_attempts{state="claimed"} 1.0',
        'harpoon_work_attempts{state="ready"} 1.0',
        'harpoon_work_attempts{state="later"} 1.0',
        "harpoon_work_sessions 1.0",
        "harpoon_work_requests 0.0",
        "harpoon_work_claims_total 2.0",
        'harpoon_work_closings_total{status="200"} 1.0',
        'harpoon_work_closings_total{status="409"} 1.0',
    ):
        assert line in told.splitlines(), told


async def test_only_what_is_refused_is_logged() -> None:
    async with a_table() as (rig, _table):
        with structlog.testing.capture_logs() as logs:
            await ask(rig)
            await rig.ask("POST", PATH + "/look", {"handlers": ["pack"]})
            await rig.ask("POST", PATH, {})
    assert [(one["path"], one["status"]) for one in logs if one["event"] == "request_answered"] == [(PATH, 400)]


async def test_a_failure_may_be_one_that_trying_again_does_not_mend() -> None:
    async with a_table() as (rig, table):
        table.plain.start()
        claim = (await ask(rig))["claims"][0]
        sent = closing(claim, "fail", error='it "broke"', retryable=False)
        assert statuses(await ask(rig, 2, closings=[sent])) == [200]


async def test_who_waits_is_answered_when_there_is_work() -> None:
    async with a_table() as (rig, table), asyncio.TaskGroup() as group:
        asked = await waiting(rig, group)
        table.plain.start()
        assert ops((await asked).json) == ["a"]


async def test_a_worker_that_leaves_takes_nothing() -> None:
    async with a_table() as (rig, table):
        body = codec.dump(a_request(wait="60s"))
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        while not table.exchange.under_way:
            await asyncio.sleep(0.001)
        writer.close()
        while table.exchange.under_way:
            await asyncio.sleep(0.001)
        table.plain.start()
        answer = await rig.ask("POST", PATH, a_request() | {"worker": "w2"})
        assert ops(answer.json) == ["a"]
        assert not table.exchange.core.held(next(iter(table.exchange.sessions.of("default"))).id)
        del reader


async def test_a_server_that_stops_sends_those_who_wait_away() -> None:
    async with a_table() as (rig, _table), asyncio.TaskGroup() as group:
        asked = await waiting(rig, group)
        rig.doors.drain.set()
        answer = await asked
        assert (answer.status, answer.json) == (200, {"seq": 1})


async def test_a_wait_may_be_longer_than_other_mutations() -> None:
    async with a_table(limits=Limits(mutation_s=0.05)) as (rig, _table):
        answer = await ask(rig, wait="200ms")
        assert answer == {"seq": 1}


async def test_a_request_that_is_older_than_one_that_was_answered_is_a_conflict() -> None:
    async with a_table() as (rig, _table):
        await ask(rig, 5)
        told = as_problem(await rig.ask("POST", PATH, a_request(4)), 409, "conflict")
        assert "begin a new session" in told["detail"]


async def test_where_no_runs_are_there_is_no_work() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("POST", PATH, a_request())
        assert as_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "1"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no worker": ({"worker": None}, "/worker"),
    "an odd worker": ({"worker": "w 1"}, "worker is 1 to 128"),
    "an odd session": ({"session": ""}, "session is 1 to 128"),
    "seq 0": ({"seq": 0}, "seq is 1"),
    "seq as text": ({"seq": "1"}, "/seq"),
    "too much wanted": ({"want": 1001}, "want is 0 to 1000"),
    "less than nothing wanted": ({"want": -1}, "want is 0 to 1000"),
    "wanting nothing in particular": ({"handlers": []}, "handlers names"),
    "an odd handler": ({"handlers": ["Pack it"]}, "a handler is"),
    "too long a wait": ({"wait": "61s"}, "wait is at most 60s"),
    "no wait at all": ({"wait": 20}, "/wait"),
    "an unknown field": ({"wants": 1}, "/wants"),
    "a closing of nothing": ({"closings": [{}]}, "/closings/0/run"),
    "a strange closing": ({"closings": [{"run": "r", "op": "a", "visit": "1", "attempt": 1, "token": "t", "label": "done"}]}, "/closings/0/visit"),
    "a heartbeat with an output": ({"heartbeats": [{"run": "r", "op": "a", "visit": 1, "attempt": 1, "token": "t", "output": 1}]}, "/heartbeats/0/output"),
    "too many handlers": ({"handlers": ["a"] * 1001}, "handlers holds at most 1000"),
    "too many closings": ({"closings": [{"run": "r", "op": "a", "visit": 1, "attempt": 1, "token": "t", "label": "done"}] * (ITEMS_MAX + 1)}, "closings holds at most 1000"),
    "too many heartbeats": ({"heartbeats": [{"run": "r", "op": "a", "visit": 1, "attempt": 1, "token": "t"}] * (ITEMS_MAX + 1)}, "heartbeats holds at most 1000"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_what_is_wrong_is_refused_by_name(name: str) -> None:
    fields, word = BAD[name]
    async with a_table() as (rig, table):
        answer = await rig.ask("POST", PATH, a_request() | fields)
        told = as_problem(answer, 400, "invalid")
        assert word in told["detail"] or any(word in one["pointer"] + one["detail"] for one in told["errors"]), told
        assert not table.exchange.under_way


async def test_bodies_that_are_no_requests_are_refused() -> None:
    async with a_table(limits=Limits(work_bytes=500)) as (rig, _table):
        assert as_problem(await rig.ask("POST", PATH, b"{"), 400, "invalid")
        assert as_problem(await rig.ask("POST", PATH, b'{"seq":1,"seq":2}'), 400, "invalid")
        large = a_request(closings=[{"output": "x" * 500}])
        assert as_problem(await rig.ask("POST", PATH, large), 413, "too_large")
        assert as_problem(await rig.ask("POST", PATH, b"{}", Content_Type="text/plain"), 415, "unsupported_media_type")


async def test_without_a_token_there_is_no_work() -> None:
    async with a_table(token=TOKEN) as (rig, _table):
        rig.headers.clear()
        assert as_problem(await rig.ask("POST", PATH, a_request()), 401, "unauthorized")


async def test_a_large_request_is_taken_as_a_small_one() -> None:
    async with a_table() as (rig, table):
        table.plain.start("r1", *(f"o{number}" for number in range(1000)))
        claims = (await ask(rig, want=1000))["claims"]
        assert len(claims) == 1000
        answer = await ask(rig, 2, want=0, closings=[closing(one, output="x" * 200) for one in claims])
        assert statuses(answer) == [200] * 1000
