"""Batch jobs by way of the doors: declared, shown with what came of each slot, explained, and refused what is not theirs."""

from typing import Any

import pytest

from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.rollout import Witness
from harpoon.model.task import TaskState
from tests.api.rig import a_rig
from tests.builders import T0, a_link, a_placement, a_task, a_task_id, an_agent

JOB = "/v1/namespaces/default/jobs/web"
TASKS = "/v1/namespaces/default/tasks"


def a_batch(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Job",
        "metadata": {"name": "web"},
        "spec": {"type": "batch", "task": {"command": ["work"]}, **spec},
    }


def a_result(slot: int = 0, *, is_complete: bool = True, **fields: Any) -> SlotResult:
    given = {"attempts": 1, "task": a_task_id(slot=slot), "agent": "a1", "at_ms": T0} | fields
    return SlotResult(slot=slot, is_complete=is_complete, **given)


def a_record(*results: SlotResult, **fields: Any) -> BatchRecord:
    return BatchRecord(namespace="default", job="web", version=1, results=results, **fields)


async def test_a_batch_job_is_shown_as_it_was_declared_and_how_far_it_is() -> None:
    async with a_rig() as rig:
        manifest = a_batch(completions=3, parallel=1, keep="2h")
        assert (await rig.ask("PUT", JOB, manifest)).status == 202
        shown = (await rig.ask("GET", JOB)).json
        assert (shown["spec"]["completions"], shown["spec"]["scale"], shown["spec"]["keep"]) == (3, 3, "2h")
        assert shown["spec"]["task"]["restart"]["policy"] == "never"
        assert (shown["status"]["state"], shown["status"]["summary"]) == ("pending", "0/3 complete")
        assert shown["status"]["waiting"] == ["3 of 3 slots wait for their turn: parallel is 1"]
        assert (await rig.ask("PUT", JOB, manifest)).status == 200
        same = {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": "web"}, "spec": shown["spec"]}
        assert (await rig.ask("PUT", JOB, same)).status == 200, "what is shown is what may be declared"


async def test_what_came_of_its_slots_is_told_by_its_status() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", JOB, a_batch(completions=3))
        running = a_placement(slot=1)
        failed = a_result(2, is_complete=False, exit_code=3, reason="exited 3")
        await rig.write(running, a_task(running), a_record(a_result(exit_code=0), failed))
        told = (await rig.ask("GET", f"{JOB}/status")).json
        assert (told["state"], told["summary"], told["failed"]) == ("running", "1/3 complete, 1 failed", 1)
        assert [(one["slot"], one["is_complete"], one["exit_code"]) for one in told["batch"]["results"]] == [
            (0, True, 0),
            (2, False, 3),
        ]
        listed = (await rig.ask("GET", "/v1/jobs")).json["items"][0]["status"]["batch"]
        assert (listed["complete"], listed["results"]) == (1, [])


async def test_how_it_failed_is_told_by_its_status_its_change_and_why() -> None:
    async with a_rig() as rig:
        change = (await rig.ask("PUT", JOB, a_batch())).json["change"]
        witness = Witness(task=a_task_id(), agent="a1", state=TaskState.FAILED, exit_code=3, log=("disk full",))
        failed = a_result(is_complete=False, exit_code=3)
        await rig.write(
            a_record(failed, outcome=Ending.FAILED, ended_ms=T0, reason="no attempts left", witness=witness)
        )
        status = (await rig.ask("GET", JOB)).json["status"]
        assert (status["state"], status["is_done"], status["waiting"]) == ("failed", False, ["no attempts left"])
        assert status["batch"]["witness"]["log"] == ["disk full"]
        assert status["batch"]["removed_ms"] == T0 + 24 * 3600 * 1000
        told = (await rig.ask("GET", f"/v1/changes/{change}")).json
        assert (told["state"], told["summary"]) == ("failed", "no attempts left")
        (cause,) = (await rig.ask("GET", f"{JOB}/why")).json["causes"]
        assert (cause["code"], cause["evidence"]["exit_code"]) == ("batch_failed", 3)


async def test_why_answers_for_each_slot_be_it_complete_or_waiting_for_its_turn() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", JOB, a_batch(completions=3, parallel=1))
        running, done = a_placement(slot=1), a_placement(slot=0)
        finished = a_task(done, state=TaskState.FINISHED, reason="exited 0")
        await rig.write(an_agent(), a_link(), running, a_task(running), finished, a_record(a_result()))
        complete = (await rig.ask("GET", f"{TASKS}/default.web.0/why")).json
        assert (complete["is_fine"], complete["causes"][0]["code"]) == (True, "complete")
        waiting = (await rig.ask("GET", f"{TASKS}/default.web.2/why")).json
        assert (waiting["causes"][0]["code"], waiting["causes"][0]["evidence"]["parallel"]) == ("parallel", 1)
        kept = (await rig.ask("GET", f"{TASKS}/{done.task}/why")).json
        assert kept["is_fine"]
        assert "noted" in [one["code"] for one in kept["causes"]]
        assert (await rig.ask("GET", f"{TASKS}/default.web.1/why")).status == 404
        await rig.write(a_record(a_result(), a_result(2, is_complete=False, exit_code=3, reason="exited 3")))
        spent = (await rig.ask("GET", f"{TASKS}/default.web.2/why")).json
        assert (spent["is_fine"], spent["state"], spent["causes"][0]["code"]) == (False, "failed", "spent")
        assert spent["causes"][0]["sentence"].endswith("on a1 failed with exit code 3: exited 3")
        assert (await rig.ask("GET", f"{TASKS}/default.web.3/why")).status == 404
        await rig.write(a_record(a_result(), a_result(1), a_result(2), outcome=Ending.SUCCEEDED, ended_ms=T0))
        assert [one["code"] for one in (await rig.ask("GET", f"{JOB}/why")).json["causes"]] == ["succeeded"]


async def test_its_end_is_among_its_events_and_that_a_noted_task_goes_is_not() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", JOB, a_batch())
        done = a_placement()
        await rig.write(done, a_task(done, state=TaskState.FINISHED))
        await rig.write(a_record(a_result()))
        await rig.write(a_record(a_result(), outcome=Ending.SUCCEEDED, ended_ms=T0), gone=[done])
        events = [one["event"] for one in (await rig.ask("GET", f"{JOB}/events")).json["items"]]
        assert events == ["scheduled", "placed", "finished", "succeeded"]
        await rig.write(a_record(a_result(is_complete=False), outcome=Ending.FAILED, ended_ms=T0, reason="so it is"))
        last = (await rig.ask("GET", f"{JOB}/events")).json["items"][-1]
        assert (last["event"], last["detail"]) == ("failed", "so it is")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"update": {"surge": 3}}, "update is for services"),
        ({"completions": 2, "scale": 5}, "a batch job says completions"),
        ({"task": {"command": ["work"], "restart": {"policy": "always"}}}, "always would never let a batch job end"),
    ],
)
async def test_what_is_for_services_is_refused_with_its_place(spec: dict[str, Any], message: str) -> None:
    async with a_rig() as rig:
        refused = await rig.ask("PUT", JOB, a_batch(**spec))
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, "/spec")
        assert message in refused.json["errors"][0]["detail"]


async def test_a_batch_job_cannot_be_scaled_nor_planned_to_be_applied() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", JOB, a_batch(completions=2))
        refused = await rig.ask("POST", f"{JOB}/scale", {"scale": 5})
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, "/scale")
        refused = await rig.ask("POST", "/v1/plan/promise", {"documents": [a_batch()]})
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, "/documents/0/spec/type")
        assert (await rig.ask("POST", "/v1/plan", {"documents": [a_batch()]})).status == 200
