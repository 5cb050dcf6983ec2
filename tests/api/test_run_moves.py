"""Versions over HTTP: who changes a workflow is told of open runs; runs are moved, or stay and say why."""

import copy
from typing import Any

from harpoon.kit import codec
from harpoon.model.run_repairs import RunMoved
from harpoon.model.workflow_shown import WorkflowDeclared
from tests.api.rig import Rig
from tests.api.runs_rig import RUNS, WORKFLOWS, Worker, a_runs_rig, conducting, declare, start
from tests.api.test_runs import detail
from tests.workflows import a_workflow

OLD = a_workflow(pay={"worker": "x", "next": {"done": "tell"}}, tell={"worker": "z"})
NEW = copy.deepcopy(OLD)
NEW["spec"]["operations"]["tell"] = {"worker": "y", "next": {"done": "log"}}
NEW["spec"]["operations"]["log"] = {"worker": "y"}
#: It has no ``tell`` any more.
SHORT = a_workflow(pay={"worker": "x"})


async def put(rig: Rig, manifest: dict[str, Any], query: str = "") -> dict[str, Any]:
    answer = await rig.ask("PUT", f"{WORKFLOWS}/flow{query}", manifest)
    assert answer.status == 200, answer.body
    codec.load(WorkflowDeclared, answer.body)
    return dict(answer.json)


async def paid(rig: Rig, run: str) -> None:
    """Bring a run to where it tells."""
    worker = Worker(rig, "x", name=f"w-{run}")
    await start(rig, run, workflow="flow")
    await worker.close(await worker.claim())


async def test_who_changes_a_workflow_is_told_which_open_runs_could_be_moved() -> None:
    async with a_runs_rig() as rig:
        first = await put(rig, OLD)
        assert first["elder_runs"] == []
        for run in ("r1", "r2"):
            await paid(rig, run)
        await start(rig, "r3", workflow="flow")
        dry = await put(rig, SHORT, "?dry_run=true")
        done = await put(rig, SHORT)
        assert dry["elder_runs"] == done["elder_runs"]
        [elder] = done["elder_runs"]
        assert elder == {
            "generation": first["workflow"]["metadata"]["generation"],
            "runs": 3,
            "movable": 1,
            "examples": ["r3"],
            "staying": [
                {"because": ["operation tell, at which it stands, is gone"], "runs": 2, "examples": ["r1", "r2"]}
            ],
            "left_out": 0,
        }
        assert (await put(rig, SHORT))["elder_runs"] == []


async def test_a_run_is_moved_and_goes_on_by_the_new_form() -> None:
    async with a_runs_rig() as rig:
        old = (await put(rig, OLD))["workflow"]["metadata"]["generation"]
        await paid(rig, "o-1")
        new = (await put(rig, NEW))["workflow"]["metadata"]["generation"]
        dry = await rig.ask("POST", f"{RUNS}/o-1/move?dry_run=true", {})
        assert dry.json == {"run": "o-1", "before": old, "generation": new, "is_moved": False, "because": []}
        assert (await detail(rig))["generation"] == old
        for _ in range(2):
            told = await rig.ask("POST", f"{RUNS}/o-1/move", {"by": "ann"}, Idempotency_Key="k1")
            assert told.status == 200, told.body
            codec.load(RunMoved, told.body)
        assert told.json["is_moved"]
        after = await detail(rig)
        assert (after["generation"], [one["op"] for one in after["operations"]]) == (new, ["pay", "tell", "log"])
        assert after["measures"]["attempts"]["actual"] == 2
        # It is for those who offer the new handler now.
        other = Worker(rig, "z", name="w9")
        assert not (await other.ask(want=1)).get("claims")
        worker = Worker(rig, "y", name="w8")
        await worker.close(await worker.claim())
        await worker.close(await worker.claim())
        assert (await detail(rig))["status"] == "succeeded"
        listed = (await rig.get(RUNS)).json["items"]
        assert [one["generation"] for one in listed] == [new]


async def test_what_was_moved_goes_on_after_a_takeover_and_both_generations_are_kept() -> None:
    async with a_runs_rig(shards=()) as rig:
        async with conducting(rig):
            await put(rig, OLD)
            await paid(rig, "o-1")
            new = (await put(rig, NEW))["workflow"]["metadata"]["generation"]
            assert (await rig.ask("POST", f"{RUNS}/o-1/move", {})).status == 200
            await put(rig, SHORT)
        assert rig.doors.workflows is not None
        assert rig.doors.runs is not None
        assert await rig.doors.workflows.generations.sweep(rig.doors.runs.reader) == 0
        async with conducting(rig, loads=True):
            worker = Worker(rig, "y")
            claim = await worker.claim()
            assert (claim["run"], claim["op"]) == ("o-1", "tell")
            await worker.close(claim)
            assert [one["op"] for one in (await detail(rig))["visits"]] == ["pay", "tell", "log"]
            assert (await detail(rig))["generation"] == new
            # It is repaired by the form that it was moved to, and forked.
            await worker.close(await worker.claim())
            told = await rig.ask("POST", f"{RUNS}/o-1/retry", {"from": "log"})
            assert (told.status, told.json["generation"]) == (200, new), told.body
            forked = await rig.ask("POST", f"{RUNS}/o-1/fork", {"from": "log", "id": "o-2"})
            assert (forked.status, forked.json["generation"]) == (201, new), forked.body


async def test_what_cannot_be_moved_stays_and_says_why() -> None:
    async with a_runs_rig() as rig:
        await put(rig, OLD)
        await paid(rig, "o-1")
        before = await detail(rig)
        await put(rig, SHORT)
        for body, status, why in (
            ({}, 409, "operation tell, at which it stands, is gone"),
            ({"generation": "gone"}, 409, "generation gone of workflow flow is not kept"),
            ({"generation": before["generation"]}, 200, "o-1"),
        ):
            told = await rig.ask("POST", f"{RUNS}/o-1/move", body)
            assert (told.status, why in told.body.decode()) == (status, True), told.body
        dry = await rig.ask("POST", f"{RUNS}/o-1/move?dry_run=true", {})
        assert dry.json["because"] == ["operation tell, at which it stands, is gone"]
        await rig.ask("POST", f"{RUNS}/o-1/cancel", {})
        over = await rig.ask("POST", f"{RUNS}/o-1/move", {})
        assert (over.status, "is over" in over.body.decode()) == (409, True)
        assert (await rig.ask("POST", f"{RUNS}/o-9/move", {})).status == 404
        await declare(rig, NEW)


async def test_a_run_is_not_moved_to_what_calls_others_than_it_was_started_with() -> None:
    async with a_runs_rig() as rig:
        await put(rig, OLD)
        await paid(rig, "o-1")
        await declare(rig, {**SHORT, "metadata": {"name": "sub"}})
        calling = copy.deepcopy(NEW)
        calling["spec"]["operations"]["log"] = {"call": {"workflow": "sub"}}
        [elder] = (await put(rig, calling))["elder_runs"]
        [staying] = elder["staying"]
        assert staying["because"] == ["it calls workflow sub, which the run was not started with"]
        told = await rig.ask("POST", f"{RUNS}/o-1/move", {})
        assert (told.status, "it calls workflow sub" in told.body.decode()) == (409, True)
