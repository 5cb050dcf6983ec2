"""Reports over HTTP: what runs came to, how far they were looked into, and how all work stands."""

from typing import Any

import pytest

from harpoon.kit import codec
from harpoon.model.instance import Instance
from harpoon.model.report_shown import RunReport, WorkStats
from harpoon.store.memory import MemoryStore
from tests.api.rig import Rig, a_rig
from tests.api.runs_rig import NAMESPACE, PLAIN, RUNS, Worker, a_runs_rig, conducting, declare, start
from tests.api.telling import as_problem
from tests.workflows import a_workflow

REPORT = f"{NAMESPACE}/reports/runs"


async def told(rig: Rig, query: str = "", path: str = REPORT) -> RunReport:
    answer = await rig.get(f"{path}{query}")
    assert answer.status == 200, answer.body
    return codec.load(RunReport, answer.body)


async def test_runs_are_reported_by_workflow_operation_and_tag() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await declare(rig, PLAIN)
        worker = Worker(rig, "shop.pack")
        for number in range(4):
            await start(rig, f"f-{number}", workflow="flow", tags={"team": "ab"[number % 2]})
        for _ in range(2):
            await worker.close(await worker.claim())
        await worker.close(await worker.claim(), "fail", error="out of paper 12")
        await start(rig, "o-1")
        whole = await told(rig)
        assert (whole.runs, whole.counted, whole.looked_into, whole.is_whole) == (5, 5, 5, True)
        flow, refund = whole.groups
        assert (flow.key, flow.runs, dict(flow.counts)) == ("flow", 4, {"failed": 1, "running": 1, "succeeded": 2})
        assert (flow.visits, flow.attempts, flow.retries) == (4, 4, 0)
        assert flow.queue is not None and flow.queue.count == 3
        assert flow.took is not None and flow.took.count == 3
        assert flow.failures[0].count == 1
        assert (refund.key, dict(refund.counts)) == ("refund", {"running": 1})
        by_op = await told(rig, "?by=operation&workflow=flow")
        assert [(one.key, dict(one.counts)) for one in by_op.groups] == [
            ("flow/pack", {"done": 2, "fail": 1, "open": 1})
        ]
        assert by_op.groups[0].failures[0].reason == "out of paper 12"
        by_tag = await told(rig, "?by=tag&key=team")
        assert [(one.key, one.runs) for one in by_tag.groups] == [("a", 2), ("b", 2)]
        assert (await told(rig, "?since=-1h&tag=team=a")).runs == 2
        assert (await told(rig, "?until=-1h")).runs == 0
        assert (await told(rig, path="/v1/reports/runs")).runs == 5


async def test_a_long_run_is_looked_into_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.control.reports._SLICE", 1)
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        for number in range(3):
            await start(rig, f"f-{number}", workflow="flow")
        worker = Worker(rig, "shop.pack")
        await worker.close(await worker.claim())
        whole = await told(rig)
        assert (whole.looked_into, whole.groups[0].visits, whole.is_whole) == (3, 3, True)
        assert (await rig.get("/v1/stats")).json["operations"] == {"ready": 2}


async def test_a_report_says_how_far_it_came() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PLAIN)
        await start(rig, "f-1", workflow="flow")
        short = await told(rig, "?within=0s")
        assert (short.counted, short.looked_into, short.is_whole) == (1, 0, False)
        assert (short.groups[0].runs, short.groups[0].attempts) == (1, 0)
        assert short.counted_since_ms is not None and short.looked_into_since_ms is None


@pytest.mark.parametrize(
    "query",
    [
        "?by=day",
        "?by=tag",
        "?key=team",
        "?within=21s",
        "?within=soon",
        "?since=soon",
        "?workflow=.x",
        "?since=-1h&until=-2h",
    ],
)
async def test_what_cannot_be_reported_is_refused(query: str) -> None:
    async with a_runs_rig(shards=()) as rig:
        as_problem(await rig.get(REPORT + query), 400, "invalid")


async def test_all_work_is_counted() -> None:
    async with a_runs_rig() as rig:
        await declare(rig)
        await declare(rig, PLAIN)
        for number in range(3):
            await start(rig, f"f-{number}", workflow="flow")
        await start(rig, "o-1")
        worker = Worker(rig, "shop.pack")
        claim = await worker.claim()
        await worker.close(await worker.claim())

        async def stats() -> dict[str, Any]:
            answer = await rig.get("/v1/stats")
            assert answer.status == 200, answer.body
            codec.load(WorkStats, answer.body)
            return answer.json

        told_ = await stats()
        assert told_["runs"] == {"running": 3, "succeeded": 1}
        assert told_["operations"] == {"ready": 2, "running": 1}
        assert (told_["workers"], told_["unanswered"], told_["heard"]) == (1, [], [])
        assert told_["handlers"] == [
            {"namespace": "default", "handler": "payments.refund", "workers": 0, "ready": 1, "claimed": 0},
            {"namespace": "default", "handler": "shop.pack", "workers": 1, "ready": 1, "claimed": 1},
        ]
        await worker.close(claim)
        await declare(rig, {**a_workflow(nap={"wait": {"for": "1h"}}), "metadata": {"name": "nap"}})
        await start(rig, "n-1", workflow="nap")
        assert (await stats())["operations"]["waiting"] == 1
        await rig.ask("POST", f"{RUNS}/n-1/cancel", {})
        assert "waiting" not in (await stats())["operations"]


async def test_all_instances_are_counted_and_those_that_do_not_answer_are_named() -> None:
    store = MemoryStore()
    async with (
        a_rig(store=store, instance="s1", has_runs=True) as first,
        a_rig(store=store, instance="s2", has_runs=True) as second,
        conducting(second),
    ):
        for name, url in (("s1", first.doors.url), ("s2", second.doors.url), ("s3", "")):
            await first.write(Instance(name=name, url=url, version="1", since_ms=1))
        await declare(second, PLAIN)
        await start(second, "f-1", workflow="flow")
        await Worker(second, "shop.pack").claim()
        told_ = (await first.get("/v1/stats")).json
        assert (told_["runs"], told_["operations"], told_["workers"]) == ({"running": 1}, {"running": 1}, 1)
        assert told_["unanswered"] == ["s3"]


async def test_an_instance_that_does_no_work_says_so() -> None:
    async with a_rig() as rig:
        as_problem(await rig.get("/v1/stats"), 503, "unavailable")
