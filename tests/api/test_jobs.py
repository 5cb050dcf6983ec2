"""Jobs over HTTP: schedule, migrate, scale, unschedule, and how they stand."""

import json

import pytest

from tests.api.rig import a_manifest, a_rig
from tests.builders import a_placement, a_task

WEB = "/v1/namespaces/default/jobs/web"


async def test_a_put_job_is_accepted_with_its_change_and_shown() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("PUT", WEB, a_manifest(tags={"team": "shop"}))
        assert answer.status == 202
        assert answer.json["change"] == "default.web.1-1"
        assert answer.json["revision"] == answer.headers["Harpoon-Revision"] == "1.1"
        assert answer.headers["ETag"] == '"1.1"'
        assert answer.json["job"]["metadata"]["revision"] == "1.1"
        shown = await rig.get(WEB)
        assert shown.status == 200
        assert shown.headers["ETag"] == '"1.1"'
        job = shown.json
        assert job["apiVersion"] == "harpoon/v1"
        assert job["kind"] == "Job"
        assert job["metadata"]["tags"] == {"team": "shop"}
        assert job["metadata"]["version"] == 1
        defaults = {"healthy_for": "0s", "deadline": "5m", "on_failure": "revert", "canary": 0}
        assert job["spec"]["update"] == {"surge": 1, "unavailable": 0, **defaults}, "defaults are shown"
        assert job["status"]["scale"] == 2
        assert job["status"]["change"] == "default.web.1-1"
        assert "tasks" not in job["status"]


async def test_an_unchanged_manifest_writes_nothing_and_answers_with_the_last_change() -> None:
    async with a_rig() as rig:
        first = await rig.put()
        again = await rig.ask("PUT", WEB, a_manifest())
        assert again.status == 200
        assert again.json == first.json
        assert await rig.store.revision() == 1


async def test_schedule_refuses_a_job_that_exists_and_shows_it() -> None:
    async with a_rig() as rig:
        assert (await rig.ask("PUT", WEB, a_manifest(), If_None_Match="*")).status == 202
        refused = await rig.ask("PUT", WEB, a_manifest(scale=3), If_None_Match="*")
        assert refused.status == 412
        assert refused.json["code"] == "precondition_failed"
        assert refused.json["current"]["metadata"]["revision"] == "1.1"


async def test_migrate_needs_the_etag_that_the_job_has_now() -> None:
    async with a_rig() as rig:
        etag = (await rig.put()).headers["ETag"]
        moved = await rig.ask("PUT", WEB, a_manifest(command=["serve", "2"]), If_Match=etag)
        assert moved.status == 202
        late = await rig.ask("PUT", WEB, a_manifest(command=["serve", "3"]), If_Match=etag)
        assert late.status == 412
        assert late.json["current"]["metadata"]["revision"] == moved.json["revision"]


async def test_the_etag_of_a_get_is_that_of_the_put() -> None:
    async with a_rig() as rig:
        await rig.put()
        etag = (await rig.get(WEB)).headers["ETag"]
        assert (await rig.ask("DELETE", WEB, If_Match=etag)).status == 202


async def test_migrate_of_a_job_that_is_not_there_fails_its_precondition() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("PUT", WEB, a_manifest(), If_Match='"1.1"')
        assert answer.status == 412
        assert answer.json["current"] is None


async def test_an_etag_of_another_incarnation_fails_its_precondition() -> None:
    async with a_rig() as rig:
        await rig.put()
        answer = await rig.ask("PUT", WEB, a_manifest(scale=3), If_Match='"2.1"')
        assert answer.status == 412
        assert "of incarnation 2" in answer.json["detail"]


@pytest.mark.parametrize(
    "header",
    [
        {"If_Match": "*"},
        {"If_Match": 'W/"1.1"'},
        {"If_Match": '"1.1", "1.2"'},
        {"If_Match": "1.1"},
        {"If_Match": '"1.-1"'},
        {"If_Match": '"1.' + "9" * 40 + '"'},
        {"If_None_Match": '"1.1"'},
        {"If_None_Match": "*", "If_Match": '"1.1"'},
    ],
)
async def test_conditions_that_cannot_be_read_are_refused(header: dict[str, str]) -> None:
    async with a_rig() as rig:
        await rig.put()
        assert (await rig.ask("PUT", WEB, a_manifest(scale=3), **header)).status == 400
        assert await rig.store.revision() == 1


async def test_a_name_unlike_the_path_is_refused_with_its_place() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("PUT", WEB, a_manifest("shop", namespace="other"))
        assert answer.status == 400
        assert {fault["pointer"] for fault in answer.json["errors"]} == {"/metadata/name", "/metadata/namespace"}


async def test_every_fault_of_a_manifest_is_told_with_its_place() -> None:
    async with a_rig() as rig:
        manifest = a_manifest()
        manifest["spec"]["scale"] = "three"
        manifest["spec"]["sclae"] = 1
        manifest["spec"]["cron"] = {"at": "0 0 31 2 *", "timezone": "Europe/berlin"}
        answer = await rig.ask("PUT", WEB, manifest)
        assert answer.status == 400
        told = {fault["pointer"]: fault["detail"] for fault in answer.json["errors"]}
        assert {"/spec/scale", "/spec/sclae", "/spec/cron/at", "/spec/cron/timezone"} <= told.keys()
        assert "never fires" in told["/spec/cron/at"]
        assert "did you mean Europe/Berlin?" in told["/spec/cron/timezone"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"kind": NaN}', b'{"kind":"Job","kind":"Job"}', b"\xff", b"null"]
)
async def test_bodies_that_are_no_manifest_are_refused(body: bytes) -> None:
    async with a_rig() as rig:
        answer = await rig.ask("PUT", WEB, body)
        assert answer.status == 400
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_scaling_keeps_the_generation_and_counts_a_version() -> None:
    async with a_rig() as rig:
        before = (await rig.put()).json["job"]["metadata"]
        answer = await rig.ask("POST", f"{WEB}/scale", {"scale": 5})
        assert answer.status == 202
        assert answer.json["job"]["spec"]["scale"] == 5
        assert answer.json["job"]["metadata"]["generation"] == before["generation"]
        assert answer.json["job"]["metadata"]["version"] == 2


@pytest.mark.parametrize(
    "body", [{"scale": -1}, {"scale": 10_001}, {"scale": "2"}, {"scale": True}, {}, {"scale": 1, "x": 1}, []]
)
async def test_scales_that_cannot_be_are_refused(body: object) -> None:
    async with a_rig() as rig:
        await rig.put()
        answer = await rig.ask("POST", f"{WEB}/scale", body)
        assert answer.status == 400
        assert answer.json["errors"]


async def test_scaling_with_an_outdated_etag_fails_its_precondition() -> None:
    async with a_rig() as rig:
        etag = (await rig.put()).headers["ETag"]
        await rig.put(scale=3)
        assert (await rig.ask("POST", f"{WEB}/scale", {"scale": 4}, If_Match=etag)).status == 412


async def test_a_deleted_job_is_shown_terminating() -> None:
    async with a_rig() as rig:
        await rig.put()
        answer = await rig.ask("DELETE", WEB)
        assert answer.status == 202
        assert answer.json == {"revision": "1.2", "change": "default.web.1-2"}
        shown = (await rig.get(WEB)).json
        assert shown["status"]["state"] == "terminating"
        assert shown["metadata"]["is_terminating"] is True


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", WEB, None),
        ("DELETE", WEB, None),
        ("POST", f"{WEB}/scale", {"scale": 1}),
        ("GET", f"{WEB}/status", None),
        ("GET", f"{WEB}/endpoints", None),
        ("GET", f"{WEB}/logs", None),
    ],
)
async def test_a_job_that_is_not_there_is_not_found(method: str, path: str, body: object) -> None:
    async with a_rig() as rig:
        answer = await rig.ask(method, path, body)
        assert answer.status == 404
        assert answer.json["code"] == "not_found"
        assert "web" in answer.json["detail"]


@pytest.mark.parametrize("name", ["Web", "a_b", "-a", "a" * 64, "..%2f..%2fetc", "%00", "a%2Fb", "caf%C3%A9"])
async def test_names_in_the_path_are_checked(name: str) -> None:
    async with a_rig() as rig:
        for path in (f"/v1/namespaces/default/jobs/{name}", f"/v1/namespaces/{name}/jobs"):
            assert (await rig.get(path)).status == 400


async def test_lists_show_a_namespace_or_all_and_filter_by_tags() -> None:
    async with a_rig() as rig:
        await rig.put("web", tags={"team": "shop", "tier": "front"})
        await rig.put("api", tags={"team": "shop"})
        await rig.ask("PUT", "/v1/namespaces/other/jobs/db", a_manifest("db", namespace="other"))

        async def names(path: str) -> list[str]:
            answer = await rig.get(path)
            assert answer.json["revision"] == answer.headers["Harpoon-Revision"]
            return [item["metadata"]["name"] for item in answer.json["items"]]

        assert await names("/v1/jobs") == ["api", "web", "db"]
        assert await names("/v1/namespaces/default/jobs") == ["api", "web"]
        assert await names("/v1/namespaces/none/jobs") == []
        assert await names("/v1/jobs?tag=team=shop") == ["api", "web"]
        assert await names("/v1/jobs?tag=team=shop&tag=tier=front") == ["web"]
        assert await names("/v1/jobs?tag=team=") == []


@pytest.mark.parametrize("query", ["tag=team", "tag==x", "tga=team=shop", "label=a"])
async def test_parameters_that_lists_do_not_know_are_refused_by_name(query: str) -> None:
    async with a_rig() as rig:
        answer = await rig.get(f"/v1/jobs?{query}")
        assert answer.status == 400
        assert answer.json["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


async def test_status_shows_every_slot_with_what_it_waits_for() -> None:
    async with a_rig() as rig:
        await rig.put()
        generation = (await rig.get(WEB)).json["metadata"]["generation"]
        ready, placed = (a_placement(slot=slot, generation=generation) for slot in (0, 1))
        await rig.write(ready, placed, a_task(ready))
        status = (await rig.get(f"{WEB}/status")).json
        assert status["summary"] == "1/2 ready"
        assert [(task["slot"], task["state"]) for task in status["tasks"]] == [(0, "running"), (1, "placed")]
        assert status["tasks"][1]["reason"] == "agent a1 has not reported it yet"
        assert json.dumps(status["waiting"]).count("has not reported it yet") == 1


async def test_head_answers_like_get_without_a_body() -> None:
    async with a_rig() as rig:
        await rig.put()
        answer = await rig.ask("HEAD", WEB)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["ETag"] == '"1.1"'
