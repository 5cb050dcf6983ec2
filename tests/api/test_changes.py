"""Changes that can be waited for, and many documents in one commit."""

import asyncio

import pytest

from harpoon.model.job import Job
from harpoon.model.task import Placement
from tests.api.rig import Rig, a_manifest, a_rig
from tests.builders import a_placement, a_task

WEB = "/v1/namespaces/default/jobs/web"


async def a_change(rig: Rig) -> tuple[str, Placement]:
    """A job that waits for its one task, its change and the task's placement."""
    change = (await rig.put(scale=1)).json["change"]
    job: Job = rig.view.jobs.rows["default/web"].value
    placement = a_placement(generation=job.generation)
    await rig.write(placement)
    return change, placement


async def test_a_change_says_how_far_it_has_come_and_what_it_waits_for() -> None:
    async with a_rig() as rig:
        change, placement = await a_change(rig)
        told = (await rig.get(f"/v1/changes/{change}")).json
        assert (told["id"], told["namespace"], told["job"]) == (change, "default", "web")
        assert (told["state"], told["is_done"], told["summary"]) == ("progressing", False, "0/1 ready")
        assert told["waiting"] == [f"{placement.task} is placed on a1, which has not reported it yet"]


async def test_waiting_for_a_change_ends_when_it_is_done() -> None:
    async with a_rig() as rig:
        change, placement = await a_change(rig)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(rig.get(f"/v1/changes/{change}?wait=1m"))
            await rig.write(a_task(placement, ready=False))
            await rig.write(a_task(placement))
        assert waiting.result().json["state"] == "done"
        assert waiting.result().json["is_done"] is True


async def test_waiting_ends_when_another_change_takes_its_place() -> None:
    async with a_rig() as rig:
        change, _ = await a_change(rig)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(rig.get(f"/v1/changes/{change}?wait=1m"))
            await rig.put(scale=3)
        assert waiting.result().json["state"] == "superseded"


async def test_a_wait_that_is_over_answers_with_how_far_it_came() -> None:
    async with a_rig() as rig:
        change, _ = await a_change(rig)
        answer = await rig.get(f"/v1/changes/{change}?wait=20ms")
        assert (answer.status, answer.json["state"]) == (200, "progressing")


async def test_waiting_ends_when_the_instance_drains() -> None:
    async with a_rig() as rig:
        change, _ = await a_change(rig)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(rig.get(f"/v1/changes/{change}?wait=1m"))
            while "harpoon_http_stays 1.0" not in (await rig.get("/metrics")).body.decode():
                await asyncio.sleep(0)
            rig.doors.drain.set()
        assert (waiting.result().status, waiting.result().json["state"]) == (200, "progressing")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/changes/default.web.1-99", 404),
        ("/v1/changes/default.web.2-1", 404),
        ("/v1/changes/nonsense", 400),
        ("/v1/changes/default.web.1-1?wait=soon", 400),
        ("/v1/changes/default.web.1-1?wait=1h", 400),
        ("/v1/changes/default.web.1-1?for=1s", 400),
    ],
)
async def test_changes_that_cannot_be_asked_for(path: str, status: int) -> None:
    async with a_rig() as rig:
        await rig.put()
        assert (await rig.get(path)).status == status


async def test_apply_is_one_commit_and_tells_what_became_of_each() -> None:
    async with a_rig() as rig:
        await rig.put("web")
        documents = [a_manifest("web"), a_manifest("api"), a_manifest("db", namespace="other")]
        answer = await rig.ask("POST", "/v1/apply", {"documents": documents})
        assert answer.status == 202
        told = answer.json
        assert told["revision"] == "1.2"
        assert [(one["namespace"], one["job"], one["outcome"]) for one in told["results"]] == [
            ("default", "web", "unchanged"),
            ("default", "api", "created"),
            ("other", "db", "created"),
        ]
        assert told["results"][1]["change"] == "default.api.1-2"
        changed = await rig.ask("POST", "/v1/apply", {"documents": [a_manifest("web", scale=7)]})
        assert changed.json["results"][0]["outcome"] == "changed"


async def test_one_bad_document_keeps_all_from_being_applied() -> None:
    async with a_rig() as rig:
        bad = a_manifest("api")
        bad["kind"] = "Batch"
        answer = await rig.ask("POST", "/v1/apply", {"documents": [a_manifest("web"), bad]})
        assert answer.status == 400
        assert [fault["pointer"] for fault in answer.json["errors"]] == ["/documents/1/kind"]
        assert "expected 'Job'" in answer.json["errors"][0]["detail"]
        assert await rig.store.revision() == 0


@pytest.mark.parametrize(
    ("documents", "pointer"),
    [
        ([], "/documents"),
        ([a_manifest(), a_manifest()], "/documents/1/metadata/name"),
        (None, "/documents"),
    ],
)
async def test_applies_that_cannot_be_are_refused(documents: object, pointer: str) -> None:
    async with a_rig() as rig:
        answer = await rig.ask("POST", "/v1/apply", {"documents": documents})
        assert answer.status == 400
        assert pointer in [fault["pointer"] for fault in answer.json["errors"]]


async def test_more_than_forty_documents_are_refused() -> None:
    async with a_rig() as rig:
        documents = [a_manifest(f"job-{number}") for number in range(41)]
        assert (await rig.ask("POST", "/v1/apply", {"documents": documents})).status == 400
        assert (await rig.ask("POST", "/v1/apply", {"documents": documents[:40]})).status == 202
