"""Unclaimed tasks over HTTP: shown as drift, in no endpoints, adopted or stopped by an operator's word."""

import asyncio
from dataclasses import replace

import pytest

from harpoon.model.task import TaskState
from tests.api.rig import Rig, a_rig
from tests.builders import CLUSTER, a_link, a_placement, a_task, an_agent

NEXT = 1_900_000_000


async def a_restored(rig: Rig, *, slot: int = 1) -> str:
    """A job of two slots, both placed in this life, and a task of an earlier one in one of them; return its id."""
    await rig.put(scale=2)
    job = rig.view.jobs.rows["default/web"].value
    placed = [a_placement(slot=at, incarnation=NEXT, revision=9, generation=job.generation) for at in range(2)]
    nobodys = a_task(
        a_placement(slot=slot, revision=4, generation=job.generation),
        state=TaskState.UNCLAIMED,
        reported=TaskState.RUNNING,
        ports={"http": 8000},
    )
    await rig.write(an_agent(), a_link(), *placed, *map(a_task, placed), nobodys)
    return nobodys.id


async def test_it_is_shown_with_what_its_agent_reports_and_counts_as_drift() -> None:
    async with a_rig(incarnation=NEXT) as rig:
        task = await a_restored(rig)
        shown = (await rig.get(f"/v1/namespaces/default/tasks/{task}")).json
        assert (shown["state"], shown["reported"], shown["ready"]) == ("unclaimed", "running", False)
        assert (await rig.get("/v1/status")).json["tasks"]["unclaimed"] == 1
        (group,) = (await rig.get("/v1/waiting")).json["items"]
        assert (group["subjects"], group["count"]) == ([f"task/{task}"], 1)
        endpoints = (await rig.get("/v1/namespaces/default/jobs/web/endpoints")).json["endpoints"]
        assert task not in [one["task"] for one in endpoints]
        assert len(endpoints) == 2
        status = (await rig.get("/v1/namespaces/default/jobs/web/status")).json
        assert (status["summary"], status["is_done"]) == ("2/2 ready", True)
        assert task in [one["id"] for one in status["tasks"]]


async def test_it_never_serves_even_if_a_record_says_that_it_is_ready() -> None:
    async with a_rig(incarnation=NEXT) as rig:
        task = await a_restored(rig)
        row = rig.view.task(task).value
        await rig.write(replace(row, ready=True))
        endpoints = (await rig.get("/v1/namespaces/default/jobs/web/endpoints")).json["endpoints"]
        assert task not in [one["task"] for one in endpoints]


async def test_unclaimed_tasks_that_do_different_things_are_one_group() -> None:
    async with a_rig(incarnation=NEXT) as rig:
        first, second = await a_restored(rig), a_placement(slot=7)
        await rig.write(
            a_task(second, state=TaskState.UNCLAIMED, reported=TaskState.FAILED, reason="failed since then")
        )
        (group,) = (await rig.get("/v1/waiting")).json["items"]
        assert set(group["subjects"]) == {f"task/{first}", f"task/{second.task}"}


async def test_adopting_puts_its_placement_and_takes_the_others_of_the_slot_in_one_revision() -> None:
    async with a_rig(incarnation=NEXT) as rig:
        task = await a_restored(rig)
        before = rig.view.revision
        answer = await rig.ask("POST", f"/v1/namespaces/default/tasks/{task}/adopt", {})
        assert (answer.status, answer.json["task"]) == (202, task)
        assert answer.headers["Harpoon-Revision"] == answer.json["revision"] == f"{NEXT}.{before + 1}"
        placed = {row.value.slot: row.value for row in rig.view.placements_of("default/web").values()}
        assert placed[1].task == task
        assert (placed[1].agent, placed[1].version, placed[1].reason) == ("a1", 1, "adopted by an operator")
        assert placed[0].incarnation == NEXT
        # What is being decided of the job as it was compares that, and fails.
        assert rig.view.jobs.rows["default/web"].mod_revision == before + 1
        assert rig.view.jobs.rows["default/web"].value.version == 1
        assert answer.json["change"] == (await rig.get("/v1/namespaces/default/jobs/web")).json["status"]["change"]
        assert (await rig.get(f"/v1/changes/{answer.json['change']}")).status == 200


async def test_stopping_leaves_a_word_beside_the_task() -> None:
    async with a_rig(incarnation=NEXT) as rig:
        task = await a_restored(rig)
        answer = await rig.ask("POST", f"/v1/namespaces/default/tasks/{task}/stop", {})
        assert (answer.status, answer.json) == (202, {"revision": answer.json["revision"], "task": task})
        assert rig.view.disowned.rows[f"a1/{task}"].value.task == task
        for verb in ("stop", "adopt"):
            again = await rig.ask("POST", f"/v1/namespaces/default/tasks/{task}/{verb}", {})
            assert (again.status, "is being stopped already" in again.json["detail"]) == (409, True)


@pytest.mark.parametrize("verb", ["adopt", "stop"])
async def test_asked_twice_under_one_key_it_is_done_once_and_told_twice(verb: str) -> None:
    async with a_rig(incarnation=NEXT) as rig:
        task = await a_restored(rig)
        path = f"/v1/namespaces/default/tasks/{task}/{verb}"
        first = await rig.ask("POST", path, {}, Idempotency_Key="k")
        second = await rig.ask("POST", path, {}, Idempotency_Key="k")
        assert (first.status, first.json) == (second.status, second.json)
        assert second.headers["Idempotency-Replayed"] == "true"
        assert f"{NEXT}.{rig.view.revision}" == first.json["revision"]


@pytest.mark.parametrize("verb", ["adopt", "stop"])
async def test_of_two_operators_at_once_one_is_refused(verb: str) -> None:
    async with a_rig(incarnation=NEXT) as rig:
        task = await a_restored(rig)
        path = f"/v1/namespaces/default/tasks/{task}/"
        both = await asyncio.gather(rig.ask("POST", path + verb, {}), rig.ask("POST", path + "stop", {}))
        assert sorted(one.status for one in both) == [202, 409]


@pytest.mark.parametrize("verb", ["adopt", "stop"])
async def test_what_is_asked_wrongly_is_refused(verb: str) -> None:
    async with a_rig(incarnation=NEXT) as rig:
        task = await a_restored(rig)
        for path, body, status in (
            (f"default/tasks/web/{verb}", {}, 400),
            (f"default/tasks/default.web.9.1-1/{verb}", {}, 404),
            (f"other/tasks/{task}/{verb}", {}, 404),
            (f"default/tasks/default.web.0.{NEXT}-9/{verb}", {}, 409),
            (f"default/tasks/{task}/{verb}", {"force": True}, 400),
        ):
            answer = await rig.ask("POST", f"/v1/namespaces/{path}", body)
            assert answer.status == status, (path, answer.body)
        assert rig.view.task(task).value.cluster == CLUSTER
