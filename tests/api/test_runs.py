"""Runs over HTTP: started once, listed, shown visit by visit, explained, told things, waited for."""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from harpoon.control.ledger_records import RUNS as LEDGER
from harpoon.control.ledger_records import fixed_part, header_record, prefix_of, run_key, shard_of
from harpoon.kit import codec
from harpoon.model.header import Header
from harpoon.model.run import Status
from harpoon.model.run_orders import RunsStarted, SignalDelivery, SignalTaken
from harpoon.model.run_shown import RunDetail, RunList, RunObject
from harpoon.model.visit_shown import AttemptList
from harpoon.model.why import Why
from harpoon.store.port import Put
from tests.api.rig import Rig
from tests.api.runs_rig import NAMESPACE, ORDER, PLAIN, RUNS, WORKFLOWS, Worker, a_runs_rig, declare, start
from tests.api.telling import as_problem
from tests.workflows import REFUND, a_workflow

KEYED: dict[str, Any] = a_workflow(
    wait_paid={"wait": {"signal": "paid", "key": "${run.id}"}, "labels": ["late"], "next": {"late": "tell"}},
    tell={"worker": "mail.send"},
)
JOINED: dict[str, Any] = a_workflow(a={"worker": "x"}, b={"worker": "y"}, both={"worker": "z", "needs": ["a", "b"]})


async def detail(rig: Rig, run: str = "o-1", query: str = "") -> dict[str, Any]:
    answer = await rig.get(f"{RUNS}/{run}{query}")
    assert answer.status == 200, answer.body
    codec.load(RunDetail, answer.body)
    return dict(answer.json)


async def why(rig: Rig, run: str = "o-1") -> dict[str, Any]:
    answer = await rig.get(f"{RUNS}/{run}/why")
    assert answer.status == 200, answer.body
    codec.load(Why, answer.body)
    return dict(answer.json)


async def to_human(rig: Rig, worker: Worker) -> None:
    """Bring a refund to where a person is waited for."""
    for _ in range(3):
        await worker.close(await worker.claim(), "fail", error="no funds", retryable=False)
        if (await detail(rig))["visits"][-1]["op"] == "ask_human":
            break
    await worker.close(await worker.claim(), "done")


async def test_a_run_goes_from_its_start_to_its_end() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        begun = await start(rig, tags={"cause": "test"})
        assert begun.status == 201, begun.body
        codec.load(RunObject, begun.body)
        worker = Worker(rig, "payments.refund", "mail.send")
        paid = await worker.claim()
        assert (paid["op"], paid["input"]) == ("pay_back", {"order": "o-1", "amount": 20.5})
        await worker.close(paid, output={"id": "r-9"})
        await worker.close(await worker.claim())
        told = await detail(rig)
        assert (told["status"], told["outputs"], told["tags"]) == ("succeeded", {"refund": "r-9"}, {"cause": "test"})
        assert [(one["op"], one["visit"], one["state"], one["label"], one["worker"]) for one in told["visits"]] == [
            ("pay_back", 1, "closed", "done", "w1"),
            ("tell", 1, "closed", "done", "w1"),
        ]
        measures = told["measures"]
        assert measures["attempts"]["actual"] == 2
        assert measures["attempts"]["bound"] >= 2
        assert measures["ends_after_ms"]["bound"] == 86_400_000
        assert 0 < measures["bytes"]["actual"] <= measures["bytes"]["bound"]
        skipped = [one["op"] for one in told["operations"] if one["is_skipped"]]
        assert skipped == ["ask_human", "wait_human", "incident"]


async def test_the_same_start_is_one_run_and_another_under_its_id_is_refused() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        assert (await start(rig)).status == 201
        again = await start(rig)
        assert (again.status, again.json["id"]) == (200, "o-1")
        told = as_problem(await start(rig, tags={"a": "b"}), 422, "id_reused")
        assert "was started by another request" in told["detail"]
        await rig.ask("POST", f"{RUNS}/o-1/cancel", {})
        assert (await start(rig)).json["status"] == "cancelled"


async def test_the_same_start_is_one_run_however_it_is_spelled() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        spellings: list[dict[str, Any]] = [
            {"deadline": "60m"},
            {"deadline": "1h", "inputs": {}},
            {"deadline": "3600s", "tags": {}, "generation": None},
        ]
        told = [await rig.ask("POST", RUNS, {"workflow": "flow", "id": "o-1", **one}) for one in spellings]
        assert [one.status for one in told] == [201, 200, 200]
        other = await rig.ask("POST", RUNS, {"workflow": "flow", "id": "o-1", "deadline": "59m"})
        as_problem(other, 422, "id_reused")


async def test_an_idempotency_key_makes_the_id_of_a_start_that_has_none() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        body = {"workflow": "refund", "inputs": ORDER}
        first = await rig.ask("POST", RUNS, body, Idempotency_Key="k1")
        again = await rig.ask("POST", RUNS, body, Idempotency_Key="k1")
        other = await rig.ask("POST", RUNS, body, Idempotency_Key="k2")
        assert (first.status, again.status, other.status) == (201, 200, 201)
        assert first.json["id"] == again.json["id"] != other.json["id"]
        assert (await rig.ask("POST", RUNS, body | {"tags": {"a": "b"}}, Idempotency_Key="k1")).status == 422
        fresh = [(await rig.ask("POST", RUNS, body)).json["id"] for _ in range(2)]
        assert fresh[0] != fresh[1]


@pytest.mark.parametrize(
    ("sent", "status", "pointer"),
    [
        ({"id": "a/b"}, 400, "/id"),
        ({"id": "export"}, 400, "/id"),
        ({"inputs": {"order": 1, "amount": 2}}, 400, "/inputs/order"),
        ({"inputs": {"order": "a"}}, 400, "/inputs/amount"),
        ({"deadline": "25h"}, 400, "/deadline"),
        ({"when": 1}, 400, "/when"),
        ({"workflow": "nothing"}, 404, None),
        ({"generation": "no"}, 412, None),
    ],
)
async def test_a_start_that_cannot_be_is_refused(sent: dict[str, Any], status: int, pointer: str | None) -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        answer = await rig.ask("POST", RUNS, {"workflow": "refund", "inputs": ORDER, **sent})
        assert answer.status == status, answer.body
        assert pointer is None or [one["pointer"] for one in answer.json["errors"]] == [pointer]
        assert (await rig.get(RUNS)).json["items"] == []


async def test_many_starts_are_answered_each_for_itself() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        starts = [{"id": f"r{number}", "workflow": "flow"} for number in range(100)]
        starts[7] = {"id": "r7", "workflow": "nothing"}
        starts[8] = {"id": "r8", "workflow": "flow", "inputs": {"no": 1}}
        starts[9] = {"id": "export", "workflow": "flow"}
        answer = await rig.ask("POST", RUNS, {"runs": starts})
        assert answer.status == 200, answer.body
        codec.load(RunsStarted, answer.body)
        results = answer.json["results"]
        assert [one["status"] for one in results] == [201] * 7 + [404, 400, 400] + [201] * 90
        assert results[8]["problem"]["errors"][0]["pointer"] == "/runs/8/inputs/no"
        assert results[99]["run"]["id"] == "r99"
        again = (await rig.ask("POST", RUNS, {"runs": starts[10:]})).json["results"]
        assert {one["status"] for one in again} == {200}
        as_problem(await rig.ask("POST", RUNS, {"runs": []}), 400, "invalid")


async def test_runs_are_listed_the_latest_first_and_chosen() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await declare(rig, PLAIN)
        await start(rig, "o-1", tags={"team": "a"})
        await start(rig, "o-2", workflow="flow")
        await rig.ask("POST", f"{RUNS}/o-2/cancel", {"reason": "enough"})

        async def ids(query: str = "") -> list[str]:
            answer = await rig.get(f"{RUNS}{query}")
            assert answer.status == 200, answer.body
            codec.load(RunList, answer.body)
            return [one["id"] for one in answer.json["items"]]

        assert sorted(await ids()) == ["o-1", "o-2"]
        assert await ids("?status=running") == ["o-1"]
        assert await ids("?status=running&status=cancelled&workflow=flow") == ["o-2"]
        assert await ids("?tag=team=a") == ["o-1"]
        assert await ids("?workflow=none") == []
        assert len((await rig.get("/v1/runs")).json["items"]) == 2
        assert (await rig.get("/v1/namespaces/shop/runs")).json["items"] == []
        page = (await rig.get(f"{RUNS}?limit=1")).json
        assert (len(page["items"]), page["remaining"]) == (1, 1)
        assert len(await ids(f"?limit=1&continue={page['continue']}")) == 1
        as_problem(await rig.get(f"{RUNS}?status=lost"), 400, "invalid")


async def put_many(rig: Rig, count: int) -> list[Header]:
    """Put the headers of many runs into the store, begun a second after each other, and some at once."""
    made = [
        Header(
            namespace="default" if number % 10 else "shop",
            run=f"r-{number}",
            workflow=("refund", "flow")[number % 2],
            generation="g",
            body_hash="h",
            # What is asked for may stand there as well.
            inputs={"workflow": "refund", "status": "failed", "created_ms": 5},
            tags={"team": "ab"[number % 3 == 0]},
            created_ms=1_700_000_000_000 + 1_000 * (number // 2),
            deadline_ms=1_800_000_000_000,
            status=(Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)[number % 7 % 3],
            ended_ms=1_700_000_500_000,
        )
        for number in range(count)
    ]
    puts = []
    for header in made:
        key = run_key(header.namespace, header.run)
        record = header_record(fixed_part(header), {"status": header.status.value, "ended_ms": header.ended_ms})
        puts.append(Put(f"{prefix_of(LEDGER, shard_of(key))}{key}", record))
    for start_ in range(0, count, 100):
        assert await rig.store.commit((), tuple(puts[start_ : start_ + 100])) is not None
    return made


async def test_a_span_that_holds_nothing_is_refused_with_what_is_right() -> None:
    async with a_runs_rig(shards=()) as rig:
        for query, where, said in (
            ("since=-1h&until=-2h", "?until", "it is not after since, so there is nothing between them"),
            (
                "since=yesterday",
                "?since",
                "write a time such as 2026-01-31T12:00:00Z, or how long ago, such as -10m; got",
            ),
            ("until=1.42", "?until", "write a time such as 2026-01-31T12:00:00Z, or how long ago, such as -10m; got"),
        ):
            told = as_problem(await rig.get(f"{RUNS}?{query}"), 400, "invalid")
            (fault,) = told["errors"]
            assert (fault["pointer"], fault["detail"].startswith(said)) == (where, True), fault


async def test_among_many_runs_those_that_are_asked_for_are_found() -> None:
    async with a_runs_rig(shards=()) as rig:
        made = await put_many(rig, 3_000)
        first = made[0].created_ms

        def of(**chosen: Any) -> list[str]:
            found = [
                one
                for one in made
                if one.namespace == "default"
                and chosen.get("workflow", one.workflow) == one.workflow
                and one.status.value in chosen.get("status", (one.status.value,))
                and chosen.get("team", one.tags["team"]) == one.tags["team"]
                and chosen.get("since", 0) <= one.created_ms < chosen.get("until", 1 << 60)
            ]
            return [one.run for one in sorted(found, key=lambda one: (-one.created_ms, one.run))]

        async def ids(query: str) -> list[str]:
            answer = await rig.get(f"{RUNS}?{query}")
            assert answer.status == 200, answer.body
            return [one["id"] for one in answer.json["items"]]

        def at(seconds: int) -> str:
            return datetime.fromtimestamp(first / 1000 + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

        span = {"since": first + 100_000, "until": first + 200_000}
        began = time.process_time()
        assert await ids("workflow=flow") == of(workflow="flow")
        assert await ids("status=failed&status=cancelled") == of(status=("failed", "cancelled"))
        assert await ids(f"since={at(100)}&until={at(200)}") == of(**span)
        assert await ids(f"since={at(100)}&until={at(200)}&workflow=refund&tag=team=b&status=failed") == of(
            **span, workflow="refund", team="b", status=("failed",)
        )
        assert await ids("since=-1m") == []
        assert time.process_time() - began < 5
        page = (await rig.get(f"{RUNS}?until={at(200)}&limit=10")).json
        whole = of(until=first + 200_000)
        assert ([one["id"] for one in page["items"]], page["remaining"]) == (whole[:10], len(whole) - 10)
        more = (await rig.get(f"{RUNS}?until={at(200)}&limit=10&continue={page['continue']}")).json
        assert [one["id"] for one in more["items"]] == whole[10:20]
        as_problem(await rig.get(f"{RUNS}?since=1.42"), 400, "invalid")
        as_problem(await rig.get(f"{RUNS}?until=soon"), 400, "invalid")


async def test_a_run_that_is_not_there_is_404() -> None:
    async with a_runs_rig() as rig:
        for path in ("", "/attempts", "/why"):
            as_problem(await rig.get(f"{RUNS}/none{path}"), 404, "not_found")
        for action in ("cancel", "pause", "resume", "signals/decision"):
            as_problem(await rig.ask("POST", f"{RUNS}/none/{action}", {}), 404, "not_found")
        as_problem(await rig.get(f"{RUNS}/.no"), 400, "invalid")


async def test_a_signal_is_consumed_by_what_waits_for_it_and_kept_until_then() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        worker = Worker(rig, "payments.refund", "desk.ask", "mail.send")
        await to_human(rig, worker)
        assert (await detail(rig))["visits"][-1]["waits_for"] == "signal decision"
        sent = {"id": "d-1", "label": "rejected", "payload": {"by": "ann"}}
        answer = await rig.ask("POST", f"{RUNS}/o-1/signals/decision", sent)
        assert answer.status == 200, answer.body
        codec.load(SignalTaken, answer.body)
        assert answer.json["id"] == "d-1"
        told = await detail(rig)
        assert [(one["op"], one["label"]) for one in told["visits"]][-2:] == [
            ("wait_human", "rejected"),
            ("tell", None),
        ]
        attempts = await rig.get(f"{RUNS}/o-1/attempts")
        codec.load(AttemptList, attempts.body)
        wait = next(one for one in attempts.json["items"] if one["op"] == "wait_human")
        assert (wait["output"], wait["label"]) == ({"by": "ann"}, "rejected")
        assert (await rig.ask("POST", f"{RUNS}/o-1/signals/decision", sent)).status == 200
        assert (await detail(rig))["signals"] == []
        await rig.ask("POST", f"{RUNS}/o-1/signals/decision", {"label": "approved"}, Idempotency_Key="k")
        await rig.ask("POST", f"{RUNS}/o-1/signals/decision", {"label": "approved"}, Idempotency_Key="k")
        assert [one["label"] for one in (await detail(rig))["signals"]] == ["approved"]


async def test_a_signal_that_nothing_could_take_is_refused() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        told = as_problem(await rig.ask("POST", f"{RUNS}/o-1/signals/nothing", {}), 400, "invalid")
        assert told["errors"]
        as_problem(await rig.ask("POST", f"{RUNS}/o-1/signals/decision", {"id": ""}), 400, "invalid")
        as_problem(await rig.ask("POST", f"{RUNS}/o-1/signals/No", {}), 400, "invalid")


async def test_a_signal_with_a_key_goes_to_the_run_that_waits_for_it_with_that_key() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, KEYED)
        for run in ("r1", "r2"):
            await start(rig, run, workflow="flow")
        path = f"{NAMESPACE}/signals/paid"
        answer = await rig.ask("POST", f"{path}?key=r1", {"label": "late", "id": "s-1"})
        assert answer.status == 200, answer.body
        codec.load(SignalDelivery, answer.body)
        assert answer.json == {"id": "s-1", "run": "r1"}
        assert [one["op"] for one in (await detail(rig, "r1"))["visits"]] == ["wait_paid", "tell"]
        assert [one["op"] for one in (await detail(rig, "r2"))["visits"]] == ["wait_paid"]
        assert (await rig.ask("POST", f"{path}?key=r1", {})).json["run"] is None
        as_problem(await rig.ask("POST", path, {}), 400, "invalid")


async def test_a_run_is_paused_resumed_and_cancelled() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        await start(rig, workflow="flow")
        assert (await rig.ask("POST", f"{RUNS}/o-1/pause", {})).json["is_paused"] is True
        assert (await rig.ask("POST", f"{RUNS}/o-1/pause", {})).status == 200
        assert (await Worker(rig, "shop.pack").ask())["seq"] == 1
        assert (await why(rig))["causes"][0]["code"] == "run_paused"
        assert (await rig.ask("POST", f"{RUNS}/o-1/resume", {})).json["is_paused"] is False
        ended = await rig.ask("POST", f"{RUNS}/o-1/cancel", {"reason": "ordered twice"})
        assert (ended.json["status"], ended.json["reason"]) == ("cancelled", "ordered twice")
        assert (await rig.ask("POST", f"{RUNS}/o-1/cancel", {})).status == 200
        told = as_problem(await rig.ask("POST", f"{RUNS}/o-1/pause", {}), 409, "conflict")
        assert told["detail"] == "run o-1 is over: cancelled"
        as_problem(await rig.ask("POST", f"{RUNS}/o-1/signals/x", {}), 409, "conflict")


async def test_what_a_run_waits_for_is_told_apart() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        assert [one["code"] for one in (await why(rig))["causes"]] == ["no_worker"]
        worker = Worker(rig, "payments.refund", "desk.ask")
        claim = await worker.claim()
        told = (await why(rig))["causes"][0]
        assert (told["code"], told["evidence"]["worker"]) == ("claimed", "w1")
        await worker.ask(want=0)
        await start(rig, "o-2")
        assert (await why(rig, "o-2"))["causes"][0]["code"] == "workers_busy"
        await worker.close(claim, "fail", error="no funds")
        assert (await why(rig))["causes"][0]["code"] == "retry"
        shown = await why(rig)
        assert (shown["subject"], shown["state"], shown["is_fine"]) == ("run/o-1", "running", False)


async def test_a_join_tells_what_it_lacks() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, JOINED)
        await start(rig, workflow="flow")
        worker = Worker(rig, "x")
        await worker.close(await worker.claim())
        told = [one for one in (await why(rig))["causes"] if one["code"] == "join"]
        assert [one["sentence"] for one in told] == ["both waits for b; it has a"]


async def test_who_waits_for_a_run_is_answered_when_it_is_over() -> None:
    async with a_runs_rig() as rig, asyncio.TaskGroup() as group:
        await declare(rig, PLAIN)
        await start(rig, workflow="flow")
        one = group.create_task(detail(rig, query="?wait=30s"))
        revision = (await rig.get(RUNS)).json["revision"]
        every = group.create_task(rig.get(f"{RUNS}?wait=30s&after={revision}"))
        nowhere = group.create_task(rig.get(f"/v1/namespaces/shop/runs?wait=100ms&after={revision}"))
        await asyncio.sleep(0.05)
        worker = Worker(rig, "shop.pack")
        await worker.close(await worker.claim())
        assert (await one)["status"] == "succeeded"
        assert (await every).json["items"][0]["status"] == "succeeded"
        assert (await nowhere).json["items"] == []
        assert (await detail(rig, query="?wait=30s"))["status"] == "succeeded"
        assert (await detail(rig, query="?wait=1ms"))["status"] == "succeeded"


async def test_runs_that_have_ended_are_exported_with_their_logs() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        await start(rig, "r1", workflow="flow")
        await start(rig, "r2", workflow="flow")
        await rig.ask("POST", f"{RUNS}/r1/cancel", {})
        async with rig.session.get(rig.url(f"{RUNS}/export"), headers={"Accept": "application/x-ndjson"}) as response:
            lines = [json.loads(line) for line in (await response.read()).splitlines() if line]
        assert [(one["run"], one["status"]) for one in lines if "run" in one] == [("r1", "cancelled")]
        assert lines[0]["events"][0]["kind"] == "started"


async def test_a_workflow_that_is_deleted_has_its_runs_go_on() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        await start(rig, workflow="flow")
        assert (await rig.ask("DELETE", f"{WORKFLOWS}/flow")).status == 200
        as_problem(await start(rig, "o-2", workflow="flow"), 404, "not_found")
        worker = Worker(rig, "shop.pack")
        await worker.close(await worker.claim())
        assert (await detail(rig))["status"] == "succeeded"


async def test_a_run_goes_on_by_the_form_that_it_was_started_on() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await start(rig)
        changed = {**REFUND, "spec": {**REFUND["spec"], "deadline": "1h"}}
        await declare(rig, changed)
        await start(rig, "o-2")
        first, second = await detail(rig), await detail(rig, "o-2")
        assert first["generation"] != second["generation"]
        assert [one["measures"]["ends_after_ms"]["bound"] for one in (first, second)] == [86_400_000, 3_600_000]
