"""Repairing runs over HTTP: what is parked, what is done anew, what is closed by hand, and what is refused."""

from typing import Any

from harpoon.control.ledger_records import Place, shard_of
from harpoon.kit import codec
from harpoon.model.run import Status
from harpoon.model.run_shown import RunObject
from harpoon.model.tombstone import Tombstone
from harpoon.store.port import Put
from tests.api.runs_rig import RUNS, Worker, a_runs_rig, declare, start
from tests.api.test_runs import detail, why
from tests.workflows import a_workflow

OPERATIONS: dict[str, dict[str, Any]] = {
    "pay": {"worker": "x", "labels": ["odd"], "next": {"done": "tell", "odd": "check"}},
    "tell": {"worker": "x"},
    "check": {"worker": "x"},
}
PARKED = a_workflow(**OPERATIONS)
PARKED["spec"]["on_failure"] = "park"
ENDING = a_workflow(**OPERATIONS)


async def test_what_is_parked_is_listed_explained_and_skipped() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, PARKED)
        await start(rig, workflow="flow")
        await start(rig, "o-2", workflow="flow")
        worker = Worker(rig, "x")
        claims = [await worker.claim(), await worker.claim()]
        await worker.close(next(one for one in claims if one["run"] == "o-1"), "fail", error="no funds")
        told = await detail(rig)
        assert (told["status"], told["incidents"], told["repairs"]) == ("running", 1, 0)
        [parked] = told["parked"]
        assert (parked["op"], parked["visit"], parked["label"], parked["error"]) == ("pay", 1, "fail", "no funds")
        listed = (await rig.get(f"{RUNS}?parked=true")).json["items"]
        assert [(one["id"], one["incidents"]) for one in listed] == [("o-1", 1)]
        reason = (await why(rig))["causes"][0]
        assert reason["code"] == "incident"
        assert reason["sentence"].startswith("pay closed as fail, which no edge takes: no funds; it is parked since")
        metrics = (await rig.get("/metrics")).body.decode()
        assert "harpoon_runs_parked 1.0" in metrics
        assert "harpoon_runs_open 2.0" in metrics
        skipped = await rig.ask("POST", f"{RUNS}/o-1/skip", {"op": "pay", "by": "ann", "reason": "paid by hand"})
        codec.load(RunObject, skipped.body)
        assert (skipped.status, skipped.json["incidents"], skipped.json["repairs"]) == (200, 0, 1)
        assert [one["op"] for one in (await detail(rig))["visits"] if one["state"] == "ready"] == ["tell"]


async def test_a_run_that_has_failed_is_retried_once_for_one_idempotency_key() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ENDING)
        await start(rig, workflow="flow")
        worker = Worker(rig, "x")
        await worker.close(await worker.claim(), "fail", error="no funds")
        assert (await detail(rig))["status"] == "failed"
        for _ in range(2):
            told = await rig.ask("POST", f"{RUNS}/o-1/retry", {"from": "pay", "by": "ann"}, Idempotency_Key="k1")
            assert (told.status, told.json["status"], told.json["repairs"]) == (200, "running", 1), told.body
        after = await detail(rig)
        assert after["measures"]["attempts"]["bound"] == 2 * (await bound(rig))
        assert after["measures"]["ends_after_ms"]["bound"] == after["deadline_ms"] - after["created_ms"]
        await worker.close(await worker.claim())
        await worker.close(await worker.claim())
        assert (await detail(rig))["status"] == "succeeded"
        again = await rig.ask("POST", f"{RUNS}/o-1/retry", {"from": "tell"})
        assert (again.json["status"], again.json["repairs"]) == ("running", 2)


async def bound(rig: Any) -> int:
    return int((await rig.get("/v1/namespaces/default/workflows/flow")).json["bounds"]["attempts"]["most"])


async def test_a_visit_is_set_and_what_it_leads_to_is_opened() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ENDING)
        await start(rig, workflow="flow")
        told = await rig.ask("POST", f"{RUNS}/o-1/set", {"op": "pay", "label": "odd", "output": {"n": 1}, "visit": 1})
        assert told.status == 200, told.body
        visits = (await detail(rig))["visits"]
        assert [(one["op"], one["label"]) for one in visits] == [("pay", "odd"), ("check", None)]
        attempts = (await rig.get(f"{RUNS}/o-1/attempts")).json["items"]
        assert attempts[0]["output"] == {"n": 1}


async def test_what_cannot_be_repaired_is_refused_and_says_why() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ENDING)
        await start(rig, workflow="flow")
        for path, body, status, told in (
            ("retry", {"from": "x"}, 400, "workflow flow has no operation 'x'"),
            ("retry", {"from": "tell"}, 409, "tell was never opened in this run"),
            ("retry", {}, 400, "/from"),
            ("set", {"op": "pay", "label": "even"}, 400, "pay is not closed as 'even'; it offers done, fail, odd"),
            ("set", {"op": "pay", "output": "x" * 70_000}, 400, "output_max of pay is 65536"),
            ("skip", {"op": "pay", "visit": 3}, 409, "visit 3 of pay was never opened"),
            ("skip", {"op": "pay", "reason": "x" * 1001}, 400, "reason has at most 1000 characters"),
            ("skip", {"op": "pay", "by": "x" * 201}, 400, "by has at most 200 characters"),
        ):
            answer = await rig.ask("POST", f"{RUNS}/o-1/{path}", body)
            assert answer.status == status, answer.body
            assert told in answer.body.decode()
        missing = await rig.ask("POST", f"{RUNS}/o-9/retry", {"from": "pay"})
        assert (missing.status, "there is no run o-9" in missing.body.decode()) == (404, True)


async def test_a_run_is_forked_once_and_both_stay() -> None:
    manifest = a_workflow(**OPERATIONS)
    manifest["spec"]["inputs"] = {"n": {"type": "integer", "default": 1}}
    manifest["spec"]["operations"]["tell"] = {"worker": "x", "input": "${inputs.n}"}
    async with a_runs_rig() as rig:
        await declare(rig, manifest)
        await start(rig, workflow="flow", tags={"team": "shop"})
        worker = Worker(rig, "x")
        paid = await worker.claim()
        await worker.close(paid, output={"id": 1})
        open_ = await worker.claim()
        order = {"from": "tell", "id": "o-1b", "inputs": {"n": 5}, "reason": "wrong number"}
        told = [await rig.ask("POST", f"{RUNS}/o-1/fork", order) for _ in range(2)]
        assert [one.status for one in told] == [201, 200], told[0].body
        assert (told[0].json["forked_from"], told[0].json["inputs"], told[0].json["tags"]) == (
            "o-1", {"n": 5}, {"team": "shop"},
        )  # fmt: skip
        assert (await detail(rig))["status"] == "running"
        forked = await detail(rig, "o-1b")
        assert [(one["op"], one["visit"], one["label"]) for one in forked["visits"]] == [
            ("pay", 1, "done"), ("tell", 1, "cancelled"), ("tell", 2, None),
        ]  # fmt: skip
        claim = await worker.claim()
        assert (claim["run"], claim["op"], claim["visit"], claim["input"]) == ("o-1b", "tell", 2, 5)
        await worker.close(claim)
        await worker.close(open_)
        assert [(await detail(rig, run))["status"] for run in ("o-1", "o-1b")] == ["succeeded"] * 2
        made = [await rig.ask("POST", f"{RUNS}/o-1/fork", {"from": "pay"}, Idempotency_Key="k1") for _ in range(2)]
        assert [one.status for one in made] == [201, 200]
        assert made[0].json["id"] == made[1].json["id"]
        for body, status, why_ in (
            ({"from": "pay", "id": "o-1b"}, 422, "was started by another request"),
            ({"from": "pay", "id": "o-1"}, 422, "was started by another request"),
            ({"from": "check"}, 409, "check was never opened"),
            ({"from": "pay", "id": "a~b"}, 400, "/id"),
            ({"from": "pay", "id": "export"}, 400, "/id"),
            ({"from": "pay", "inputs": {"n": "x"}}, 400, "/inputs/n"),
        ):
            answer = await rig.ask("POST", f"{RUNS}/o-1/fork", body)
            assert (answer.status, why_ in answer.body.decode()) == (status, True), answer.body
        assert (await rig.ask("POST", f"{RUNS}/o-9/fork", {"from": "pay"})).status == 404


async def test_what_is_not_kept_any_more_is_refused_by_that() -> None:
    async with a_runs_rig() as rig:
        key = "default/o-7"
        gone = Tombstone(body_hash="h", status=Status.FAILED, purged_ms=1)
        await rig.store.commit((), [Put(Place.of(shard_of(key)).gone + key, codec.dump(gone))])
        for path, body in (("retry", {"from": "a"}), ("set", {"op": "a"}), ("fork", {"from": "a"}), ("move", {})):
            answer = await rig.ask("POST", f"{RUNS}/o-7/{path}", body)
            assert (answer.status, "run o-7 has failed, and is not kept any more" in answer.body.decode()) == (
                410,
                True,
            )
